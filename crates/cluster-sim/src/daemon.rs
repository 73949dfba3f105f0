//! Daemons: started, fed with events, stopped and killed. As in the real one, what the engine
//! wants on disk is there before what depends on it leaves the host.

use cluster_conf::Conf;
use cluster_join::engine::{Action, Engine, Event, LogLength};
use cluster_join::log::Identity;

use crate::check::{Consensus, Membership, Truth};

use crate::clock::{MS, SECOND};
use crate::host::{Daemon, Does, Host};
use crate::world::{Happening, World};

/// How long clients without a daemon may go on, as clvm-lock does.
const ORPHANS: u64 = 2 * SECOND;

impl World {
    /// init starts the daemon.
    pub(crate) fn start(&mut self, id: u64, boot: u64) {
        let (time, run, seed) = (self.time, self.number(), self.random.any());
        let two_links = self.plan.two_links;
        let host = self.host(id);
        if !host.on || host.boot != boot || host.daemon.is_some() {
            return;
        }
        // The daemon waits for the clients of its former run.
        if host.orphans_until > time {
            let left = host.orphans_until - time;
            return self.after(left, Happening::Start { host: id, boot });
        }
        let conf = match Conf::parse("cluster.conf", &host.file) {
            Ok(conf) if conf.node(id).is_some() => conf,
            _ => return self.trace.note(time, || format!("n{id} is not in its cluster.conf")),
        };
        host.version = 0;
        let (starts_over, written) = (host.disk.identity.start_over, host.disk.identity.clone());
        let loaded = match host.disk.load() {
            Ok(loaded) => loaded,
            Err(error) => return self.refused(id, &conf, &error),
        };
        let verdict = crate::check::must("c2_nothing_forgotten", host.disk.identity == written, || {
            format!("node {id} takes itself for {:?} and is {written:?}", host.disk.identity)
        });
        self.check.that(verdict);
        let host = self.host(id);
        host.disk.identity.incarnation += 1;
        let (identity, name) = (host.disk.identity.clone(), format!("boot{boot}"));
        let clock = host.clock;
        let engine = Engine::new(conf.clone(), identity, name, loaded, seed, clock.read(time, time));
        let mut engine = match engine {
            Ok(engine) => engine,
            Err(error) => return self.refused(id, &conf, &error),
        };
        // Short logs, so that snapshots are made, sent and found again.
        engine.set_linger(500);
        engine.set_log_length(LogLength { most: (40, 1 << 20), tail: (10, 1 << 20) });
        if !host.leftovers.is_empty() {
            engine.set_leftovers(host.leftovers.clone());
        }
        if two_links {
            let both = |node: u64| vec![format!("10.0.1.{node}:5405"), format!("10.0.2.{node}:5405")];
            engine.set_addresses((1..=16).map(|node| (node, both(node))).collect());
        }
        let verdict = Consensus::c2_nothing_forgotten(id, &engine.probe(), &host.disk);
        let (applied, term) = (engine.probe().applied, engine.probe().term);
        host.daemon = Some(Daemon {
            engine,
            run,
            started: time,
            timer: 0,
            held: false,
            inbox: Vec::new(),
            writing: None,
            late: Vec::new(),
            applied,
            term,
            led: false,
            wired: Vec::new(),
            told: false,
        });
        let incarnation = self.host(id).disk.identity.incarnation;
        self.check.fencing.runs(id, incarnation, boot);
        if !starts_over {
            self.check.that(verdict);
        }
        self.trace.note(time, || format!("n{id} starts in boot {boot} at entry {applied}"));
        self.counts.one("daemon starts");
        self.dial_all(id);
        self.step(id, Event::Tick);
    }

    /// The daemon does not take what is on its disk: the operator has it start over with nothing.
    fn refused(&mut self, id: u64, conf: &Conf, error: &anyhow::Error) {
        self.trace.note(self.time, || format!("n{id} refuses its directory: {error:#}"));
        let number = self.number();
        let rotten = self.host(id).disk.rotten;
        self.check.that(crate::check::must("c2_nothing_forgotten", rotten, || {
            format!("node {id} refuses a directory that nobody damaged: {error:#}")
        }));
        let what = if error.to_string() == "identity" { "identities refused" } else { "logs refused" };
        self.counts.one(what);
        let host = self.host(id);
        let identity = Identity::new(conf, id, format!("s{id}.{number}"));
        let former = host.disk.last;
        host.disk = crate::disk::Disk { former, ..crate::disk::Disk::new(identity) };
        let boot = host.boot;
        self.after(SECOND, Happening::Start { host: id, boot });
    }

    /// The daemon's process ends here and now. init starts it again.
    pub(crate) fn crash(&mut self, id: u64) {
        self.trace.note(self.time, || format!("n{id}'s daemon ends"));
        self.counts.one("daemon crashes");
        self.lose_daemon(id);
        let boot = self.host(id).boot;
        let after = self.random.between(20 * MS, 2 * SECOND);
        self.after(after, Happening::Start { host: id, boot });
    }

    /// Clients notice after a while that their daemon is gone.
    pub(crate) fn lose_daemon(&mut self, id: u64) {
        self.end_daemon(id, 50 * MS);
        let mut until = self.time;
        self.host(id).programs.clear();
        self.host(id).takers.clear();
        for client in std::mem::take(&mut self.host(id).clients).into_values() {
            if let Does::Holding(number) | Does::Converting(number, _) = client.does {
                let after = self.random.between(0, ORPHANS);
                until = until.max(self.time + after);
                self.host(id).orphans.push(number);
                self.after(after, Happening::OrphanEnds { host: id, number });
            }
            self.look_after(id, &client);
        }
        let host = self.host(id);
        host.orphans_until = host.orphans_until.max(until);
    }

    /// The machine loses its power, and with it everything that runs there.
    pub(crate) fn power_off(&mut self, id: u64) {
        if !self.host(id).on {
            return;
        }
        self.trace.note(self.time, || format!("n{id} is off"));
        self.end_daemon(id, 3 * SECOND);
        let host = self.host(id);
        host.on = false;
        host.watchdog = None;
        host.programs.clear();
        host.takers.clear();
        let mut numbers = std::mem::take(&mut host.orphans);
        numbers.extend(std::mem::take(&mut host.taken).into_values().map(|taken| taken.number));
        host.orphans_until = 0;
        numbers.extend(std::mem::take(&mut host.domains).into_values().filter_map(|domain| domain.number));
        for client in std::mem::take(&mut host.clients).into_values() {
            if let Does::Holding(number) | Does::Converting(number, _) = client.does {
                numbers.push(number);
            }
        }
        for number in numbers {
            self.check.storage.gone(number);
        }
        self.check.storage.off(id);
    }

    pub(crate) fn boot(&mut self, id: u64) {
        if self.host(id).on || self.dark.contains(&id) {
            return;
        }
        let unclean = self.plan.leftovers && self.asking.one_in(3);
        let host = self.host(id);
        (host.on, host.boot) = (true, host.boot + 1);
        let boot = host.boot;
        host.had_access = host.port;
        host.leftovers.clear();
        if unclean {
            host.leftovers.push("domain web1".into());
            self.counts.one("boots with leftovers");
            let after = self.asking.between(SECOND, 6 * SECOND);
            self.after(after, Happening::Cleaned { host: id, boot });
        }
        self.trace.note(self.time, || format!("n{id} boots ({boot})"));
        self.after(100 * MS, Happening::Start { host: id, boot });
    }

    /// Nothing of a former boot is left.
    pub(crate) fn cleaned(&mut self, id: u64, boot: u64) {
        let host = self.host(id);
        if host.boot != boot || !host.on {
            return;
        }
        host.leftovers.clear();
        if let Some(daemon) = host.daemon.as_mut() {
            daemon.engine.set_leftovers(Vec::new());
            self.disconnect_all(id, 20 * MS);
        }
    }

    fn end_daemon(&mut self, id: u64, notice: u64) {
        let Some(daemon) = self.host(id).daemon.take() else { return };
        self.host(id).leaving = false;
        self.not_fed(id);
        if let Some(write) = &daemon.writing {
            let mut random = self.random.clone();
            if self.faults.torn {
                self.host(id).disk.tear(write, &mut random);
            }
            self.random = random;
        }
        self.disconnect_all(id, notice);
    }

    pub(crate) fn timer(&mut self, id: u64, run: u64) {
        let time = self.time;
        let Some(daemon) = self.host(id).daemon.as_mut().filter(|daemon| daemon.run == run) else { return };
        if daemon.timer == time {
            daemon.timer = 0;
            if !daemon.held {
                self.step(id, Event::Tick);
            }
        }
    }

    /// Stops the daemon for a while, as SIGSTOP or a busy machine does.
    pub(crate) fn hold(&mut self, id: u64, span: u64) {
        let Some(daemon) = self.host(id).daemon.as_mut().filter(|daemon| !daemon.held) else { return };
        daemon.held = true;
        let run = daemon.run;
        self.trace.note(self.time, || format!("n{id}'s daemon stands still for {} ms", span / MS));
        self.not_fed(id);
        self.after(span, Happening::Resume { host: id, run });
    }

    pub(crate) fn resume(&mut self, id: u64, run: u64) {
        let Some(daemon) = self.host(id).daemon.as_mut().filter(|daemon| daemon.run == run) else { return };
        daemon.held = false;
        let (inbox, late) = (std::mem::take(&mut daemon.inbox), std::mem::take(&mut daemon.late));
        self.trace.note(self.time, || format!("n{id}'s daemon goes on"));
        self.fed(id);
        self.perform(id, late);
        self.step(id, Event::Tick);
        for event in inbox {
            self.step(id, event);
        }
    }

    pub(crate) fn written(&mut self, id: u64, run: u64) {
        let time = self.time;
        let Some(daemon) = self.host(id).daemon.as_mut().filter(|daemon| daemon.run == run) else { return };
        let Some(write) = daemon.writing.take() else { return };
        self.host(id).disk.write(write);
        let clock = self.host(id).clock;
        let Some(daemon) = self.host(id).daemon.as_mut() else { return };
        let now = clock.read(daemon.started, time);
        let result = daemon.engine.written(now);
        self.engine_works(id, result);
        self.work(id);
        // The next write may be a slow one as well.
        if self.host(id).daemon.as_ref().is_some_and(|daemon| daemon.writing.is_none()) {
            self.resume(id, run);
        }
    }

    /// Tells a node's daemon what happened, or keeps it until the daemon goes on.
    pub(crate) fn step(&mut self, id: u64, event: Event) {
        let (time, clock) = (self.time, self.host(id).clock);
        let Some(daemon) = self.host(id).daemon.as_mut() else { return };
        if daemon.held {
            if !matches!(event, Event::Tick) {
                daemon.inbox.push(event);
            }
            return;
        }
        let now = clock.read(daemon.started, time);
        daemon.engine.step(now, event);
        self.work(id);
    }

    fn engine_works(&mut self, id: u64, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.check.that(crate::check::must("engine_works", false, || format!("node {id}: {error:#}")));
        }
    }

    /// As the daemon does: writes are durable before what depends on them leaves the host.
    fn work(&mut self, id: u64) {
        loop {
            let (time, clock) = (self.time, self.host(id).clock);
            let Some(daemon) = self.host(id).daemon.as_mut() else { return };
            let now = clock.read(daemon.started, time);
            let write = match daemon.engine.turn(now) {
                Ok(write) => write,
                Err(error) => return self.engine_works(id, Err(error)),
            };
            let run = daemon.run;
            self.observe(id);
            let actions = self.host(id).daemon.as_mut().map(|daemon| daemon.engine.take_actions()).unwrap_or_default();
            if write.is_some() && self.faults.crash && self.random.one_in(400) {
                // What was to be sent may have been, or not.
                if self.random.one_in(2) {
                    self.perform(id, actions);
                }
                if let Some(daemon) = self.host(id).daemon.as_mut() {
                    daemon.writing = write;
                }
                return self.crash(id);
            }
            self.perform(id, actions);
            let Some(write) = write else { break };
            if self.faults.slow_disk && self.random.one_in(60) {
                let span = self.random.pick(&[5 * MS, 50 * MS, 500 * MS, 1500 * MS]);
                let Some(daemon) = self.host(id).daemon.as_mut() else { return };
                (daemon.held, daemon.writing) = (true, Some(write));
                return self.after(span, Happening::Written { host: id, run });
            }
            self.host(id).disk.write(write);
            let Some(daemon) = self.host(id).daemon.as_mut() else { return };
            let result = daemon.engine.written(now);
            self.engine_works(id, result);
        }
        self.set_timer(id);
    }

    fn set_timer(&mut self, id: u64) {
        let (time, clock) = (self.time, self.host(id).clock);
        let Some(daemon) = self.host(id).daemon.as_mut() else { return };
        let at = clock.when(daemon.started, daemon.engine.deadline_ms()).max(time + 1);
        if daemon.timer == 0 || at < daemon.timer {
            daemon.timer = at;
            let run = daemon.run;
            self.after(at - time, Happening::Timer { host: id, run });
        }
    }

    /// Looks at a node after each of its steps.
    fn observe(&mut self, id: u64) {
        let at = usize::try_from(id - 1).unwrap_or_default();
        let Some(daemon) = self.hosts[at].daemon.as_mut() else { return };
        let probe = daemon.engine.probe();
        let (applied, led) = (daemon.applied, daemon.led && daemon.term == probe.term);
        (daemon.applied, daemon.term, daemon.led) = (probe.applied, probe.term, probe.leads);
        let (check, Some(daemon)) = (&mut self.check, &self.hosts[at].daemon) else { return };
        let engine = &daemon.engine;
        if probe.leads && !led {
            self.counts.one("elections");
            self.trace.note(self.time, || format!("n{id} leads in term {}", probe.term));
            let verdict = check.consensus.c1_one_leader_a_term(id, &probe);
            check.that(verdict);
            let verdict = check.consensus.c1_leaders_have_everything(id, engine);
            check.that(verdict);
        }
        if probe.applied == applied {
            return;
        }
        let version = engine.state().configured.current().map_or(0, |current| current.version);
        // A log that is read anew, as that of a node left behind is, begins at its beginning.
        let anew = self.hosts[at].disk.identity.catching_up || (self.conf.two_node && probe.applied == 0);
        let known = std::mem::replace(&mut self.hosts[at].version, version);
        let Some(daemon) = &self.hosts[at].daemon else { return };
        let engine = &daemon.engine;
        if !anew {
            check.that(Membership::m1_views_only_grow(id, applied, probe.applied));
        }
        check.that(crate::check::must("m6_versions_grow", version >= known || anew, || {
            format!("node {id} went from version {known} back to {version}")
        }));
        let front = check.consensus.front();
        let verdict = check.consensus.c1_same_entries(id, engine);
        check.that(verdict);
        let verdict = check.consensus.c6_same_state(id, probe.applied, engine.state(), false);
        check.that(verdict);
        if probe.applied <= front {
            return;
        }
        self.counts.some("entries", probe.applied - front);
        let voters = engine.conf_state().voters;
        let first = check.consensus.voters(&voters);
        self.counts.some("promotions", first);
        let hosts = &self.hosts;
        let disk = |node: u64| hosts.iter().find(|host| host.id == node).map(|host| &host.disk);
        let verdict = check.consensus.c2_committed_is_durable(probe.applied, disk);
        check.that(verdict);
        let (changes, verdict) = (check.membership.changes(), check.membership.m6_versions_grow(engine.state()));
        check.that(verdict);
        let verdict = check.membership.m7_removed_stays_out(engine.state());
        check.that(verdict);
        let changed = changes != check.membership.changes();
        // Behind a switch, who has nothing to write with is as good as off: its own agent may open the
        // port late, and until that has ended it is granted nothing.
        let writes: Vec<u64> = hosts.iter().map(|host| host.id).filter(|id| check.storage.writes(*id)).collect();
        let fabric = self.plan.fabric;
        let alive = |node: u64, boot: u64| {
            let here = hosts.iter().any(|host| host.id == node && host.on && host.port && host.boot == boot);
            here && (!fabric || writes.contains(&node))
        };
        let unclean = |host: &&Host| !host.leftovers.is_empty();
        let clean = |node: u64, boot: &str| {
            hosts.iter().filter(unclean).all(|host| host.id != node || format!("boot{}", host.boot) != boot)
        };
        let truth = Truth { alive: &alive, clean: &clean, watchdogs: self.conf.watchdog.is_some() };
        let others = hosts.iter().filter_map(|host| Some(&host.daemon.as_ref()?.engine));
        let verdict = check.follow(engine, others, &truth, &mut self.counts);
        check.that(verdict);
        if changed {
            self.hosts_follow();
        }
    }

    /// Does what the engine wants done.
    pub(crate) fn perform(&mut self, id: u64, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, bytes } => self.send(id, to, &bytes),
                Action::Answer { connection, answer } => self.answered(id, connection, answer),
                Action::Identity(identity) => {
                    let boot = self.host(id).boot;
                    self.check.fencing.runs(id, identity.incarnation, boot);
                    let known = self.host(id).disk.identity.forced.epoch;
                    if identity.forced.node == id && identity.forced.epoch > known {
                        self.alone(id, &identity.forced);
                    }
                    self.host(id).disk.identity = identity;
                }
                Action::Fence(job) => self.agents(id, job),
                Action::Watchdog(order) => self.watchdog_order(id, order),
                Action::Reset(_) => {}
                Action::Configuration { version, text } => self.configure(id, version, text),
                Action::Wire(nodes) => self.wire(id, nodes),
                Action::Stop => {
                    if let Some(daemon) = self.host(id).daemon.as_mut().filter(|daemon| !daemon.told) {
                        daemon.told = true;
                        let run = daemon.run;
                        self.after(MS, Happening::Stopping { host: id, run });
                    }
                }
                Action::Log(line) => self.trace.note(self.time, || format!("n{id}: {line}")),
                Action::Reconnect => self.disconnect_all(id, 20 * MS),
                Action::Exit(why) => {
                    self.trace.note(self.time, || format!("n{id} ends: {why}"));
                    self.counts.one("nodes told to end");
                    self.power_cut(id);
                }
            }
        }
    }
}
