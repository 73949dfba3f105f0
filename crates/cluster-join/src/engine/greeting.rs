//! Sessions that begin, and what is said over them beside the log.

use raft::ProgressState;
use raft::eraftpb::HardState;

use super::peers::{Heard, MAX_STRANGERS};
use super::{Action, Engine, Now};
use crate::log::{Identity, Loaded, Recovered};
use crate::peer::Peer as Message;
use crate::peer::{Hello, plausible};

impl Engine {
    pub(super) fn peer_up(&mut self, now: Now, link: u64, ring: usize, hello: Hello) {
        let (node, me) = (hello.node, self.me());
        let ms = self.peers.awake(now);
        let Some(peer) = self.peers.others.get_mut(&node) else {
            // Of a configuration that this node is about to hear of.
            if self.peers.strangers.len() < MAX_STRANGERS {
                self.peers.strangers.insert((node, ring), (link, hello));
            }
            return;
        };
        let run = |hello: &Hello| (hello.incarnation, hello.store.clone());
        let same_run = peer.hello.as_ref().filter(|known| run(known) == run(&hello));
        // The threads of two sessions may tell of them in another order than they opened.
        if same_run.is_some_and(|known| known.greeting > hello.greeting) {
            return;
        }
        let same = same_run.is_some_and(|known| known.greeting == hello.greeting);
        if !same {
            peer.links.iter_mut().for_each(|link| link.session = None);
        }
        let second = same && peer.links.iter().any(|link| link.session.is_some());
        let Some(slot) = peer.links.get_mut(ring).filter(|slot| slot.session.is_none_or(|known| known <= link)) else {
            return;
        };
        (slot.session, slot.heard) = (Some(link), Some(ms));
        peer.heard = Some(Heard { ms, unix: now.unix });
        if second {
            // Over this link it says what it said over the other one; what we know is newer.
            return;
        }
        (peer.snapshot_sent, peer.proposed, peer.told_conf) = (None, None, Some(now.ms));
        let (last, commit, known) = (hello.last, hello.commit, hello.known.get(&me).cloned());
        let (version, began) = (hello.config_version, (hello.voters.clone(), hello.learners.clone()));
        let forced = hello.forced;
        peer.hello = Some(hello);
        if self.left_behind(now, node, forced) {
            return;
        }
        self.bring_up_to_date(node, version);
        if self.blank && last > 0 {
            self.adopt_formation(now, began);
        }
        // Before anything else is made of the greeting, since no second one need come: until it is known, a
        // node that lost its log votes like one that never had any.
        if self.blank && commit > 0 && !self.identity.catching_up {
            self.identity.catching_up = true;
            self.out.push(Action::Identity(self.identity.clone()));
            self.log("this node's log is empty and the cluster has one: no vote before it has caught up");
        }
        let ours = (self.identity.incarnation, &self.identity.store);
        if let Some((incarnation, store)) = known
            && (incarnation > ours.0 || (incarnation == ours.0 && &store != ours.1))
        {
            return self.known_as_later(incarnation);
        }
        // A node whose log was emptied holds less than the leader remembers it to hold.
        if self.leads()
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(node)
            && last < progress.matched
        {
            progress.matched = last;
            progress.become_probe();
        }
    }

    /// This node's log is empty and the cluster has one: it begins where that one began, so that
    /// the changes of voters in it lead to where they led the others.
    fn adopt_formation(&mut self, now: Now, (voters, learners): (Vec<u64>, Vec<u64>)) {
        if (&self.identity.voters, &self.identity.learners) == (&voters, &learners) {
            return;
        }
        let identity = Identity { voters, learners, ..self.identity.clone() };
        let hard_state = HardState { commit: 0, ..self.raw.store().hard_state().clone() };
        let log = Recovered { hard_state, number: self.batch, ..Recovered::default() };
        let state = super::start::formation(&identity);
        if !plausible(&state) || self.rebuild(state, Loaded { snapshot: None, log }, 0).is_err() {
            return;
        }
        self.identity = identity;
        self.out.push(Action::Identity(self.identity.clone()));
        self.log(format!("the cluster's log began with the nodes {:?}", self.identity.voters));
        self.rewire(now);
    }

    /// Says hello, notices who went silent, and helps those whose snapshot was lost.
    pub(super) fn watch_peers(&mut self, now: Now) {
        self.peers.last_ms = now.ms;
        if now.ms >= self.peers.next_ping {
            self.peers.next_ping = now.ms + self.token_ms / 5;
            let hears: Vec<u64> = self
                .peers
                .others
                .keys()
                .copied()
                .filter(|node| self.peers.present(now, *node, self.token_ms))
                .collect();
            let ping = Message::Ping { incarnation: self.identity.incarnation, stamp: now.ms, hears };
            for to in self.peers.others.keys().copied().collect::<Vec<_>>() {
                if let Ok(bytes) = ping.encode() {
                    self.out.push(Action::Send { to, bytes });
                }
            }
        }
        if self.leads() {
            for node in self.peers.others.keys().copied().collect::<Vec<_>>() {
                self.watch_snapshot(now, node);
            }
        }
        self.watch_configurations(now);
        self.watch_leader(now);
        self.watch_quorum(now);
        self.watch_links(now);
    }

    /// A node that is not in the cluster may wait for the configuration to find those that would let
    /// it in. What it was told when it greeted is lost where this node had no session to it yet.
    fn watch_configurations(&mut self, now: Now) {
        let Some(version) = self.state.configured.current().map(|current| current.version) else { return };
        for (node, incarnation, known) in self.peers.behind(now, version, self.token_ms) {
            let member = self.state.members.get(&node);
            // To a member comes the log.
            if !member.is_some_and(|member| member.present && member.incarnation == incarnation) {
                self.peers.told_configuration(now, node);
                self.bring_up_to_date(node, known);
            }
        }
    }

    /// A snapshot of which nothing is heard was lost, and is sent again; until it is told, the
    /// library waits.
    fn watch_snapshot(&mut self, now: Now, node: u64) {
        let pending = self.raw.raft.prs().get(node).is_some_and(|progress| progress.state == ProgressState::Snapshot);
        let Some(peer) = self.peers.others.get_mut(&node) else { return };
        let patience = (2 * self.token_ms).max(5000);
        if pending && peer.snapshot_sent.is_none_or(|sent| now.ms >= sent + patience) {
            peer.snapshot_sent = None;
            self.raw.report_snapshot(node, raft::SnapshotStatus::Failure);
        }
    }
}
