//! Both ends of a migration, two hypervisors, a cluster and a link in one process, with every
//! order of events a seed can choose and every break there is. The invariants are checked after
//! each event, the outcome when nothing is left to happen.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::Ownership;
use super::handshake::{self, Seen};
use super::message::{Start, ToSource, ToTarget};
use super::source::{self, Source};
use super::target::{self, Found, Target};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Source,
    Target,
}

/// A copy of the domain on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    None,
    Running,
    Paused,
    /// Suspended under its away name.
    Away,
}

/// What goes wrong, and when. Times count events.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// The link breaks; what is in flight is lost.
    cut: Option<u32>,
    /// The cluster has no majority from .0 to .1.
    inquorate: Option<(u32, u32)>,
    /// Answers without a majority are given although the request is committed later.
    commits_late: bool,
    target_cannot_activate: bool,
    target_cannot_unpause: bool,
    /// xl at the target is killed.
    kill_target_xl: Option<u32>,
    source_xl_fails: Option<u32>,
    signal: Option<u32>,
}

struct World {
    seed: u64,
    now: u32,
    faults: Faults,
    source: Source,
    target: Option<Target>,
    target_begun: bool,
    linked: bool,
    to_target: VecDeque<ToTarget>,
    to_source: VecDeque<ToSource>,
    source_events: VecDeque<source::Event>,
    target_events: VecDeque<target::Event>,
    source_timer: bool,
    target_timer: bool,
    lock: Option<Host>,
    offer: Option<(Host, u64)>,
    next_offer: u64,
    source_copy: Copy,
    target_copy: Copy,
    source_volumes: bool,
    target_volumes: bool,
    source_xl: SourceXl,
    target_xl: TargetXl,
    target_has_run: bool,
    ends: (Option<source::End>, Option<target::End>),
    log: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SourceXl {
    Idle,
    WantBanner(Vec<u8>),
    WantReady(Vec<u8>),
    /// It renames its copy and then says "go".
    Renaming,
    WantReport(Vec<u8>),
    Exited,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TargetXl {
    Idle,
    Receiving(usize),
    WantGo(Vec<u8>),
    Exited,
}

const MEMORY: [&[u8]; 3] = [b"one", b"two", b"three"];

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let start = Start { offer: 0, config: String::new(), volumes: Vec::new(), paths: Vec::new() };
        Self {
            seed,
            now: 0,
            faults,
            source: Source::new(start),
            target: None,
            target_begun: false,
            linked: true,
            to_target: VecDeque::new(),
            to_source: VecDeque::new(),
            source_events: VecDeque::new(),
            target_events: VecDeque::new(),
            source_timer: false,
            target_timer: false,
            lock: Some(Host::Source),
            offer: None,
            next_offer: 1,
            source_copy: Copy::Running,
            target_copy: Copy::None,
            source_volumes: true,
            target_volumes: false,
            source_xl: SourceXl::Idle,
            target_xl: TargetXl::Idle,
            target_has_run: false,
            ends: (None, None),
            log: Vec::new(),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        // Numerical Recipes' generator; its high bits choose.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.seed >> 33).unwrap() % below
    }

    fn run(mut self) -> Self {
        let mut actions = Vec::new();
        self.source.begin(&mut actions);
        self.act_source(actions);
        while self.now < 5000 {
            self.now += 1;
            self.faults_now();
            if !self.one_event() {
                break;
            }
            self.check();
        }
        assert!(self.now < 5000, "it never ends: {self}");
        self
    }

    fn faults_now(&mut self) {
        if self.faults.cut == Some(self.now) {
            self.cut();
        }
        if self.faults.kill_target_xl == Some(self.now) && !matches!(self.target_xl, TargetXl::Idle | TargetXl::Exited)
        {
            self.note("target's xl is killed");
            self.target_xl = TargetXl::Exited;
            self.target_events.extend([target::Event::XlClosed, target::Event::XlExited]);
        }
        if self.faults.source_xl_fails == Some(self.now)
            && matches!(self.source_xl, SourceXl::WantBanner(_) | SourceXl::WantReady(_))
        {
            self.source_closes();
        }
        if self.faults.signal == Some(self.now) {
            self.source_events.push_back(source::Event::Signal);
        }
    }

    fn cut(&mut self) {
        if std::mem::replace(&mut self.linked, false) {
            self.note("the link breaks");
            self.to_target.clear();
            self.to_source.clear();
            self.source_events.push_back(source::Event::PeerGone("cut".into()));
            if self.target.is_some() {
                self.target_events.push_back(target::Event::PeerGone("cut".into()));
            }
        }
    }

    /// One of the things that can happen next; timers only when nothing else can.
    fn one_event(&mut self) -> bool {
        let ready = [
            !self.source_events.is_empty(),
            !self.target_events.is_empty(),
            !self.to_target.is_empty(),
            !self.to_source.is_empty(),
            self.source_xl == SourceXl::Renaming,
        ];
        let choices: Vec<_> = (0..5).filter(|index| ready[*index]).collect();
        if choices.is_empty() {
            return self.timers();
        }
        match choices[self.random(choices.len())] {
            0 => {
                let event = self.source_events.pop_front().unwrap();
                self.step_source(event);
            }
            1 => {
                let event = self.target_events.pop_front().unwrap();
                self.step_target(event);
            }
            2 => {
                let message = self.to_target.pop_front().unwrap();
                if let ToTarget::Start(start) = &message {
                    let target = Target::new(start.offer);
                    let mut actions = Vec::new();
                    target.begin(&mut actions);
                    self.target = Some(target);
                    self.target_begun = true;
                    self.act_target(actions);
                } else {
                    self.step_target(target::Event::Peer(message));
                }
            }
            3 => {
                let message = self.to_source.pop_front().unwrap();
                self.step_source(source::Event::Peer(message));
            }
            _ => self.source_xl_renames(),
        }
        true
    }

    fn timers(&mut self) -> bool {
        let (source, target) = (self.source_timer, self.target_timer);
        if std::mem::take(&mut self.source_timer) {
            self.step_source(source::Event::Retry);
        }
        if std::mem::take(&mut self.target_timer) {
            self.step_target(target::Event::Retry);
        }
        source || target
    }

    fn step_source(&mut self, event: source::Event) {
        self.note(&format!("source: {event:?}"));
        let mut actions = Vec::new();
        self.source.step(event, &mut actions);
        self.act_source(actions);
    }

    fn step_target(&mut self, event: target::Event) {
        self.note(&format!("target: {event:?}"));
        let Some(target) = &mut self.target else { return };
        let mut actions = Vec::new();
        target.step(event, &mut actions);
        self.act_target(actions);
    }

    fn act_source(&mut self, actions: Vec<source::Action>) {
        use source::{Action, Event};
        for action in actions {
            self.note(&format!("source does {action:?}"));
            match action {
                Action::Share => self.source_events.push_back(Event::Shared(Ok(()))),
                Action::Offer => {
                    let offered = self.cluster(|world| {
                        world.offer = Some((Host::Target, world.next_offer));
                        world.next_offer += 1;
                        world.next_offer - 1
                    });
                    self.source_events.push_back(Event::Offered(offered));
                }
                Action::Send(message) if self.linked => self.to_target.push_back(message),
                Action::Send(_) | Action::Log(_) => {}
                Action::StartXl => self.source_xl = SourceXl::WantBanner(Vec::new()),
                Action::ToXl(bytes) => self.source_xl_reads(&bytes),
                Action::CloseXl => self.source_closes(),
                Action::Retract(number) => {
                    let answer = self.owner(Host::Source, |world| world.retract(Host::Source, number));
                    self.source_events.push_back(Event::Retracted(answer));
                }
                Action::AcceptBack(number) => {
                    let answer = self.owner(Host::Source, |world| world.accept(Host::Source, number));
                    self.source_events.push_back(Event::TookBack(answer));
                }
                Action::Later(_) => self.source_timer = true,
                Action::DestroyAway => {
                    assert_ne!(self.source_copy, Copy::Running, "destroys a running domain: {self}");
                    self.source_copy = Copy::None;
                    self.source_events.push_back(Event::AwayDestroyed(Ok(())));
                }
                Action::VolumesOff => {
                    assert_eq!(self.source_copy, Copy::None, "{self}");
                    self.source_volumes = false;
                    self.source_events.push_back(Event::VolumesOff(Ok(())));
                }
                Action::VolumesBack => self.source_events.push_back(Event::VolumesBack(Ok(()))),
                Action::Finish(end) => {
                    assert!(self.ends.0.is_none(), "{self}");
                    self.ends.0 = Some(end);
                }
            }
        }
    }

    fn act_target(&mut self, actions: Vec<target::Action>) {
        use target::{Action, Event};
        for action in actions {
            self.note(&format!("target does {action:?}"));
            match action {
                Action::Activate => {
                    let result = if self.faults.target_cannot_activate { Err("no such volume".into()) } else { Ok(()) };
                    self.target_volumes = result.is_ok();
                    self.target_events.push_back(Event::Activated(result));
                }
                Action::StartXl => {
                    self.target_xl = TargetXl::Receiving(0);
                    self.target_events.push_back(Event::XlOut(handshake::BANNER.to_vec()));
                }
                Action::ToXl(bytes) => self.target_xl_reads(&bytes),
                Action::CloseXl => {
                    if !matches!(self.target_xl, TargetXl::Idle | TargetXl::Exited) {
                        self.target_copy = Copy::None;
                        self.target_xl = TargetXl::Exited;
                        self.target_events.push_back(Event::XlExited);
                    }
                }
                Action::Send(message) if self.linked => self.to_source.push_back(message),
                Action::Send(_) | Action::Log(_) => {}
                Action::Accept(number) => {
                    let answer = self.owner(Host::Target, |world| world.accept(Host::Target, number));
                    self.target_events.push_back(Event::Accepted(answer));
                }
                Action::OfferBack => {
                    let offered = self.cluster(|world| {
                        world.offer = Some((Host::Source, world.next_offer));
                        world.next_offer += 1;
                        world.next_offer - 1
                    });
                    self.target_events.push_back(Event::OfferedBack(offered));
                }
                Action::RetractBack(number) => {
                    let answer = self.owner(Host::Target, |world| world.retract(Host::Target, number));
                    self.target_events.push_back(Event::RetractedBack(answer));
                }
                Action::Unlock => {
                    assert_eq!(self.lock, Some(Host::Target), "unlocks what is not its own: {self}");
                    let done = self.cluster(|world| {
                        world.lock = None;
                        world.offer = None;
                    });
                    self.target_events.push_back(Event::Unlocked(done));
                }
                Action::Destroy => {
                    assert!(!self.target_has_run, "destroys a domain that has run: {self}");
                    self.target_copy = Copy::None;
                    self.target_events.push_back(Event::Destroyed(Ok(())));
                }
                Action::Inspect => {
                    let found = match self.target_copy {
                        Copy::Running => Found::Named,
                        Copy::Paused => Found::Incoming,
                        _ => Found::Nothing,
                    };
                    self.target_events.push_back(Event::Inspected(Ok(found)));
                }
                Action::VolumesExclusive => self.target_events.push_back(Event::VolumesExclusive(Ok(()))),
                Action::VolumesOff => {
                    assert_eq!(self.target_copy, Copy::None, "{self}");
                    self.target_volumes = false;
                    self.target_events.push_back(Event::VolumesOff(Ok(())));
                }
                Action::Later(_) => self.target_timer = true,
                Action::Finish(end) => {
                    assert!(self.ends.1.is_none(), "{self}");
                    self.ends.1 = Some(end);
                }
            }
        }
    }

    /// A request to the cluster; without a majority it may still be committed, unheard.
    fn cluster<T>(&mut self, request: impl FnOnce(&mut Self) -> T) -> Result<T, String> {
        let quorate = self.faults.inquorate.is_none_or(|(from, to)| !(from..to).contains(&self.now));
        if quorate {
            return Ok(request(self));
        }
        if self.faults.commits_late && self.random(2) == 0 {
            request(self);
        }
        Err("not quorate".into())
    }

    /// As the driver answers: what the request says, else what the lock table says after it.
    fn owner(&mut self, host: Host, request: impl FnOnce(&mut Self)) -> Ownership {
        match self.cluster(request) {
            Ok(()) if self.lock == Some(host) => Ownership::Ours,
            Ok(()) => Ownership::NotOurs,
            Err(why) => Ownership::Unknown(why),
        }
    }

    fn accept(&mut self, host: Host, number: u64) {
        if self.offer == Some((host, number)) {
            self.lock = Some(host);
            self.offer = None;
        }
    }

    fn retract(&mut self, host: Host, number: u64) {
        if self.lock == Some(host) && self.offer.is_some_and(|(_, open)| open == number) {
            self.offer = None;
        }
    }

    /// xl at the source ends as it does when its transport closes.
    fn source_closes(&mut self) {
        match self.source_xl {
            SourceXl::WantBanner(_) | SourceXl::WantReady(_) => self.source_copy = Copy::Running,
            // It cannot say "go" any more, and does not resume either.
            SourceXl::Renaming | SourceXl::WantReport(_) => self.source_copy = Copy::Away,
            SourceXl::Idle | SourceXl::Exited => return,
        }
        self.source_exits();
    }

    fn source_exits(&mut self) {
        self.source_xl = SourceXl::Exited;
        self.source_events.extend([source::Event::XlClosed, source::Event::XlExited]);
    }

    fn source_xl_reads(&mut self, bytes: &[u8]) {
        match &mut self.source_xl {
            SourceXl::WantBanner(read) => {
                read.extend_from_slice(bytes);
                if handshake::seen(read, handshake::BANNER) == Seen::Whole {
                    self.source_xl = SourceXl::WantReady(Vec::new());
                    self.source_copy = Copy::Paused;
                    self.source_events.extend(MEMORY.map(|piece| source::Event::XlData(piece.into())));
                }
            }
            SourceXl::WantReady(read) => {
                read.extend_from_slice(bytes);
                if handshake::seen(read, handshake::READY) == Seen::Whole {
                    self.source_xl = SourceXl::Renaming;
                }
            }
            SourceXl::WantReport(read) => {
                read.extend_from_slice(bytes);
                if *read == handshake::success() {
                    self.source_copy = Copy::None;
                    self.source_exits();
                } else if *read == handshake::failure() {
                    self.source_copy = Copy::Running;
                    self.source_exits();
                }
            }
            SourceXl::Idle | SourceXl::Renaming | SourceXl::Exited => {}
        }
    }

    fn source_xl_renames(&mut self) {
        self.source_copy = Copy::Away;
        self.source_xl = SourceXl::WantReport(Vec::new());
        let (first, second) = handshake::GO.split_at(9);
        self.source_events.extend([first, second].map(|part| source::Event::XlData(part.into())));
    }

    fn target_xl_reads(&mut self, bytes: &[u8]) {
        match &mut self.target_xl {
            TargetXl::Receiving(count) => {
                assert_eq!(bytes, MEMORY[*count], "memory arrives as it left");
                *count += 1;
                if *count == MEMORY.len() {
                    self.target_copy = Copy::Paused;
                    self.target_xl = TargetXl::WantGo(Vec::new());
                    self.target_events.push_back(target::Event::XlOut(handshake::READY.to_vec()));
                }
            }
            TargetXl::WantGo(read) => {
                read.extend_from_slice(bytes);
                assert_eq!(read, handshake::GO);
                self.target_xl = TargetXl::Exited;
                if self.faults.target_cannot_unpause {
                    self.target_copy = Copy::None;
                    self.target_events.push_back(target::Event::XlOut(handshake::failure()));
                } else {
                    self.target_copy = Copy::Running;
                    self.target_has_run = true;
                    let (first, second) = (handshake::REPORT, vec![0]);
                    self.target_events.extend([first.to_vec(), second].map(target::Event::XlOut));
                }
                self.target_events.extend([target::Event::XlClosed, target::Event::XlExited]);
            }
            TargetXl::Idle | TargetXl::Exited => {}
        }
    }

    fn check(&self) {
        let running = [self.source_copy, self.target_copy].iter().filter(|copy| **copy == Copy::Running).count();
        assert!(running <= 1, "it runs twice: {self}");
        if self.target_copy == Copy::Running {
            assert_eq!(self.lock, Some(Host::Target), "it runs without its lock: {self}");
            assert!(self.target_volumes, "it runs without its volumes: {self}");
        }
        if self.source_copy == Copy::Running {
            assert_eq!(self.lock, Some(Host::Source), "it runs without its lock: {self}");
            assert!(self.source_volumes, "it runs without its volumes: {self}");
        }
    }

    /// Everything has happened: the domain, its lock and its volumes are in one place, and both
    /// ends say so.
    fn check_end(&self, may_be_lost: bool) {
        let runs = match (self.source_copy, self.target_copy) {
            (Copy::Running, Copy::None) => Some(Host::Source),
            (Copy::None, Copy::Running) => Some(Host::Target),
            (Copy::None, Copy::None) if may_be_lost => None,
            copies => panic!("{copies:?}: {self}"),
        };
        assert_eq!(
            (self.source_volumes, self.target_volumes),
            (runs == Some(Host::Source), runs == Some(Host::Target)),
            "{self}"
        );
        assert_eq!(self.lock, runs, "{self}");
        assert!(self.ends.0.is_some() && (self.ends.1.is_some() || !self.target_begun), "an end is open: {self}");
        match runs {
            Some(Host::Source) => assert!(matches!(self.ends.0, Some(source::End::Failed(_))), "{self}"),
            Some(Host::Target) => {
                assert_eq!(self.ends, (Some(source::End::Moved), Some(target::End::Running)), "{self}");
            }
            None => assert!(matches!(self.ends.1, Some(target::End::Lost(_) | target::End::Failed(_))), "{self}"),
        }
    }

    fn note(&mut self, text: &str) {
        self.log.push(format!("{:4} {text}", self.now));
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}\n{}", self.faults, self.log.join("\n"))?;
        write!(f, "ends {:?}, lock {:?}, copies {:?} {:?}", self.ends, self.lock, self.source_copy, self.target_copy)
    }
}

/// More events than a whole migration has.
const LONGEST: u32 = 60;

#[test]
fn without_faults_the_domain_moves() {
    for seed in 0..200 {
        let world = World::new(seed, Faults::default()).run();
        world.check_end(false);
        assert_eq!(world.ends.0, Some(source::End::Moved), "{world}");
        assert!(world.now < LONGEST, "{world}");
    }
}

#[test]
fn a_break_at_any_moment_leaves_it_running_once() {
    let mut outcomes = [0, 0];
    for seed in 0..100 {
        for cut in 1..LONGEST {
            let world = World::new(seed, Faults { cut: Some(cut), ..Faults::default() }).run();
            world.check_end(false);
            outcomes[usize::from(world.ends.0 == Some(source::End::Moved))] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "both outcomes happen: {outcomes:?}");
}

#[test]
fn a_break_while_the_cluster_has_no_majority_leaves_it_running_once() {
    for seed in 0..10 {
        for cut in 1..LONGEST {
            for from in (1..LONGEST).step_by(3) {
                for (length, commits_late) in [(3, false), (3, true), (25, false), (25, true)] {
                    let inquorate = Some((from, from + length));
                    let faults = Faults { cut: Some(cut), inquorate, commits_late, ..Faults::default() };
                    World::new(seed, faults).run().check_end(false);
                }
            }
        }
    }
}

#[test]
fn a_target_that_cannot_activate_or_unpause_leaves_it_at_the_source() {
    for seed in 0..100 {
        for (target_cannot_activate, target_cannot_unpause) in [(true, false), (false, true)] {
            let faults = Faults { target_cannot_activate, target_cannot_unpause, ..Faults::default() };
            let world = World::new(seed, faults).run();
            world.check_end(false);
            assert!(matches!(world.ends.0, Some(source::End::Failed(_))), "{world}");
        }
    }
}

#[test]
fn a_target_that_cannot_unpause_and_is_cut_off_never_leaves_two() {
    for seed in 0..50 {
        for cut in 1..LONGEST {
            let faults = Faults { target_cannot_unpause: true, cut: Some(cut), ..Faults::default() };
            World::new(seed, faults).run().check_end(true);
        }
    }
}

#[test]
fn an_xl_that_fails_or_is_killed_leaves_it_running_once() {
    for seed in 0..50 {
        for at in 1..LONGEST {
            World::new(seed, Faults { source_xl_fails: Some(at), ..Faults::default() }).run().check_end(false);
            World::new(seed, Faults { kill_target_xl: Some(at), ..Faults::default() }).run().check_end(false);
            World::new(seed, Faults { signal: Some(at), ..Faults::default() }).run().check_end(false);
        }
    }
}

#[test]
fn a_signal_before_the_point_of_no_return_ends_it_and_later_does_not() {
    let ends: Vec<_> = (1..LONGEST)
        .map(|at| {
            World::new(1, Faults { signal: Some(at), ..Faults::default() }).run().ends.0 == Some(source::End::Moved)
        })
        .collect();
    assert!(!ends[0] && *ends.last().unwrap(), "{ends:?}");
}

fn any_faults() -> impl Strategy<Value = Faults> {
    let at = || proptest::option::of(1..LONGEST);
    (at(), proptest::option::of((1..LONGEST, 1..80u32)), any::<[bool; 3]>(), at(), at(), at()).prop_map(
        |(cut, inquorate, [late, activate, unpause], kill_target_xl, source_xl_fails, signal)| Faults {
            cut,
            inquorate: inquorate.map(|(from, length)| (from, from + length)),
            commits_late: late,
            target_cannot_activate: activate && late,
            target_cannot_unpause: unpause,
            kill_target_xl,
            source_xl_fails,
            signal,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn everything_at_once_never_runs_it_twice(seed in any::<u64>(), faults in any_faults()) {
        World::new(seed, faults).run();
    }
}
