//! Daemons in one process: engines with their disks, files and cables. Sessions are opened as the
//! daemon's net opens them, with both ends looking at the other's greeting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_conf::Conf;
use cluster_join::engine::{Action, Caller, Engine, Event, LogLength, Now};
use cluster_join::log::{Identity, Loaded, Write, decode_snapshot, header, recover};
use cluster_join::peer::Hello;
use nines_proto::ctl::{Call, ConfStored, Failure, MemberState, Request, Role, Status, Value};

/// A host: what is on its disk, which boot it is in, and its daemon if that runs.
pub struct Host {
    pub identity: Option<Identity>,
    pub snapshot: Option<Vec<u8>>,
    pub log: Vec<u8>,
    pub file: String,
    pub boot: u64,
    stores: u64,
    engine: Option<Engine>,
    wired: Vec<u64>,
    stop_at: Option<u64>,
    pub lines: Vec<String>,
    pub exit: Option<String>,
}

pub struct World {
    pub now: u64,
    pub hosts: BTreeMap<u64, Host>,
    wire: VecDeque<(u64, u64, u64, Vec<u8>)>,
    /// The session from the first to the second.
    links: BTreeMap<(u64, u64), u64>,
    next_link: u64,
    /// How each session was opened.
    greetings: BTreeMap<u64, Hello>,
    /// Who hears that a session was closed and replaced hears of the new one first.
    pub late_ends: bool,
    cut: BTreeSet<(u64, u64)>,
    /// Why a session was refused, by who refused whom.
    pub refused: BTreeMap<(u64, u64), String>,
    answers: BTreeMap<(u64, u64), Result<Value, Failure>>,
    next_call: u64,
    pub jobs: Vec<(u64, fence::Job)>,
    stored: Vec<(u64, u32)>,
    reconnect: Vec<u64>,
    /// Hosts whose disk does not take a new cluster.conf.
    pub full: BTreeSet<u64>,
}

/// cluster.conf of these nodes; `extra` goes into the root element, `more` says more about a node.
pub fn text(version: u32, ids: &[u64], extra: &str, more: impl Fn(u64) -> String) -> String {
    let nodes: String = ids
        .iter()
        .map(|id| format!("<clusternode name=\"n{id}\" nodeid=\"{id}\" {}</clusternode>\n", more(*id)))
        .collect();
    format!(
        "<cluster name=\"w\" config_version=\"{version}\">{extra}\n<clusternodes>\n{nodes}</clusternodes>\n</cluster>\n"
    )
}

pub fn plain(version: u32, ids: &[u64]) -> String {
    text(version, ids, "", |_| ">".into())
}

impl World {
    /// Hosts with this file, all running.
    pub fn new(file: &str, ids: &[u64]) -> Self {
        let mut world = Self {
            now: 1000,
            hosts: BTreeMap::new(),
            wire: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 1,
            greetings: BTreeMap::new(),
            late_ends: false,
            cut: BTreeSet::new(),
            refused: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_call: 1,
            jobs: Vec::new(),
            stored: Vec::new(),
            reconnect: Vec::new(),
            full: BTreeSet::new(),
        };
        for id in ids {
            world.install(*id, file);
            world.start(*id);
        }
        world
    }

    /// A host with this file and an empty state directory.
    pub fn install(&mut self, id: u64, file: &str) {
        let stores = self.hosts.get(&id).map_or(0, |host| host.stores) + 1;
        let host = Host {
            identity: None,
            snapshot: None,
            log: header(),
            file: file.into(),
            boot: 1,
            stores,
            engine: None,
            wired: Vec::new(),
            stop_at: None,
            lines: Vec::new(),
            exit: None,
        };
        self.hosts.insert(id, host);
    }

    fn time(&self) -> Now {
        Now { ms: self.now, unix: self.now / 1000 }
    }

    pub fn start(&mut self, id: u64) {
        let now = self.time();
        let host = self.hosts.get_mut(&id).unwrap();
        let conf = Conf::parse("cluster.conf", &host.file).unwrap();
        assert!(conf.node(id).is_some(), "node {id} is not in its cluster.conf and does not start");
        let new = Identity::new(&conf, id, format!("s{id}-{}", host.stores));
        let mut identity = host.identity.clone().unwrap_or_else(|| new.clone());
        assert_eq!(identity.conflict(&new), None);
        identity.incarnation += 1;
        host.identity = Some(identity.clone());
        let snapshot = host.snapshot.as_deref().map(|bytes| decode_snapshot(bytes).unwrap());
        let loaded = Loaded { snapshot, log: recover(&host.log).unwrap() };
        let boot = format!("boot-{id}-{}", host.boot);
        let mut engine = Engine::new(conf, identity, boot, loaded, id * 77, now).unwrap();
        engine.set_log_length(LogLength { most: (60, 1 << 20), tail: (10, 1 << 20) });
        (host.engine, host.exit, host.stop_at) = (Some(engine), None, None);
        host.wired.clear();
        self.step(id, Event::Tick);
    }

    /// The host loses power; its next start is in another boot.
    pub fn crash(&mut self, id: u64) {
        self.end(id);
        self.hosts.get_mut(&id).unwrap().boot += 1;
    }

    /// The daemon ends, the host goes on.
    pub fn end(&mut self, id: u64) {
        self.hosts.get_mut(&id).unwrap().engine = None;
        self.hang_up(id);
    }

    fn hang_up(&mut self, id: u64) {
        for pair in self.links.keys().filter(|(a, b)| *a == id || *b == id).copied().collect::<Vec<_>>() {
            self.unlink(pair);
        }
    }

    fn unlink(&mut self, pair: (u64, u64)) {
        if let Some(link) = self.links.remove(&pair) {
            self.wire.retain(|(_, _, other, _)| *other != link);
            self.step(pair.1, Event::PeerDown { link, node: pair.0 });
        }
    }

    pub fn cut(&mut self, a: u64, b: u64) {
        for pair in [(a, b), (b, a)] {
            self.cut.insert(pair);
            self.unlink(pair);
        }
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    pub fn runs(&self, id: u64) -> bool {
        self.hosts[&id].engine.is_some()
    }

    pub fn engine(&self, id: u64) -> &Engine {
        self.hosts[&id].engine.as_ref().unwrap()
    }

    pub fn running(&self) -> Vec<u64> {
        self.hosts.iter().filter(|(_, host)| host.engine.is_some()).map(|(id, _)| *id).collect()
    }

    pub fn leader(&self) -> Option<u64> {
        self.running().into_iter().find(|id| self.engine(*id).leads())
    }

    fn connect(&mut self) {
        let up = self.running();
        // Greetings cross.
        let hellos: BTreeMap<u64, Hello> = up.iter().map(|id| (*id, self.engine(*id).hello())).collect();
        for from in &up {
            for to in self.hosts[from].wired.clone() {
                let pair = (*from, to);
                if !up.contains(&to) || self.links.contains_key(&pair) || self.cut.contains(&pair) {
                    continue;
                }
                let (ours, theirs) = (hellos[from].clone(), self.engine(to).hello());
                if let Some(why) = theirs.conflict(&ours) {
                    self.refused.insert((to, *from), why);
                    continue;
                }
                if let Some(why) = ours.conflict(&theirs) {
                    self.refused.insert((*from, to), why);
                    continue;
                }
                let link = self.next_link;
                self.next_link += 1;
                self.links.insert(pair, link);
                self.greetings.insert(link, ours.clone());
                self.step(to, Event::PeerUp { link, ring: 0, hello: ours });
            }
        }
    }

    fn step(&mut self, id: u64, event: Event) {
        let now = self.time();
        let Some(engine) = &mut self.hosts.get_mut(&id).unwrap().engine else { return };
        engine.step(now, event);
        loop {
            let host = self.hosts.get_mut(&id).unwrap();
            let Some(engine) = &mut host.engine else { return };
            let write = engine.turn(now).unwrap();
            for action in engine.take_actions() {
                match action {
                    Action::Send { to, bytes } => {
                        if let Some(link) = self.links.get(&(id, to)) {
                            self.wire.push_back((id, to, *link, bytes));
                        }
                    }
                    Action::Answer { answer, .. } => drop(self.answers.insert((id, answer.id), answer.outcome.into())),
                    Action::Identity(identity) => host.identity = Some(identity),
                    Action::Log(line) => host.lines.push(line),
                    Action::Configuration { version, text } => {
                        if !self.full.contains(&id) {
                            host.file = text;
                        }
                        self.stored.push((id, version));
                    }
                    Action::Wire(nodes) => host.wired = nodes,
                    Action::Fence(job) => self.jobs.push((id, job)),
                    Action::Reconnect => self.reconnect.push(id),
                    Action::Stop => host.stop_at = host.stop_at.or(Some(0)),
                    Action::Exit(why) => host.exit = Some(why),
                    _ => {}
                }
            }
            let Some(engine) = &mut host.engine else { return };
            match write {
                None => break,
                Some(Write::Append(bytes)) => host.log.extend_from_slice(&bytes),
                Some(Write::Replace { snapshot, log, .. }) => (host.snapshot, host.log) = (Some(snapshot), log),
                Some(Write::StartOver { log }) => (host.snapshot, host.log) = (None, log),
            }
            engine.written(now).unwrap();
        }
    }

    /// Twenty milliseconds.
    pub fn pass(&mut self) {
        self.now += 20;
        let gone: Vec<(u64, u64)> =
            self.links.keys().filter(|(from, to)| !self.hosts[from].wired.contains(to)).copied().collect();
        for pair in gone {
            self.unlink(pair);
        }
        let mut ended = Vec::new();
        for id in std::mem::take(&mut self.reconnect) {
            if self.late_ends {
                let (gone, rest) =
                    std::mem::take(&mut self.links).into_iter().partition(|((from, to), _)| *from == id || *to == id);
                let gone: BTreeMap<(u64, u64), u64> = gone;
                self.links = rest;
                ended.extend(gone);
            } else {
                self.hang_up(id);
            }
        }
        self.connect();
        for ((from, to), link) in ended {
            self.wire.retain(|(_, _, other, _)| *other != link);
            let hello = self.greetings[&link].clone();
            self.step(to, Event::PeerUp { link, ring: 0, hello });
            self.step(to, Event::PeerDown { link, node: from });
        }
        for (id, version) in std::mem::take(&mut self.stored) {
            let result =
                if self.full.contains(&id) { Err("no space left on device".into()) } else { Ok(String::new()) };
            self.step(id, Event::Stored { version, result });
        }
        for id in self.running() {
            self.step(id, Event::Tick);
            let host = self.hosts.get_mut(&id).unwrap();
            if host.exit.is_some() || host.stop_at.is_some_and(|at| at > 0 && at <= self.now) {
                self.end(id);
            } else if host.stop_at == Some(0) {
                host.stop_at = Some(self.now + 500);
                self.step(id, Event::Stop);
            }
        }
        while let Some((from, to, link, bytes)) = self.wire.pop_front() {
            if self.links.get(&(from, to)) == Some(&link) {
                self.step(to, Event::Message { link, node: from, bytes });
            }
        }
    }

    pub fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        for _ in 0..3000 {
            if done(self) {
                return;
            }
            self.pass();
        }
        for id in self.running() {
            self.answers.clear();
            let call = self.ask(id, Request::Status);
            if let Some(Ok(Value::Status(status))) = self.answered(id, call) {
                let roles: Vec<_> =
                    status.members.iter().map(|member| (member.id, member.state, member.role)).collect();
                println!("node {id}: {:?} {:?} {:?} {roles:?}", status.reason, status.leader, status.notes);
            }
        }
        println!("refused: {:?}", self.refused);
        for (id, host) in &self.hosts {
            println!("node {id}: {:#?}", host.lines.iter().rev().take(6).collect::<Vec<_>>());
        }
        panic!("in vain for a minute: {what}");
    }

    pub fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 50 {
            self.pass();
        }
    }

    pub fn ask(&mut self, id: u64, request: Request) -> u64 {
        self.ask_as(id, true, request)
    }

    fn ask_as(&mut self, id: u64, may_steer: bool, request: Request) -> u64 {
        let call = self.next_call;
        self.next_call += 1;
        let caller = Caller { connection: 1, may_steer, who: "uid 0".into() };
        self.step(id, Event::Call { caller, call: Call { id: call, request } });
        call
    }

    /// Tells a daemon something from outside.
    pub fn tell(&mut self, id: u64, event: Event) {
        self.step(id, event);
    }

    pub fn answered(&mut self, id: u64, call: u64) -> Option<Result<Value, Failure>> {
        self.answers.remove(&(id, call))
    }

    pub fn call(&mut self, id: u64, request: Request) -> Result<Value, Failure> {
        self.call_as(id, true, request)
    }

    pub fn call_as(&mut self, id: u64, may_steer: bool, request: Request) -> Result<Value, Failure> {
        let call = self.ask_as(id, may_steer, request);
        self.until("an answer", |world| world.answers.contains_key(&(id, call)));
        self.answered(id, call).unwrap()
    }

    pub fn update(&mut self, id: u64, text: String) -> Result<Vec<ConfStored>, Failure> {
        self.call(id, Request::ConfUpdate { text }).map(|value| match value {
            Value::Updated { nodes, .. } => nodes,
            value => panic!("{value:?}"),
        })
    }

    pub fn status(&mut self, id: u64) -> Status {
        match self.call(id, Request::Status) {
            Ok(Value::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    pub fn quorate(&mut self, ids: &[u64]) {
        self.until("quorate", |world| ids.iter().all(|id| world.runs(*id) && world.status(*id).quorate));
    }

    /// Waits until these vote, and everybody there knows.
    pub fn voters(&mut self, ids: &[u64]) {
        self.until(&format!("voters {ids:?}"), |world| {
            world.running().into_iter().all(|at| {
                let status = world.status(at);
                let voting = status.members.iter().filter(|member| member.role == Role::Voter);
                status.quorate && voting.map(|member| member.id).eq(ids.iter().copied())
            })
        });
    }

    pub fn state_of(&mut self, at: u64, id: u64) -> Option<MemberState> {
        self.status(at).members.iter().find(|member| member.id == id).map(|member| member.state)
    }
}
