//! Cables and sessions. A node only sends over the sessions it opened itself: one to each other
//! node on each network, and what it says over all of them.

use cluster_join::engine::{Engine, Event};
use cluster_join::peer::{Peer, is_numbered};

use crate::check::Consensus;
use crate::clock::MS;
use crate::world::{Happening, World};

/// From one node to another over one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub from: u64,
    pub to: u64,
    pub ring: usize,
}

impl World {
    fn rings(&self) -> std::ops::Range<usize> {
        0..if self.plan.two_links { 2 } else { 1 }
    }

    /// From one node to another over every network.
    pub(crate) fn ways(&self, from: u64, to: u64) -> impl Iterator<Item = Way> + use<> {
        self.rings().map(move |ring| Way { from, to, ring })
    }

    /// Has a node open a session to another some time soon.
    fn dial_soon(&mut self, way: Way) {
        if self.dialling.insert(way) {
            let after = self.random.between(2 * MS, 80 * MS);
            self.after(after, Happening::Dial(way));
        }
    }

    pub(crate) fn dial_all(&mut self, id: u64) {
        for other in self.ids().filter(|other| *other != id) {
            for way in self.ways(id, other) {
                self.dial_soon(way);
                self.dial_soon(Way { from: other, to: id, ..way });
            }
        }
    }

    pub(crate) fn dial(&mut self, way: Way) {
        let Way { from, to, ring } = way;
        self.dialling.remove(&way);
        if self.links.contains_key(&way) {
            return;
        }
        // Only who is in its configuration, or votes, is called.
        if self.host(from).daemon.as_ref().is_some_and(|daemon| !daemon.wired.contains(&to)) {
            return;
        }
        let engine = |world: &mut Self, id| world.host(id).daemon.as_ref().map(|daemon| daemon.engine.hello());
        let Some(theirs) = engine(self, from) else { return };
        let held = self.host(to).daemon.as_ref().is_none_or(|daemon| daemon.held)
            || self.host(from).daemon.as_ref().is_some_and(|daemon| daemon.held);
        let ours = engine(self, to);
        let Some(ours) = ours.filter(|_| !held && !self.cut.contains(&way)) else {
            self.dialling.insert(way);
            let after = self.random.between(100 * MS, 300 * MS);
            return self.after(after, Happening::Dial(way));
        };
        if let Some(conflict) = ours.conflict(&theirs) {
            self.trace.note(self.time, || format!("n{to} refuses n{from}: it {conflict}"));
            self.dialling.insert(way);
            return self.after(500 * MS, Happening::Dial(way));
        }
        let link = self.number();
        self.links.insert(way, link);
        self.step(to, Event::PeerUp { link, ring, hello: theirs });
    }

    /// A node keeps sessions with these others, and with no more.
    pub(crate) fn wire(&mut self, id: u64, nodes: Vec<u64>) {
        for other in self.ids().filter(|other| !nodes.contains(other)) {
            self.disconnect(id, other, 20 * MS);
        }
        for other in self.ids().filter(|other| nodes.contains(other)) {
            for way in self.ways(id, other).filter(|way| !self.links.contains_key(way)).collect::<Vec<_>>() {
                self.dial_soon(way);
            }
        }
        if let Some(daemon) = self.host(id).daemon.as_mut() {
            daemon.wired = nodes;
        }
    }

    /// Ends a node's sessions with another; their receiver notices within `notice`.
    pub(crate) fn disconnect(&mut self, from: u64, to: u64, notice: u64) {
        for way in self.ways(from, to) {
            self.disconnect_way(way, notice);
        }
    }

    pub(crate) fn disconnect_way(&mut self, way: Way, notice: u64) {
        let Some(link) = self.links.remove(&way) else { return };
        let after = self.random.between(0, notice);
        self.after(after, Happening::Down { way, link });
        self.dial_soon(way);
    }

    pub(crate) fn disconnect_all(&mut self, id: u64, notice: u64) {
        for other in self.ids().filter(|other| *other != id) {
            self.disconnect(id, other, notice);
            self.disconnect(other, id, notice);
        }
    }

    pub(crate) fn send(&mut self, from: u64, to: u64, bytes: &[u8]) {
        match Peer::decode(bytes, from, to) {
            Ok(Peer::Raft(message)) => {
                let verdict = Consensus::c3_durable_before_sent(from, &message, &self.host(from).disk);
                self.check.that(verdict);
            }
            Ok(Peer::Pong { .. }) => self.check.fencing.answers(to, self.time),
            _ => {}
        }
        let number = if self.plan.two_links && is_numbered(bytes) { self.number() } else { 0 };
        for way in self.ways(from, to) {
            let Some(link) = self.links.get(&way).copied() else { continue };
            if self.cut.contains(&way) || (self.faults.drop && self.random.one_in(50)) {
                continue;
            }
            let copies = if self.faults.duplicate && self.random.one_in(50) { 2 } else { 1 };
            for copy in 0..copies {
                let mut delay = if self.faults.reorder { self.random.between(MS / 5, 20 * MS) } else { MS / 5 };
                if copy > 0 || (self.faults.reorder && self.random.one_in(100)) {
                    delay += self.random.between(0, 700 * MS);
                }
                self.after(delay, Happening::Packet { way, link, number, bytes: bytes.to_owned() });
            }
        }
    }

    /// What came over one network already is no news over the other.
    pub(crate) fn arrive(&mut self, way: Way, link: u64, number: u64, bytes: Vec<u8>) {
        if self.links.get(&way) == Some(&link) && (number == 0 || self.arrived.insert(number)) {
            self.step(way.to, Event::Message { link, node: way.from, bytes });
        }
    }

    /// One of two networks, or what it is for one node, carries nothing, or only in one direction.
    pub(crate) fn link_fault(&mut self) {
        if !self.plan.two_links || !self.faults.partition || !self.asking.one_in(80) {
            return;
        }
        let ring = self.asking.index(2);
        let whom = self.asking.below(self.hosts.len() as u64 + 1);
        let ways: Vec<Way> = self
            .ids()
            .flat_map(|from| self.ids().map(move |to| Way { from, to, ring }))
            .filter(|way| whom == 0 || way.from == whom || way.to == whom)
            .collect();
        let one_way = whom > 0 && self.asking.one_in(3);
        self.cut.extend(ways.into_iter().filter(|way| !one_way || way.from == whom));
        self.counts.one("links cut");
        self.trace.note(self.time, || format!("network {ring} carries nothing for {whom}, one way {one_way}"));
    }

    /// Engines that run.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (u64, &Engine)> {
        self.hosts.iter().filter_map(|host| Some((host.id, &host.daemon.as_ref()?.engine)))
    }
}
