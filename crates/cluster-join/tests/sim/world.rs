//! The machines: engines, disks, cables and clients, driven by one generator of numbers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_conf::{ClusterNode, Conf};
use cluster_join::engine::{Action, Caller, Engine, Event, LogLength, Now};
use cluster_join::log::{Identity, Loaded, Write, decode_snapshot, header, recover};
use nines_proto::ctl::{Answer, Call, ErrorKind, Mode, Outcome, Request, Value};

use crate::check::{Check, Held};

#[derive(Debug, Clone, Copy)]
pub struct Faults {
    pub crash: bool,
    pub partition: bool,
    pub drop: bool,
    pub reorder: bool,
}

impl Faults {
    pub const ALL: Self = Self { crash: true, partition: true, drop: true, reorder: true };
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// A disk: what is synced survives a crash, of the rest any beginning.
#[derive(Clone)]
struct Disk {
    identity: Identity,
    snapshot: Option<Vec<u8>>,
    log: Vec<u8>,
}

struct Node {
    id: u64,
    boot: u64,
    disk: Disk,
    engine: Option<Engine>,
    /// Clients by connection; a crash takes them all.
    clients: BTreeMap<u64, Client>,
    next_connection: u64,
}

/// Asks for one lock, holds it, gives it back.
struct Client {
    resource: String,
    mode: Mode,
    sticky: bool,
    does: Does,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Asking,
    /// The check's number for what it holds.
    Holding(u64),
    Returning,
}

struct Packet {
    at: u64,
    from: u64,
    to: u64,
    link: u64,
    bytes: Vec<u8>,
}

pub struct World {
    seed: u64,
    random: Random,
    faults: Faults,
    now: u64,
    nodes: Vec<Node>,
    wire: VecDeque<Packet>,
    /// The session from the first to the second of each pair that is connected.
    links: BTreeMap<(u64, u64), u64>,
    next_link: u64,
    cut: BTreeSet<(u64, u64)>,
    conf: Conf,
    /// Sticky locks by node and resource, which outlive clients: the check's number.
    sticky: BTreeMap<(u64, String), u64>,
    /// Connections whose clients are about to hang up.
    done: Vec<(u64, u64)>,
    pub check: Check,
}

const RESOURCES: u64 = 3;

fn caller(connection: u64) -> Caller {
    Caller { connection, may_steer: true, who: "uid 0".into() }
}

impl World {
    pub fn new(seed: u64, count: usize, faults: Faults) -> Self {
        let conf = Conf::plain("sim", (1..=count as u64).map(|id| ClusterNode::plain(id, format!("n{id}"))).collect());
        let mut world = Self {
            seed,
            random: Random(seed),
            faults,
            now: 1,
            nodes: Vec::new(),
            wire: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 1,
            cut: BTreeSet::new(),
            conf: conf.clone(),
            sticky: BTreeMap::new(),
            done: Vec::new(),
            check: Check::default(),
        };
        for id in 1..=count as u64 {
            let identity = Identity {
                format: Identity::FORMAT,
                cluster: conf.name.clone(),
                node: id,
                voters: conf.voters(),
                learners: vec![],
                store: format!("s{id}"),
                incarnation: 0,
                catching_up: false,
            };
            let disk = Disk { identity, snapshot: None, log: header() };
            let clients = BTreeMap::new();
            world.nodes.push(Node { id, boot: 1, disk, engine: None, clients, next_connection: 1 });
            world.start(id);
        }
        world
    }

    fn now(&self) -> Now {
        Now { ms: self.now, unix: self.now / 1000 }
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).unwrap()
    }

    fn start(&mut self, id: u64) {
        let (now, conf, seed) = (self.now(), self.conf.clone(), self.seed ^ self.random.next());
        let node = self.node(id);
        let disk = &mut node.disk;
        let log = recover(&disk.log).unwrap();
        disk.log.truncate(log.length);
        disk.identity.incarnation += 1;
        let snapshot = disk.snapshot.as_deref().map(|bytes| decode_snapshot(bytes).unwrap());
        let boot = format!("boot{}", node.boot);
        let mut engine = Engine::new(conf, disk.identity.clone(), boot, Loaded { snapshot, log }, seed, now).unwrap();
        // Short logs, so that snapshots are made, sent and found again.
        engine.set_log_length(LogLength { most: (40, 1 << 20), tail: (10, 1 << 20) });
        node.engine = Some(engine);
    }

    /// A process ends here and now; `torn` is how much of the write under way made it to disk.
    fn crash(&mut self, id: u64, torn: &[u8]) {
        let reboots = self.random.one_in(2);
        let node = self.node(id);
        node.engine = None;
        node.disk.log.extend_from_slice(torn);
        let clients = std::mem::take(&mut node.clients);
        if reboots {
            node.boot += 1;
        }
        for client in clients.into_values() {
            if let Does::Holding(number) = client.does
                && !client.sticky
            {
                self.check.released(number);
            }
        }
        if reboots {
            let gone: Vec<_> = self.sticky.keys().filter(|(node, _)| *node == id).cloned().collect();
            for key in gone {
                let number = self.sticky.remove(&key).unwrap();
                self.check.released(number);
            }
        }
        let links: Vec<_> = self.links.keys().filter(|(from, to)| *from == id || *to == id).copied().collect();
        for pair in links {
            self.disconnect(pair);
        }
    }

    fn disconnect(&mut self, pair: (u64, u64)) {
        let Some(link) = self.links.remove(&pair) else { return };
        self.wire.retain(|packet| packet.link != link);
        self.step(pair.1, Event::PeerDown { link, node: pair.0 });
    }

    /// Opens the sessions that are missing, where cables and daemons allow.
    fn connect(&mut self) {
        let up: Vec<u64> = self.nodes.iter().filter(|node| node.engine.is_some()).map(|node| node.id).collect();
        for from in &up {
            for to in &up {
                let pair = (*from, *to);
                if from == to || self.links.contains_key(&pair) || self.cut.contains(&pair) || self.random.one_in(2) {
                    continue;
                }
                let link = self.next_link;
                self.next_link += 1;
                self.links.insert(pair, link);
                if let Some(hello) = self.node(*from).engine.as_ref().map(Engine::hello) {
                    self.step(*to, Event::PeerUp { link, ring: 0, hello });
                }
            }
        }
    }

    fn step(&mut self, id: u64, event: Event) {
        let now = self.now();
        let Some(engine) = &mut self.node(id).engine else { return };
        engine.step(now, event);
        self.work(id);
    }

    /// As the daemon does: writes are durable before what depends on them leaves the node.
    fn work(&mut self, id: u64) {
        let now = self.now();
        loop {
            let Some(engine) = &mut self.node(id).engine else { return };
            let write = engine.turn(now).unwrap();
            if write.is_some() && self.faults.crash && self.random.one_in(400) {
                let torn = match write {
                    Some(Write::Append(bytes)) => {
                        let length = self.random.below(bytes.len() as u64 + 1) as usize;
                        bytes[..length].to_vec()
                    }
                    _ => vec![],
                };
                // What was to be sent may have been, or not.
                if self.random.one_in(2) {
                    self.perform(id);
                }
                return self.crash(id, &torn);
            }
            self.perform(id);
            let Some(write) = write else { break };
            let disk = &mut self.node(id).disk;
            match write {
                Write::Append(bytes) => disk.log.extend_from_slice(&bytes),
                Write::Replace { snapshot, log, .. } => (disk.snapshot, disk.log) = (Some(snapshot), log),
            }
            let Some(engine) = &mut self.node(id).engine else { return };
            engine.written(now).unwrap();
        }
        let node = self.nodes.iter().find(|node| node.id == id).unwrap();
        if let Some(engine) = &node.engine {
            self.check.state(id, engine.applied(), engine.state());
        }
    }

    fn perform(&mut self, id: u64) {
        let Some(engine) = &mut self.node(id).engine else { return };
        for action in engine.take_actions() {
            match action {
                // These clusters have neither fence methods nor watchdogs.
                Action::Fence(_) | Action::Watchdog(_) | Action::Reset(_) => panic!("{action:?}"),
                Action::Send { to, bytes } => self.send(id, to, &bytes),
                Action::Answer { connection, answer } => self.answered(id, connection, answer),
                Action::Identity(identity) => self.node(id).disk.identity = identity,
                Action::Log(line) => assert!(!line.contains("not a change"), "{line}"),
                Action::Reconnect => {}
                Action::Exit(why) => panic!("node {id}: {why}"),
            }
        }
    }

    fn send(&mut self, from: u64, to: u64, bytes: &[u8]) {
        let Some(link) = self.links.get(&(from, to)).copied() else { return };
        if self.cut.contains(&(from, to)) || (self.faults.drop && self.random.one_in(50)) {
            return;
        }
        let copies = if self.faults.reorder && self.random.one_in(50) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.faults.reorder { 1 + self.random.below(20) } else { 1 };
            let delay = if self.faults.reorder && self.random.one_in(100) { delay + 600 } else { delay };
            self.wire.push_back(Packet { at: self.now + delay, from, to, link, bytes: bytes.to_vec() });
        }
    }

    /// One step of everything, and perhaps a fault.
    pub fn chaos(&mut self) {
        let ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        if self.faults.partition && self.random.one_in(100) {
            let alone = ids[self.random.below(ids.len() as u64) as usize];
            let one_way = self.random.one_in(3);
            for other in ids.iter().filter(|id| **id != alone) {
                self.cut.insert((alone, *other));
                if !one_way {
                    self.cut.insert((*other, alone));
                }
            }
        }
        if self.random.one_in(60) {
            self.cut.clear();
        }
        if self.faults.partition && self.random.one_in(40) {
            // A session that breaks although both ends are well.
            if let Some(pair) = self.links.keys().next().copied() {
                self.disconnect(pair);
            }
        }
        for id in &ids {
            let running = self.node(*id).engine.is_some();
            if running && self.faults.crash && self.random.one_in(400) {
                self.crash(*id, &[]);
            } else if !running && self.random.one_in(30) {
                self.start(*id);
            }
        }
        self.clients(&ids);
        let time = 10 + self.random.below(20);
        self.pass(time);
    }

    /// Time passes: timers fire and packets arrive.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        self.connect();
        while self.now < until {
            self.now += 10;
            let (now, mut due) = (self.now, Vec::new());
            for at in (0..self.wire.len()).rev() {
                if self.wire[at].at <= now {
                    due.extend(self.wire.remove(at));
                }
            }
            due.sort_by_key(|packet| packet.at);
            for packet in due {
                if self.links.get(&(packet.from, packet.to)) == Some(&packet.link) {
                    let Packet { from: node, to, link, bytes, .. } = packet;
                    self.step(to, Event::Message { link, node, bytes });
                }
            }
            let due = |node: &&Node| node.engine.as_ref().is_some_and(|engine| engine.deadline_ms() <= now);
            for id in self.nodes.iter().filter(due).map(|node| node.id).collect::<Vec<_>>() {
                self.step(id, Event::Tick);
            }
            for (id, connection) in std::mem::take(&mut self.done) {
                self.hang_up(id, connection);
            }
        }
    }

    fn clients(&mut self, ids: &[u64]) {
        for id in ids {
            if self.node(*id).engine.is_none() {
                continue;
            }
            if self.random.one_in(3) && self.node(*id).clients.len() < 6 {
                self.ask(*id);
            }
            let connections: Vec<u64> = self.node(*id).clients.keys().copied().collect();
            for connection in connections {
                let hangs_up = self.random.one_in(40);
                let gives_back = self.random.one_in(8);
                let Some(client) = self.node(*id).clients.get(&connection) else { continue };
                match client.does {
                    _ if hangs_up => self.hang_up(*id, connection),
                    Does::Holding(number) if gives_back => self.give_back(*id, connection, number),
                    _ => {}
                }
            }
        }
    }

    fn ask(&mut self, id: u64) {
        let resource = format!("r{}", self.random.below(RESOURCES));
        let mode = [Mode::Ex, Mode::Ex, Mode::Pr, Mode::Pw, Mode::Cr][self.random.below(5) as usize];
        let sticky = self.random.one_in(3);
        let wait_ms = [None, Some(0), Some(500), Some(5000)][self.random.below(4) as usize];
        // A host asks for what it has by itself only after it gave it back.
        if sticky
            && (self.sticky.contains_key(&(id, resource.clone()))
                || self.node(id).clients.values().any(|client| client.sticky && client.resource == resource))
        {
            return;
        }
        let node = self.node(id);
        let connection = node.next_connection;
        node.next_connection += 1;
        let client = Client { resource: resource.clone(), mode, sticky, does: Does::Asking };
        node.clients.insert(connection, client);
        let request = Request::Lock { resource, mode, wait_ms, sticky, session: None, note: String::new() };
        self.step(id, Event::Call { caller: caller(connection), call: Call { id: 1, request } });
    }

    fn give_back(&mut self, id: u64, connection: u64, number: u64) {
        self.check.released(number);
        let Some(client) = self.node(id).clients.get_mut(&connection) else { return };
        client.does = Does::Returning;
        let (resource, sticky) = (client.resource.clone(), client.sticky);
        if sticky {
            self.sticky.remove(&(id, resource.clone()));
        }
        let call = Call { id: 2, request: Request::Unlock { resource, sticky, session: None, value: None } };
        self.step(id, Event::Call { caller: caller(connection), call });
    }

    fn hang_up(&mut self, id: u64, connection: u64) {
        let Some(client) = self.node(id).clients.remove(&connection) else { return };
        if let Does::Holding(number) = client.does
            && !client.sticky
        {
            self.check.released(number);
        }
        self.step(id, Event::Closed { connection });
    }

    fn answered(&mut self, id: u64, connection: u64, answer: Answer) {
        let Some(client) = self.node(id).clients.get_mut(&connection) else { return };
        let (resource, mode, sticky) = (client.resource.clone(), client.mode, client.sticky);
        match (client.does, answer.outcome) {
            (Does::Asking, Outcome::Ok(Value::Granted { generation, .. })) => {
                let held = Held { node: id, resource: resource.clone(), mode, generation };
                let number = self.check.granted(held, sticky);
                if let Some(client) = self.node(id).clients.get_mut(&connection) {
                    client.does = Does::Holding(number);
                }
                if sticky {
                    self.sticky.insert((id, resource), number);
                }
            }
            (Does::Asking, Outcome::Error(_)) => drop(self.node(id).clients.remove(&connection)),
            (Does::Returning, Outcome::Error(failure)) if sticky && failure.kind == ErrorKind::Inquorate => {
                // Not given back: the host still has it, and will ask to be rid of it again.
                self.node(id).clients.remove(&connection);
            }
            // A client hangs up in its own time, not in the middle of the daemon's work.
            (Does::Returning, _) => self.done.push((id, connection)),
            (does, outcome) => {
                panic!("{outcome:?} for one that is {}", if does == Does::Asking { "asking" } else { "content" })
            }
        }
    }

    /// All faults end; then everything that was asked for must be decided.
    pub fn heal(&mut self) {
        self.faults = Faults { crash: false, partition: false, drop: false, reorder: false };
        self.cut.clear();
        let ids: Vec<u64> = self.nodes.iter().map(|node| node.id).collect();
        for id in &ids {
            if self.node(*id).engine.is_none() {
                self.start(*id);
            }
        }
        for _ in 0..100 {
            self.pass(50);
        }
        for node in &self.nodes {
            self.check.nothing_lost(node.engine.as_ref().unwrap().state());
        }
        // Whoever holds something lets go, whoever waits gets his turn.
        for round in 0.. {
            self.pass(50);
            for id in &ids {
                let holders: Vec<(u64, u64)> = self
                    .node(*id)
                    .clients
                    .iter()
                    .filter_map(|(connection, client)| match client.does {
                        Does::Holding(number) => Some((*connection, number)),
                        _ => None,
                    })
                    .collect();
                for (connection, number) in holders {
                    self.give_back(*id, connection, number);
                }
            }
            // Hosts give back what they kept without a client.
            let kept: Vec<(u64, String)> = self.left_over();
            for (id, resource) in kept {
                if let Some(number) = self.sticky.remove(&(id, resource.clone())) {
                    self.check.released(number);
                }
                let call =
                    Call { id: 9, request: Request::Unlock { resource, sticky: true, session: None, value: None } };
                self.step(id, Event::Call { caller: caller(0), call });
            }
            let applied: BTreeSet<u64> =
                self.nodes.iter().map(|node| node.engine.as_ref().unwrap().applied()).collect();
            let waiting = self.nodes.iter().any(|node| !node.clients.is_empty());
            let state = self.nodes[0].engine.as_ref().unwrap().state();
            if !waiting && applied.len() == 1 && state.locks.list().next().is_none() {
                break;
            }
            assert!(round < 2000, "seed {}: still waiting after {round} rounds", self.seed);
        }
    }

    /// Sticky locks in the state that no client is about to give back.
    fn left_over(&self) -> Vec<(u64, String)> {
        let mut left = Vec::new();
        let state = self.nodes[0].engine.as_ref().unwrap().state();
        for (resource, granted, _) in state.locks.list() {
            for grant in granted.iter().filter(|grant| grant.owner.connection.is_none()) {
                let node = self.nodes.iter().find(|node| node.id == grant.owner.node).unwrap();
                if !node.clients.values().any(|client| client.sticky && client.resource == resource) {
                    left.push((grant.owner.node, resource.to_owned()));
                }
            }
        }
        left
    }
}
