//! Who is there: what this node hears from the others.

use std::collections::BTreeMap;

use super::Now;
use crate::net::RINGS;
use crate::peer::Hello;
use cluster_conf::Conf;

/// Most sessions of nodes this one has not heard of.
pub(super) const MAX_STRANGERS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Since when there is account of it, in time awake.
    pub since: u64,
    /// The session it talks to us over on each network.
    pub links: [Link; RINGS],
    /// How it introduced itself last.
    pub hello: Option<Hello>,
    pub heard: Option<Heard>,
    /// Since when it is heard, in time awake, whatever over.
    pub present_since: Option<u64>,
    /// When a snapshot went to it that it has not answered.
    pub snapshot_sent: Option<u64>,
    /// Whom it hears itself, as it said at this time.
    pub hears: Option<(u64, Vec<u64>)>,
    /// When its joining or loss was last proposed.
    pub proposed: Option<u64>,
    /// When it was last told the configuration in force.
    pub told_conf: Option<u64>,
}

/// When something was heard: in time awake, and on the clock of people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub ms: u64,
    pub unix: u64,
}

/// A network to a node.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub session: Option<u64>,
    pub heard: Option<u64>,
    /// Something was heard within the last token time; since when that is so, or is not.
    pub up: bool,
    pub since: Option<u64>,
    /// It was logged that nothing is heard although the other one carries on.
    pub told: bool,
}

#[derive(Debug)]
pub struct Peers {
    pub(super) others: BTreeMap<u64, Peer>,
    /// Sessions of nodes that this one has not heard of, by node and network.
    pub(super) strangers: BTreeMap<(u64, usize), (u64, Hello)>,
    pub(super) next_ping: u64,
    /// For this node's own joining.
    pub(super) proposed: Option<u64>,
    pub(super) last_ms: u64,
    /// How long this process did not run when it should have, and when that was noted last. No
    /// node was silent in that time: we did not listen.
    pub(super) asleep: u64,
    pub(super) asleep_noted: Option<u64>,
}

impl Peers {
    pub fn new(conf: &Conf, me: u64, now: Now) -> Self {
        let others = conf.nodes.iter().filter(|node| node.id != me);
        let others = others.map(|node| (node.id, Peer { since: now.ms, ..Peer::default() })).collect();
        let (next_ping, last_ms) = (now.ms, now.ms);
        Self { others, strangers: BTreeMap::new(), next_ping, proposed: None, last_ms, asleep: 0, asleep_noted: None }
    }

    /// The clock that silence is measured on: it stands while this process does.
    pub(super) fn awake(&self, now: Now) -> u64 {
        now.ms.saturating_sub(self.asleep)
    }

    /// Notes that this process comes `late` by so many milliseconds. Of pauses that follow each
    /// other closely only the first counts, so that a host that is always late still notices
    /// who is gone.
    pub fn overslept(&mut self, now: Now, late: u64, token_ms: u64) {
        let before = now.ms.saturating_sub(late);
        if self.asleep_noted.is_none_or(|noted| before >= noted + token_ms / 2) {
            self.asleep += late;
            self.asleep_noted = Some(now.ms);
        }
    }

    /// Notes a message of `node` over `link`; false for one of a session that was replaced.
    pub fn heard(&mut self, now: Now, node: u64, link: u64) -> bool {
        let ms = self.awake(now);
        let Some(peer) = self.others.get_mut(&node) else { return false };
        let Some(ring) = peer.links.iter_mut().find(|ring| ring.session == Some(link)) else { return false };
        ring.heard = Some(ms);
        peer.heard = Some(Heard { ms, unix: now.unix });
        true
    }

    /// Notes the end of a session; false when it had been replaced before, or another one of the
    /// node goes on.
    pub fn down(&mut self, node: u64, link: u64) -> bool {
        self.strangers.retain(|_, (known, _)| *known != link);
        let Some(peer) = self.others.get_mut(&node) else { return false };
        let Some(ring) = peer.links.iter_mut().find(|ring| ring.session == Some(link)) else { return false };
        ring.session = None;
        peer.links.iter().all(|ring| ring.session.is_none())
    }

    pub fn snapshot_sent(&mut self, node: u64) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.snapshot_sent = Some(self.last_ms);
        }
    }

    /// Whether `node` was heard within the last `token_ms`.
    pub fn present(&self, now: Now, node: u64, token_ms: u64) -> bool {
        let heard = self.others.get(&node).and_then(|peer| peer.heard);
        heard.is_some_and(|heard| self.awake(now) < heard.ms + token_ms)
    }

    /// Notes whom `node` hears.
    pub fn hears(&mut self, now: Now, node: u64, hears: Vec<u64>) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.hears = Some((now.ms, hears));
        }
    }

    /// A node that is present and hears `node`.
    pub fn heard_by(&self, now: Now, node: u64, token_ms: u64) -> Option<u64> {
        let says = |peer: &Peer| {
            peer.hears.as_ref().is_some_and(|(at, hears)| now.ms < at + token_ms && hears.contains(&node))
        };
        self.others.iter().find(|(other, peer)| **other != node && says(peer)).map(|(other, _)| *other)
    }

    /// How `node` introduced itself last.
    pub fn hello(&self, node: u64) -> Option<&Hello> {
        self.others.get(&node)?.hello.as_ref()
    }

    /// When `node` was last heard, on the clock of people.
    pub fn last_heard(&self, node: u64) -> Option<u64> {
        self.others.get(&node).and_then(|peer| peer.heard).map(|heard| heard.unix)
    }

    /// Silent for `token_ms`, counted from our own start for a node never heard.
    pub(super) fn silent(&self, now: Now, node: u64, token_ms: u64) -> bool {
        let since = |peer: &Peer| peer.heard.map_or(0, |heard| heard.ms).max(peer.since);
        self.awake(now) >= self.others.get(&node).map_or(0, since) + token_ms
    }

    /// The one of `heirs` to hand the lead to.
    pub fn heir(&self, heirs: &[u64]) -> Option<u64> {
        let connected = |peer: &&Peer| peer.links.iter().any(|link| link.session.is_some());
        let heard = |node: &u64| self.others.get(node).filter(connected).and_then(|peer| peer.heard);
        heirs.iter().filter_map(|node| Some((heard(node)?.ms, *node))).max().map(|(_, node)| node)
    }

    /// Keeps account of these nodes from now on; the sessions of those that were strangers.
    pub fn follow(&mut self, nodes: &[u64], now: Now) -> Vec<(u64, usize, Hello)> {
        let since = self.awake(now);
        self.others.retain(|node, _| nodes.contains(node));
        for node in nodes {
            self.others.entry(*node).or_insert_with(|| Peer { since, ..Peer::default() });
        }
        let known: Vec<(u64, usize)> =
            self.strangers.keys().filter(|(node, _)| nodes.contains(node)).copied().collect();
        let sessions = known.into_iter().filter_map(|at| self.strangers.remove(&at).map(|found| (at.1, found)));
        sessions.map(|(ring, (link, hello))| (link, ring, hello)).collect()
    }

    /// The last time that a node of a pair went on alone, as far as `node` knows.
    pub fn epoch(&self, node: u64) -> u64 {
        self.others.get(&node).and_then(|peer| peer.hello.as_ref()).map_or(0, |hello| hello.forced.0)
    }

    /// When `node` was last heard, on the clock of events.
    pub fn heard_ms(&self, now: Now, node: u64) -> Option<u64> {
        let heard = self.others.get(&node)?.heard?.ms;
        Some(now.ms.saturating_sub(self.awake(now).saturating_sub(heard)))
    }

    /// Those that are here, were not told the configuration for a token time, and introduced
    /// themselves with an older one than `version`: each with its incarnation and that version.
    pub(super) fn behind(&self, now: Now, version: u32, token_ms: u64) -> Vec<(u64, u64, u32)> {
        let here = self.others.iter().filter(|(node, _)| self.present(now, **node, token_ms));
        let waits = here.filter(|(_, peer)| peer.told_conf.is_none_or(|at| now.ms >= at + token_ms));
        let known = waits.filter_map(|(node, peer)| {
            let hello = peer.hello.as_ref()?;
            Some((*node, hello.incarnation, hello.config_version))
        });
        known.filter(|(_, _, known)| *known < version).collect()
    }

    pub(super) fn told_configuration(&mut self, now: Now, node: u64) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.told_conf = Some(now.ms);
        }
    }

    /// The name of the node's log, as it was introduced.
    pub fn store(&self, node: u64) -> Option<&str> {
        Some(&self.others.get(&node)?.hello.as_ref()?.store)
    }

    /// The logs of all that are here.
    pub fn stores(&self, now: Now, token_ms: u64) -> impl Iterator<Item = (u64, &str)> {
        let here = self.others.keys().filter(move |node| self.present(now, **node, token_ms));
        here.filter_map(|node| Some((*node, self.store(*node)?)))
    }

    /// Whether `node` and `me` are all that vote, as far as `node` said.
    pub fn pairs_with(&self, node: u64, me: u64) -> bool {
        let hello = self.others.get(&node).and_then(|peer| peer.hello.as_ref());
        hello.is_some_and(|hello| hello.voting.len() == 2 && hello.voting.contains(&node) && hello.voting.contains(&me))
    }
}
