//! Cables and sessions. A node only sends over the session it opened itself.

use cluster_join::engine::{Engine, Event};
use cluster_join::peer::Peer;

use crate::check::Consensus;
use crate::clock::MS;
use crate::world::{Happening, World};

impl World {
    /// Has `from` open a session to `to` some time soon.
    pub(crate) fn dial_soon(&mut self, from: u64, to: u64) {
        if self.dialling.insert((from, to)) {
            let after = self.random.between(2 * MS, 80 * MS);
            self.after(after, Happening::Dial { from, to });
        }
    }

    pub(crate) fn dial_all(&mut self, id: u64) {
        for other in self.ids().filter(|other| *other != id) {
            self.dial_soon(id, other);
            self.dial_soon(other, id);
        }
    }

    pub(crate) fn dial(&mut self, from: u64, to: u64) {
        self.dialling.remove(&(from, to));
        if self.links.contains_key(&(from, to)) {
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
        let Some(ours) = ours.filter(|_| !held && !self.cut.contains(&(from, to))) else {
            self.dialling.insert((from, to));
            let after = self.random.between(100 * MS, 300 * MS);
            return self.after(after, Happening::Dial { from, to });
        };
        if let Some(conflict) = ours.conflict(&theirs) {
            self.trace.note(self.time, || format!("n{to} refuses n{from}: it {conflict}"));
            self.dialling.insert((from, to));
            return self.after(500 * MS, Happening::Dial { from, to });
        }
        let link = self.number();
        self.links.insert((from, to), link);
        self.step(to, Event::PeerUp { link, ring: 0, hello: theirs });
    }

    /// A node keeps sessions with these others, and with no more.
    pub(crate) fn wire(&mut self, id: u64, nodes: Vec<u64>) {
        for other in self.ids().filter(|other| !nodes.contains(other)) {
            self.disconnect(id, other, 20 * MS);
        }
        for other in &nodes {
            if *other <= self.hosts.len() as u64 && !self.links.contains_key(&(id, *other)) {
                self.dial_soon(id, *other);
            }
        }
        if let Some(daemon) = self.host(id).daemon.as_mut() {
            daemon.wired = nodes;
        }
    }

    /// Ends a session; its receiver notices within `notice`.
    pub(crate) fn disconnect(&mut self, from: u64, to: u64, notice: u64) {
        let Some(link) = self.links.remove(&(from, to)) else { return };
        let after = self.random.between(0, notice);
        self.after(after, Happening::Down { from, to, link });
        self.dial_soon(from, to);
    }

    pub(crate) fn disconnect_all(&mut self, id: u64, notice: u64) {
        for other in self.ids().filter(|other| *other != id) {
            self.disconnect(id, other, notice);
            self.disconnect(other, id, notice);
        }
    }

    pub(crate) fn send(&mut self, from: u64, to: u64, bytes: &[u8]) {
        if let Ok(Peer::Raft(message)) = Peer::decode(bytes, from, to) {
            let verdict = Consensus::c3_durable_before_sent(from, &message, &self.host(from).disk);
            self.check.that(verdict);
        }
        let Some(link) = self.links.get(&(from, to)).copied() else { return };
        if self.cut.contains(&(from, to)) || (self.faults.drop && self.random.one_in(50)) {
            return;
        }
        let copies = if self.faults.duplicate && self.random.one_in(50) { 2 } else { 1 };
        for copy in 0..copies {
            let mut delay = if self.faults.reorder { self.random.between(MS / 5, 20 * MS) } else { MS / 5 };
            if copy > 0 || (self.faults.reorder && self.random.one_in(100)) {
                delay += self.random.between(0, 700 * MS);
            }
            self.after(delay, Happening::Packet { from, to, link, bytes: bytes.to_owned() });
        }
    }

    pub(crate) fn arrive(&mut self, from: u64, to: u64, link: u64, bytes: Vec<u8>) {
        if self.links.get(&(from, to)) == Some(&link) {
            self.step(to, Event::Message { link, node: from, bytes });
        }
    }

    /// Engines that run.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (u64, &Engine)> {
        self.hosts.iter().filter_map(|host| Some((host.id, &host.daemon.as_ref()?.engine)))
    }
}
