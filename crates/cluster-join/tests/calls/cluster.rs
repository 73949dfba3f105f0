//! A few engines in one process, with disks and cables that always work unless one is cut off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_conf::{ClusterNode, Conf};
use cluster_join::engine::{Action, Caller, Engine, Event, LogLength, Now};
use cluster_join::log::{Identity, Loaded, Write, decode_snapshot, header, recover};
use nines_proto::ctl::{Call, Failure, Request, Value};

#[derive(Clone)]
struct Disk {
    identity: Identity,
    snapshot: Option<Vec<u8>>,
    log: Vec<u8>,
}

pub struct Cluster {
    conf: Conf,
    now: u64,
    disks: BTreeMap<u64, Disk>,
    engines: BTreeMap<u64, Engine>,
    wire: VecDeque<(u64, u64, Vec<u8>)>,
    cut: BTreeSet<u64>,
    answers: BTreeMap<(u64, u64, u64), Result<Value, Failure>>,
    pub snapshots: usize,
}

impl Cluster {
    /// So many nodes that have met and elected one of them.
    pub fn new(count: u64) -> Self {
        let conf = Conf::plain("calls", (1..=count).map(|id| ClusterNode::plain(id, format!("n{id}"))).collect());
        let mut cluster = Self {
            conf: conf.clone(),
            now: 1,
            disks: BTreeMap::new(),
            engines: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            answers: BTreeMap::new(),
            snapshots: 0,
        };
        for node in 1..=count {
            let identity = Identity::new(&conf, node, format!("s{node}"));
            cluster.disks.insert(node, Disk { identity, snapshot: None, log: header() });
            cluster.start(node);
        }
        cluster.until(|cluster| cluster.engines.values().any(Engine::leads));
        cluster.settle();
        cluster
    }

    /// A node's daemon starts, or starts over in the same boot of its host.
    pub fn start(&mut self, node: u64) {
        let disk = self.disks.get_mut(&node).unwrap();
        disk.identity.incarnation += 1;
        let snapshot = disk.snapshot.as_deref().map(|bytes| decode_snapshot(bytes).unwrap());
        let loaded = Loaded { snapshot, log: recover(&disk.log).unwrap() };
        let now = Now { ms: self.now, unix: self.now / 1000 };
        let mut engine =
            Engine::new(self.conf.clone(), disk.identity.clone(), "boot".into(), loaded, node, now).unwrap();
        engine.set_log_length(LogLength { most: (40, 1 << 20), tail: (10, 1 << 20) });
        self.engines.insert(node, engine);
        self.meet(node);
    }

    fn meet(&mut self, node: u64) {
        let others: Vec<u64> = self.engines.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            for (from, to) in [(node, other), (other, node)] {
                if !self.cut.contains(&from) && !self.cut.contains(&to) {
                    let hello = self.engines[&from].hello();
                    self.step(to, Event::PeerUp { link: from, ring: 0, hello });
                }
            }
        }
    }

    pub fn cut(&mut self, node: u64) {
        self.cut.insert(node);
        let others: Vec<u64> = self.engines.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            self.step(other, Event::PeerDown { link: node, node });
            self.step(node, Event::PeerDown { link: other, node: other });
        }
    }

    pub fn mend(&mut self, node: u64) {
        self.cut.remove(&node);
        self.meet(node);
    }

    pub fn engine(&self, node: u64) -> &Engine {
        &self.engines[&node]
    }

    /// Bytes of a node's log and of its snapshot.
    pub fn disk(&self, node: u64) -> (usize, usize) {
        let disk = &self.disks[&node];
        (disk.log.len(), disk.snapshot.as_ref().map_or(0, Vec::len))
    }

    pub fn leader(&self) -> u64 {
        let leads = |node: &u64| !self.cut.contains(node) && self.engines[node].leads();
        self.engines.keys().copied().find(leads).unwrap()
    }

    fn step(&mut self, node: u64, event: Event) {
        let now = Now { ms: self.now, unix: self.now / 1000 };
        let Some(engine) = self.engines.get_mut(&node) else { return };
        engine.step(now, event);
        loop {
            let write = engine.turn(now).unwrap();
            for action in engine.take_actions() {
                match action {
                    Action::Send { to, bytes } => self.wire.push_back((node, to, bytes)),
                    Action::Answer { connection, answer } => {
                        let former = self.answers.insert((node, connection, answer.id), answer.outcome.into());
                        assert!(former.is_none(), "call {} answered twice", answer.id);
                    }
                    Action::Identity(identity) => self.disks.get_mut(&node).unwrap().identity = identity,
                    _ => {}
                }
            }
            let Some(write) = write else { break };
            let disk = self.disks.get_mut(&node).unwrap();
            match write {
                Write::Append(bytes) => disk.log.extend_from_slice(&bytes),
                Write::Replace { snapshot, log, .. } => {
                    (disk.snapshot, disk.log) = (Some(snapshot), log);
                    self.snapshots += 1;
                }
                Write::StartOver { log } => (disk.snapshot, disk.log) = (None, log),
            }
            engine.written(now).unwrap();
        }
    }

    /// Delivers everything that is on its way, and what comes of it.
    pub fn deliver(&mut self) {
        while let Some((from, to, bytes)) = self.wire.pop_front() {
            if !self.cut.contains(&from) && !self.cut.contains(&to) {
                self.step(to, Event::Message { link: from, node: from, bytes });
            }
        }
    }

    /// A little time passes.
    pub fn pass(&mut self) {
        self.now += 20;
        for node in self.engines.keys().copied().collect::<Vec<_>>() {
            self.step(node, Event::Tick);
        }
        self.deliver();
    }

    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            self.pass();
        }
        panic!("in vain for 40 seconds");
    }

    /// Two seconds.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.pass();
        }
    }

    pub fn ask(&mut self, node: u64, connection: u64, id: u64, request: Request) {
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(node, Event::Call { caller, call: Call { id, request } });
        self.deliver();
    }

    /// Asks, and cuts the node off when its call has gone to the leader.
    pub fn ask_and_cut(&mut self, node: u64, connection: u64, id: u64, request: Request) {
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(node, Event::Call { caller, call: Call { id, request } });
        let (from, to, bytes) = self.wire.pop_front().unwrap();
        assert_eq!(from, node);
        self.step(to, Event::Message { link: from, node: from, bytes });
        self.cut(node);
        self.deliver();
    }

    /// The answer, if there is one.
    pub fn answer(&mut self, node: u64, connection: u64, id: u64) -> Option<Result<Value, Failure>> {
        self.answers.remove(&(node, connection, id))
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, node: u64, request: Request) -> Result<Value, Failure> {
        self.ask(node, 1, u64::MAX, request);
        self.until(|cluster| cluster.answers.contains_key(&(node, 1, u64::MAX)));
        self.answer(node, 1, u64::MAX).unwrap()
    }

    pub fn close(&mut self, node: u64, connection: u64) {
        self.step(node, Event::Closed { connection });
        self.deliver();
    }
}
