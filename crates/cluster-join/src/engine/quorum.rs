//! Who leads, whether there is a majority, and why nothing can be decided without one.

use nines_proto::ctl::utc;

use super::{Engine, Now};

impl Engine {
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

    pub(super) fn watch_quorum(&mut self, now: Now) {
        let reason = self.blocked(now);
        if self.quorate == Some(reason.is_none()) {
            return;
        }
        self.quorate = Some(reason.is_none());
        match reason {
            Some(reason) => self.log(format!("not quorate: {reason}")),
            None => {
                let (votes, expected) = (self.votes_present(now), self.votes_expected());
                self.log(format!("quorate: {votes} of {expected} votes"));
            }
        }
    }

    /// Votes of the nodes heard from within the token time, this one's included.
    pub(super) fn votes_present(&self, now: Now) -> usize {
        let here = |node: &u64| *node == self.me() || self.peers.present(now, *node, self.token_ms);
        self.raw.store().conf_state().voters.iter().filter(|node| here(node)).count()
    }

    /// Votes there are.
    pub(super) fn votes_expected(&self) -> usize {
        self.raw.store().conf_state().voters.len()
    }

    pub(super) fn votes_needed(&self) -> usize {
        self.votes_expected() / 2 + 1
    }

    /// Why nothing can be granted now, and what would change that.
    pub(super) fn blocked(&self, now: Now) -> Option<String> {
        let (votes, needed, expected) = (self.votes_present(now), self.votes_needed(), self.votes_expected());
        if votes < needed {
            let me = self.me();
            let missing: Vec<u64> = self
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
            let remedy = self.pair_reason(now).unwrap_or(remedy);
            return Some(format!("{votes} of {expected} votes, {needed} needed: {}; {remedy}", what.join(", ")));
        }
        let leaderless = self.leaderless_since.is_some_and(|since| now.ms >= since + 2 * self.token_ms);
        if leaderless && self.identity.catching_up {
            return Some(
                "this node lost its log and has no vote before a leader of the others brings it up to date".into(),
            );
        }
        if let Some(reason) = self.lease_over(now) {
            return Some(reason);
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
}
