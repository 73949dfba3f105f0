//! What an observer of the consensus may look at; nothing here is needed to take part.

use raft::StateRole;
use raft::eraftpb::{ConfState, Entry};

use super::Engine;

/// A node's part in the consensus at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub term: u64,
    /// Whom this node voted for in that term, 0 for nobody.
    pub vote: u64,
    pub leads: bool,
    /// The last entry in its log, the last it knows to be committed, and the last that
    /// its state has taken in.
    pub last: u64,
    pub commit: u64,
    pub applied: u64,
}

impl Engine {
    #[must_use]
    pub fn probe(&self) -> Probe {
        let raft = &self.raw.raft;
        Probe {
            term: raft.term,
            vote: raft.vote,
            leads: raft.state == StateRole::Leader,
            last: raft.raft_log.last_index(),
            commit: raft.raft_log.committed,
            applied: self.state_at,
        }
    }

    /// The term of an entry that is still in the log.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.raw.raft.raft_log.term(index).ok()
    }

    /// The entries from `first` to `last`, if they are all still in the log.
    #[must_use]
    pub fn entries(&self, first: u64, last: u64) -> Option<&[Entry]> {
        let kept = self.raw.store().entries();
        let at = usize::try_from(first.checked_sub(kept.first()?.index)?).ok()?;
        let count = usize::try_from((last + 1).checked_sub(first)?).ok()?;
        kept.get(at..at + count)
    }

    /// Who votes and who follows, as of the last entry applied.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.raw.store().conf_state().clone()
    }
}
