//! A few engines in one process: cables that can be cut or made slow, agents that end when the
//! test says so, watchdogs that only note what they are told.

use std::collections::{BTreeMap, BTreeSet};

use cluster_conf::{ClusterNode, Conf, Device, Method};
use cluster_join::engine::{Action, Caller, Engine, Event, Now, Reset, Watchdog};
use cluster_join::log::{Identity, Loaded, header, recover};
use fence::{End, Job};
use nines_proto::ctl::{Call, Failure, Mode, Request, Value};

#[derive(Default)]
pub struct Host {
    /// Jobs that are not ended, and all orders to the watchdog.
    pub jobs: Vec<Job>,
    pub orders: Vec<(u64, Watchdog)>,
    pub reset: Option<Reset>,
    pub exit: Option<String>,
}

pub struct Cluster {
    pub conf: Conf,
    pub now: u64,
    engines: BTreeMap<u64, Engine>,
    pub hosts: BTreeMap<u64, Host>,
    /// When it arrives, from whom, to whom.
    wire: Vec<(u64, u64, u64, Vec<u8>)>,
    cut: BTreeSet<(u64, u64)>,
    /// How much longer everything to a node takes.
    pub slow: BTreeMap<u64, u64>,
    answers: BTreeMap<(u64, u64), Result<Value, Failure>>,
}

pub fn method() -> Method {
    let device = Device { name: "switch".into(), agent: "fence_x".into(), attributes: vec![] };
    Method { name: "power".into(), devices: vec![device] }
}

pub fn lock(sticky: bool) -> Request {
    let (resource, note) = ("disk".into(), String::new());
    Request::Lock { resource, mode: Mode::Ex, wait_ms: None, sticky, note, session: None }
}

impl Cluster {
    /// Three nodes with a method each, of which `present` are started and have met.
    pub fn new(present: u64, change: impl Fn(&mut Conf)) -> Self {
        let node = |id| ClusterNode { methods: vec![method()], ..ClusterNode::plain(id, format!("n{id}")) };
        let mut conf = Conf::plain("fencing", (1..=3).map(node).collect());
        change(&mut conf);
        let mut cluster = Self {
            conf,
            now: 1,
            engines: BTreeMap::new(),
            hosts: BTreeMap::new(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            answers: BTreeMap::new(),
        };
        for node in 1..=present {
            cluster.start(node);
        }
        cluster.until(3000, |cluster| cluster.engines.values().any(Engine::leads));
        cluster.pass(1500);
        cluster
    }

    pub fn start(&mut self, node: u64) {
        let identity = Identity { incarnation: 1, ..Identity::new(&self.conf, node, format!("s{node}")) };
        let loaded = Loaded { snapshot: None, log: recover(&header()).unwrap() };
        let engine = Engine::new(self.conf.clone(), identity, format!("boot{node}"), loaded, node, self.now()).unwrap();
        self.engines.insert(node, engine);
        self.hosts.insert(node, Host::default());
        for other in self.engines.keys().copied().filter(|other| *other != node).collect::<Vec<_>>() {
            self.meet(node, other);
        }
    }

    fn now(&self) -> Now {
        Now { ms: self.now, unix: self.now / 1000 }
    }

    fn meet(&mut self, a: u64, b: u64) {
        for (from, to) in [(a, b), (b, a)] {
            let hello = self.engines[&from].hello();
            self.step(to, Event::PeerUp { link: from, ring: 0, hello });
        }
    }

    pub fn cut(&mut self, a: u64, b: u64) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub fn isolate(&mut self, node: u64) {
        for other in 1..=3 {
            if other != node {
                self.cut(node, other);
            }
        }
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    pub fn engine(&self, node: u64) -> &Engine {
        &self.engines[&node]
    }

    /// The leader, and the two others.
    pub fn roles(&self) -> (u64, u64, u64) {
        let leader = self
            .engines
            .keys()
            .copied()
            .filter(|node| self.engines[node].leads())
            .max_by_key(|node| self.engines[node].applied());
        let leader = leader.unwrap();
        let mut others = (1..=3).filter(|node| *node != leader);
        (leader, others.next().unwrap(), others.next().unwrap())
    }

    pub fn step(&mut self, node: u64, event: Event) {
        let now = self.now();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let engine = self.engines.get_mut(&node).unwrap();
            engine.step(now, event);
            loop {
                let write = engine.turn(now).unwrap();
                for action in engine.take_actions() {
                    let host = self.hosts.get_mut(&node).unwrap();
                    match action {
                        Action::Send { to, bytes } => {
                            let at = self.now + self.slow.get(&to).copied().unwrap_or_default();
                            self.wire.push((at, node, to, bytes));
                        }
                        Action::Answer { answer, .. } => {
                            self.answers.insert((node, answer.id), answer.outcome.into());
                        }
                        Action::Fence(job) => host.jobs.push(job),
                        Action::Watchdog(order) => {
                            host.orders.push((self.now, order));
                            if matches!(order, Watchdog::Arm { .. }) {
                                events.push(Event::Armed(Ok(())));
                            }
                        }
                        Action::Reset(reset) => host.reset = reset,
                        Action::Exit(why) => host.exit = Some(why),
                        _ => {}
                    }
                }
                if write.is_none() {
                    break;
                }
                engine.written(now).unwrap();
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(at) = self.wire.iter().position(|(at, ..)| *at <= self.now) {
            let (_, from, to, bytes) = self.wire.remove(at);
            if !self.cut.contains(&(from, to)) && self.engines.contains_key(&to) {
                self.step(to, Event::Message { link: from, node: from, bytes });
            }
        }
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for node in self.engines.keys().copied().collect::<Vec<_>>() {
                if self.hosts[&node].exit.is_none() {
                    self.step(node, Event::Tick);
                }
            }
            self.deliver();
        }
    }

    /// Lets time pass until `done`, at most `ms`; how long it took.
    pub fn until(&mut self, ms: u64, done: impl Fn(&Self) -> bool) -> u64 {
        let begin = self.now;
        while !done(self) {
            assert!(self.now < begin + ms, "in vain for {ms} ms");
            self.pass(10);
        }
        self.now - begin
    }

    pub fn ask(&mut self, node: u64, id: u64, request: Request) {
        let caller = Caller { connection: 1, may_steer: true, who: "uid 0".into() };
        self.step(node, Event::Call { caller, call: Call { id, request } });
        self.deliver();
    }

    pub fn answered(&self, node: u64, id: u64) -> bool {
        self.answers.contains_key(&(node, id))
    }

    pub fn call(&mut self, node: u64, id: u64, request: Request) -> Result<Value, Failure> {
        self.ask(node, id, request);
        self.until(5000, |cluster| cluster.answered(node, id));
        self.answers.remove(&(node, id)).unwrap()
    }

    /// The oldest job of a node ends.
    pub fn end_job(&mut self, node: u64, good: bool) {
        let job = self.hosts.get_mut(&node).unwrap().jobs.remove(0);
        let what = "said so".to_owned();
        let end = if good { End::Done { method: "power".into(), what } } else { End::Failed { what } };
        self.step(node, Event::Fenced { number: job.number, end });
    }

    /// Up to when the watchdog of `node` may be fed.
    pub fn fed_until(&self, node: u64) -> u64 {
        let until = self.hosts[&node].orders.iter().filter_map(|(_, order)| match order {
            Watchdog::Arm { until_ms } | Watchdog::Pet { until_ms } => Some(*until_ms),
            Watchdog::Disarm => None,
        });
        until.max().unwrap_or_default()
    }
}
