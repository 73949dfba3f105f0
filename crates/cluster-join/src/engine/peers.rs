//! Who is there: what this node hears from the others, and what the leader makes of it.

use std::collections::BTreeMap;

use raft::ProgressState;

use super::{Action, Engine, Now};
use crate::peer::{Hello, Peer as Message};
use crate::state::Command;
use cluster_conf::Conf;
use nines_proto::ctl::utc;

#[derive(Debug, Default)]
struct Peer {
    /// The session it talks to us over, and how it introduced itself there.
    link: Option<u64>,
    hello: Option<Hello>,
    heard: Option<Now>,
    /// When a snapshot went to it that it has not answered.
    snapshot_sent: Option<u64>,
    /// When its joining or loss was last proposed.
    proposed: Option<u64>,
}

#[derive(Debug)]
pub struct Peers {
    started: u64,
    others: BTreeMap<u64, Peer>,
    next_ping: u64,
    /// For this node's own joining.
    proposed: Option<u64>,
    last_ms: u64,
}

impl Peers {
    pub fn new(conf: &Conf, me: u64, now: Now) -> Self {
        let others = conf.nodes.iter().filter(|node| node.id != me).map(|node| (node.id, Peer::default())).collect();
        Self { started: now.ms, others, next_ping: now.ms, proposed: None, last_ms: now.ms }
    }

    /// Notes a message of `node` over `link`; false for one of a session that was replaced.
    pub fn heard(&mut self, now: Now, node: u64, link: u64) -> bool {
        let Some(peer) = self.others.get_mut(&node).filter(|peer| peer.link == Some(link)) else { return false };
        peer.heard = Some(now);
        true
    }

    /// Notes the end of a session; false when it had been replaced before.
    pub fn down(&mut self, node: u64, link: u64) -> bool {
        let Some(peer) = self.others.get_mut(&node).filter(|peer| peer.link == Some(link)) else { return false };
        peer.link = None;
        true
    }

    pub fn snapshot_sent(&mut self, node: u64) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.snapshot_sent = Some(self.last_ms);
        }
    }

    /// Whether `node` was heard within the last `token_ms`.
    pub fn present(&self, now: Now, node: u64, token_ms: u64) -> bool {
        self.others.get(&node).and_then(|peer| peer.heard).is_some_and(|heard| now.ms < heard.ms + token_ms)
    }

    /// When `node` was last heard, on the clock of people.
    pub fn last_heard(&self, node: u64) -> Option<u64> {
        self.others.get(&node).and_then(|peer| peer.heard).map(|heard| heard.unix)
    }

    /// Silent for `token_ms`, counted from our own start for a node never heard.
    fn silent(&self, now: Now, node: u64, token_ms: u64) -> bool {
        let since = self.others.get(&node).and_then(|peer| peer.heard).map_or(self.started, |heard| heard.ms);
        now.ms >= since + token_ms
    }

    /// A node to hand the lead to.
    pub fn heir(&self, conf: &Conf) -> Option<u64> {
        let heard = |node: &u64| self.others.get(node).filter(|peer| peer.link.is_some()).and_then(|peer| peer.heard);
        conf.voters().into_iter().filter_map(|node| Some((heard(&node)?.ms, node))).max().map(|(_, node)| node)
    }
}

impl Engine {
    pub(super) fn peer_up(&mut self, now: Now, link: u64, hello: Hello) {
        let (node, me) = (hello.node, self.me());
        let Some(peer) = self.peers.others.get_mut(&node) else { return };
        (peer.link, peer.heard, peer.snapshot_sent, peer.proposed) = (Some(link), Some(now), None, None);
        let (last, commit, known) = (hello.last, hello.commit, hello.known.get(&me).cloned());
        peer.hello = Some(hello);
        let ours = (self.identity.incarnation, &self.identity.store);
        if let Some((incarnation, store)) = known
            && (incarnation > ours.0 || (incarnation == ours.0 && &store != ours.1))
        {
            return self.known_as_later(incarnation);
        }
        if self.blank && commit > 0 && !self.identity.catching_up {
            self.identity.catching_up = true;
            self.out.push(Action::Identity(self.identity.clone()));
            self.log("this node's log is empty and the cluster has one: no vote before it has caught up");
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

    /// Says hello, notices who went silent, and helps those whose snapshot was lost.
    pub(super) fn watch_peers(&mut self, now: Now) {
        self.peers.last_ms = now.ms;
        if now.ms >= self.peers.next_ping {
            self.peers.next_ping = now.ms + self.token_ms / 5;
            for to in self.peers.others.keys().copied().collect::<Vec<_>>() {
                if let Ok(bytes) = Message::Ping.encode() {
                    self.out.push(Action::Send { to, bytes });
                }
            }
        }
        if self.leads() {
            for node in self.peers.others.keys().copied().collect::<Vec<_>>() {
                self.watch_snapshot(now, node);
            }
        }
        self.watch_leader(now);
        self.watch_quorum(now);
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

    pub(super) fn watch_leader(&mut self, now: Now) {
        let leader = self.raw.raft.leader_id;
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        self.leaderless_since = (leader == 0).then_some(now.ms);
        self.attempts += 1;
        self.calls.new_leader();
        let term = self.raw.raft.term;
        if leader == 0 {
            self.log(format!("no leader (term {term})"));
        } else {
            self.log(format!("node {} leads (term {term})", self.conf.name_of(leader)));
        }
    }

    fn watch_quorum(&mut self, now: Now) {
        let reason = self.blocked(now);
        if self.quorate == Some(reason.is_none()) {
            return;
        }
        self.quorate = Some(reason.is_none());
        match reason {
            Some(reason) => self.log(format!("not quorate: {reason}")),
            None => {
                let (votes, expected) = (self.votes_present(now), self.conf.voters().len());
                self.log(format!("quorate: {votes} of {expected} votes"));
            }
        }
    }

    /// Votes of the nodes heard from within the token time, this one's included.
    pub(super) fn votes_present(&self, now: Now) -> usize {
        let here = |node: &u64| *node == self.me() || self.peers.present(now, *node, self.token_ms);
        self.conf.voters().iter().filter(|node| here(node)).count()
    }

    pub(super) fn votes_needed(&self) -> usize {
        self.conf.voters().len() / 2 + 1
    }

    /// Why nothing can be granted now, and what would change that.
    pub(super) fn blocked(&self, now: Now) -> Option<String> {
        let (votes, needed, expected) = (self.votes_present(now), self.votes_needed(), self.conf.voters().len());
        if votes < needed {
            let me = self.me();
            let missing: Vec<u64> = self
                .conf
                .voters()
                .into_iter()
                .filter(|node| *node != me && !self.peers.present(now, *node, self.token_ms))
                .collect();
            let what: Vec<String> = missing.iter().map(|node| self.missing(*node)).collect();
            let (lack, gone) = (needed - votes, missing.len());
            let remedy = match (lack, gone) {
                (1, 1) => "it must return".to_owned(),
                (lack, gone) if lack == gone => "all of them must return".to_owned(),
                (1, _) => "one of them must return".to_owned(),
                (lack, _) => format!("{lack} of them must return"),
            };
            return Some(format!("{votes} of {expected} votes, {needed} needed: {}; {remedy}", what.join(", ")));
        }
        let leaderless = self.leaderless_since.is_some_and(|since| now.ms >= since + 2 * self.token_ms);
        if leaderless && self.identity.catching_up {
            return Some(
                "this node lost its log and has no vote before a leader of the others brings it up to date".into(),
            );
        }
        leaderless.then(|| format!("{votes} of {expected} votes are here, but no leader is elected yet"))
    }

    fn missing(&self, node: u64) -> String {
        let name = self.conf.name_of(node);
        let heard = self.peers.last_heard(node);
        let since =
            heard.or_else(|| self.state.members.get(&node).filter(|member| !member.present).map(|member| member.since));
        match since {
            Some(since) => format!("{name} lost since {}", utc(since)),
            None => format!("{name} not seen since this daemon started"),
        }
    }

    /// What the leader has to tell the log about the nodes: who has come, and who is silent.
    pub(super) fn member_changes(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        let again = |proposed: Option<u64>| proposed.is_none_or(|at| now.ms >= at + self.token_ms);
        let time = now.unix;
        if !self.state.members.get(&self.me()).is_some_and(|member| member.present && self.admitted())
            && again(self.peers.proposed)
        {
            self.peers.proposed = Some(now.ms);
            let Hello { node, incarnation, boot, store, .. } = self.hello();
            commands.push(Command::Joined { node, incarnation, boot, store, time });
        }
        for (node, peer) in &self.peers.others {
            let record = self.state.members.get(node);
            let command = if self.peers.present(now, *node, self.token_ms) {
                peer.hello
                    .as_ref()
                    .filter(|hello| {
                        record.is_none_or(|member| {
                            member.incarnation < hello.incarnation
                                || (member.incarnation == hello.incarnation && !member.present)
                        })
                    })
                    .map(|hello| Command::Joined {
                        node: *node,
                        incarnation: hello.incarnation,
                        boot: hello.boot.clone(),
                        store: hello.store.clone(),
                        time,
                    })
            } else if self.peers.silent(now, *node, self.token_ms) {
                record.filter(|member| member.present).map(|member| Command::Lost {
                    node: *node,
                    incarnation: member.incarnation,
                    time,
                })
            } else {
                None
            };
            if let Some(command) = command
                && again(peer.proposed)
            {
                commands.push(command);
            }
        }
        for command in &commands {
            if let Command::Joined { node, .. } | Command::Lost { node, .. } = command
                && let Some(peer) = self.peers.others.get_mut(node)
            {
                peer.proposed = Some(now.ms);
            }
        }
        commands
    }
}
