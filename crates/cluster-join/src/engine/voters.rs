//! Who votes follows the configuration: the leader proposes one change after the other until the
//! consensus has the nodes that it should have. A node is added as a learner once it is heard,
//! votes when it has caught up, and is removed when the configuration has it no more.

use cluster_conf::MAX_VOTERS;
use protobuf::Message as _;
use raft::ProgressState;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry};

use super::{Engine, Now};
use crate::state::Command;

/// How far a learner may be behind and still count as one that has caught up.
const BEHIND: u64 = 64;
/// A voter lost for so many token times gives its vote to a node that is there.
const GIVEN_UP: u64 = 20;

/// The changes of one proposal, each with what the audit log calls it.
type Changes = Vec<(ConfChangeType, u64, &'static str)>;

impl Engine {
    /// Ids of those that vote now, lowest first.
    pub(super) fn voters(&self) -> Vec<u64> {
        let mut voters = self.raw.store().conf_state().voters.clone();
        voters.sort_unstable();
        voters
    }

    /// Those that may lead: voters of the configuration, without witnesses where there are others.
    pub(super) fn heirs(&self) -> Vec<u64> {
        let known = |id: &u64| self.conf.node(*id).is_some_and(|node| !node.witness);
        let heirs: Vec<u64> = self.voters().into_iter().filter(known).collect();
        if heirs.iter().all(|id| *id == self.me()) { self.voters() } else { heirs }
    }

    /// The change of voters that is due, if one is.
    pub(super) fn voters_change(&mut self, now: Now) -> Option<ConfChangeV2> {
        if self.raw.raft.has_pending_conf() || self.state.configured.current().is_none() || self.stopping {
            return None;
        }
        if !self.raw.store().conf_state().voters_outgoing.is_empty() {
            // The leader that was to end this change is gone.
            return Some(ConfChangeV2::default());
        }
        let me = self.me();
        if self.away(me) || self.conf.node(me).is_some_and(|node| node.witness) {
            let others = self.heirs().into_iter().filter(|node| *node != me && !self.away(*node)).collect::<Vec<_>>();
            let heir = self.peers.heir(&others).filter(|node| self.caught_up(*node));
            if let Some(heir) = heir
                && self.raw.raft.lead_transferee.is_none()
            {
                self.raw.transfer_leader(heir);
            }
            // Until there is an heir, this node makes one.
            if self.away(me) && heir.is_some() {
                return None;
            }
        }
        let (changes, kept) = self.changes(now);
        self.membership.kept = kept;
        if changes.is_empty() {
            return None;
        }
        let mut change = ConfChangeV2::default();
        let mut told = Vec::new();
        for (kind, node, what) in changes {
            let mut one = ConfChangeSingle { node_id: node, ..ConfChangeSingle::default() };
            one.set_change_type(kind);
            change.mut_changes().push(one);
            told.push((what.to_owned(), node));
        }
        let who = format!("leader {}", self.conf.name_of(me));
        let command = Command::Voters { changes: told, who, time: now.unix };
        change.context = serde_json::to_vec(&command).ok()?.into();
        Some(change)
    }

    /// Not one that should vote.
    fn away(&self, node: u64) -> bool {
        self.conf.node(node).is_none_or(|node| node.votes == 0) || self.gone(node)
    }

    /// Left, or certainly off.
    fn gone(&self, node: u64) -> bool {
        self.state.members.get(&node).is_some_and(|member| member.left)
    }

    fn present_member(&self, node: u64) -> bool {
        self.state.members.get(&node).is_some_and(|member| member.present)
    }

    /// Whether the run that is heard is the one the log has as a member and has spoken as one: it knows
    /// then that it was let in, and does not hold its vote back as one that was found without a log.
    fn let_in(&self, node: u64) -> bool {
        let member = self.state.members.get(&node).filter(|member| member.present && member.next_seq > 1);
        let heard = self.peers.hello(node);
        member
            .zip(heard)
            .is_some_and(|(member, hello)| (member.incarnation, &member.store) == (hello.incarnation, &hello.store))
    }

    /// Whether it is a member that has what is committed.
    pub(super) fn caught_up(&self, node: u64) -> bool {
        self.present_member(node) && self.follows(node)
    }

    /// Whether it has what is committed, as far as can be asked of one that never stands still.
    fn follows(&self, node: u64) -> bool {
        let raft = &self.raw.raft;
        raft.prs().get(node).is_some_and(|progress| {
            progress.state == ProgressState::Replicate && progress.matched + BEHIND >= raft.raft_log.committed
        })
    }

    /// What is due, and who keeps a vote that should not have one, with the reason.
    fn changes(&self, now: Now) -> (Changes, Vec<(u64, String)>) {
        let state = self.raw.store().conf_state();
        let mut kept = Vec::new();
        let mut changes: Changes = Vec::new();
        let mut voters = self.voters();
        let here = |node: u64| node == self.me() || self.peers.present(now, node, self.token_ms);
        // One that is behind may have nothing at all, and then has no vote before a leader brings it up to
        // date and lets it in.
        let holds = |node: u64| {
            let votes = self.let_in(node) || self.conf.node(node).is_none();
            node == self.me() || here(node) && votes && self.follows(node)
        };
        let majority = |voters: &[u64]| voters.iter().filter(|node| holds(**node)).count() > voters.len() / 2;
        let given_up = GIVEN_UP * self.token_ms / 1000 + 10;
        let lost = |node: u64| {
            let member = self.state.members.get(&node);
            !here(node) && member.is_some_and(|member| !member.present && now.unix >= member.since + given_up)
        };
        let may_vote = |node: u64| self.conf.node(node).is_some_and(|node| node.votes > 0) && !self.gone(node);
        let mut spare: Vec<u64> = state.learners.clone();
        spare.retain(|node| may_vote(*node) && here(*node) && self.caught_up(*node) && self.let_in(*node));
        spare.sort_unstable_by_key(|node| std::cmp::Reverse(*node));
        // The leader's own vote is taken by the next one.
        for node in voters.clone().into_iter().filter(|node| *node != self.me()) {
            let without = |voters: &[u64]| voters.iter().copied().filter(|other| *other != node).collect::<Vec<u64>>();
            let (kind, what, why) = match self.conf.node(node) {
                None => (ConfChangeType::RemoveNode, "removed", "it is not in the configuration any more"),
                Some(known) if known.votes == 0 => (ConfChangeType::AddLearnerNode, "demoted", "it has votes=\"0\""),
                // Of two, the one that stays could do nothing without the one that left.
                Some(_) if self.gone(node) && self.conf.two_node => {
                    (ConfChangeType::AddLearnerNode, "demoted", "it left")
                }
                Some(_) if self.gone(node) || lost(node) => {
                    if let Some(other) = spare.pop() {
                        changes.push((ConfChangeType::AddLearnerNode, node, "demoted"));
                        changes.push((ConfChangeType::AddNode, other, "promoted"));
                        voters = without(&voters);
                        voters.push(other);
                    }
                    continue;
                }
                Some(_) => continue,
            };
            let rest = without(&voters);
            if majority(&rest) {
                changes.push((kind, node, what));
                voters = rest;
            } else {
                kept.push((node, format!("{why}, but without it no majority of the others is here and up to date")));
            }
        }
        for node in state.learners.iter().filter(|node| self.conf.node(**node).is_none()) {
            changes.push((ConfChangeType::RemoveNode, *node, "removed"));
        }
        while voters.len() < MAX_VOTERS
            && let Some(node) = spare.pop()
        {
            changes.push((ConfChangeType::AddNode, node, "promoted"));
            voters.push(node);
        }
        for node in &self.conf.nodes {
            let known = state.voters.contains(&node.id) || state.learners.contains(&node.id);
            let heard = here(node.id)
                && self.peers.store(node.id).is_some_and(|store| self.state.configured.removed(store).is_none());
            if !known && heard {
                changes.push((ConfChangeType::AddLearnerNode, node.id, "added"));
            }
        }
        (changes, kept)
    }

    /// A committed change of the voters.
    pub(super) fn change_voters(&mut self, now: Now, entry: &Entry) {
        let Ok(change) = ConfChangeV2::parse_from_bytes(&entry.data) else {
            // Every node finds the same and goes on alike.
            return self.log(format!("entry {} is not a change of voters this version knows", entry.index));
        };
        let me = self.me();
        let takes_my_vote =
            change.changes.iter().any(|one| one.node_id == me && one.get_change_type() != ConfChangeType::AddNode)
                || change.leave_joint() && !self.raw.store().conf_state().voters.contains(&me);
        if takes_my_vote && self.leads() {
            // The library takes it for granted that a leader votes.
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        match self.raw.apply_conf_change(&change) {
            Ok(state) => {
                let line = format!("voters {:?}, learners {:?}", state.voters, state.learners);
                self.raw.mut_store().set_conf_state(state);
                if self.was_admitted {
                    self.log(line);
                }
            }
            Err(error) => self.log(format!("entry {}: the voters stay: {error}", entry.index)),
        }
        if let Ok(command) = serde_json::from_slice::<Command>(&change.context)
            && matches!(command, Command::Voters { .. })
        {
            self.state.apply(command, &mut Vec::new());
        }
        self.rewire(now);
    }
}
