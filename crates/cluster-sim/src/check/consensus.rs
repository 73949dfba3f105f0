//! One log, one leader a term, nothing acknowledged is lost.

use std::collections::{BTreeMap, VecDeque};

use cluster_join::engine::{Engine, Probe};
use cluster_join::state::State;
use raft::eraftpb::{Message, MessageType};

use super::{Verdict, must, sum::checksum};
use crate::disk::Disk;

/// The state is compared at every so many entries: what differs once stays different.
const COMPARED: u64 = 4;

/// The log as all nodes together have shown it.
#[derive(Debug, Default)]
pub struct Consensus {
    leaders: BTreeMap<u64, u64>,
    /// The term of each entry that some node applied, by index.
    terms: Vec<u64>,
    /// The state's checksum behind an entry, and who had it first.
    states: BTreeMap<u64, (u64, u64)>,
    /// Who voted, last, in the last few changes of that.
    voters: VecDeque<Vec<u64>>,
}

impl Consensus {
    /// The last entry that some node applied.
    #[must_use]
    pub fn front(&self) -> u64 {
        (self.terms.len() as u64).saturating_sub(1)
    }

    /// Whether the entry of that index is known to be of that term.
    #[must_use]
    pub fn has(&self, index: u64, term: u64) -> bool {
        term > 0 && self.terms.get(usize::try_from(index).unwrap_or(usize::MAX)) == Some(&term)
    }

    /// C1, election safety: a term has one leader.
    ///
    /// # Errors
    /// It has two.
    pub fn c1_one_leader_a_term(&mut self, node: u64, probe: &Probe) -> Verdict {
        let leader = *self.leaders.entry(probe.term).or_insert(node);
        must("c1_one_leader_a_term", leader == node, || {
            format!("nodes {leader} and {node} lead in term {}", probe.term)
        })
    }

    /// C1, leader completeness: who begins to lead has every entry that was ever applied.
    ///
    /// # Errors
    /// It lacks one.
    pub fn c1_leaders_have_everything(&self, node: u64, engine: &Engine) -> Verdict {
        let front = self.front();
        let (probe, wanted) = (engine.probe(), self.terms.last().copied().unwrap_or_default());
        // Votes that were long on the way make a leader of a term that is over; it owes nothing of later ones.
        let over = wanted > probe.term;
        let complete =
            front == 0 || wanted == 0 || over || probe.applied >= front || engine.term_at(front) == Some(wanted);
        must("c1_leaders_have_everything", complete, || {
            format!("node {node} leads in term {} and lacks entry {front} of term {wanted}: {probe:?}", probe.term)
        })
    }

    /// C1, log matching and state machine safety: all nodes apply the same entry at an index.
    ///
    /// # Errors
    /// One applied another.
    pub fn c1_same_entries(&mut self, node: u64, engine: &Engine) -> Verdict {
        let applied = engine.probe().applied;
        let from = self.terms.len() as u64;
        for index in from.min(applied)..=applied {
            let at = usize::try_from(index).unwrap_or_default();
            let term = engine.term_at(index);
            match (self.terms.get_mut(at), term) {
                // Nobody had this one in its log any more when it was looked at.
                (Some(known), Some(term)) if *known == 0 => *known = term,
                (Some(known), Some(term)) => must("c1_same_entries", *known == term, || {
                    format!("node {node} has entry {index} of term {term}, others applied that of term {known}")
                })?,
                (None, term) => self.terms.push(term.unwrap_or_default()),
                (Some(_), None) => {}
            }
        }
        Ok(())
    }

    /// Notes who votes now; how many of them did not before, once that is known.
    pub fn voters(&mut self, voters: &[u64]) -> u64 {
        if self.voters.back().is_some_and(|known| known == voters) {
            return 0;
        }
        let last = self.voters.back();
        let new = last.map_or(0, |last| voters.iter().filter(|node| !last.contains(node)).count() as u64);
        self.voters.push_back(voters.to_owned());
        if self.voters.len() > 3 {
            self.voters.pop_front();
        }
        new
    }

    /// C2: what was acknowledged is on the disks of a majority of the voters, or was on one whose
    /// damage was noticed: its node has no vote until it has caught up.
    ///
    /// # Errors
    /// It is on fewer.
    pub fn c2_committed_is_durable<'a>(&self, index: u64, disk: impl Fn(u64) -> Option<&'a Disk>) -> Verdict {
        let has = |node: &&u64| disk(**node).is_some_and(|disk| disk.last.max(disk.former) >= index);
        let by = |voters: &Vec<u64>| voters.iter().filter(has).count() > voters.len() / 2;
        // An entry behind a change of voters may have been committed by those before it.
        must("c2_committed_is_durable", self.voters.iter().any(by), || {
            format!("entry {index} was applied and no majority of the voters has it: {:?}", self.voters)
        })
    }

    /// C2: a node that starts again has everything it acknowledged, and knows whom it voted for.
    ///
    /// # Errors
    /// It has less.
    pub fn c2_nothing_forgotten(node: u64, probe: &Probe, disk: &Disk) -> Verdict {
        let Disk { term, vote, last, .. } = *disk;
        let remembers = probe.term > term || (probe.term, probe.vote) == (term, vote);
        must("c2_nothing_forgotten", probe.last >= last && remembers, || {
            format!("node {node} starts with {probe:?}, its disk had term {term}, vote {vote}, entry {last}")
        })
    }

    /// C3: term, vote and entries are on disk before a message promises them.
    ///
    /// # Errors
    /// The message promises what a crash would take back.
    pub fn c3_durable_before_sent(node: u64, message: &Message, disk: &Disk) -> Verdict {
        let kept = match message.get_msg_type() {
            MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => true,
            MessageType::MsgRequestVoteResponse if !message.reject => {
                disk.term == message.term && disk.vote == message.to
            }
            MessageType::MsgRequestVote => disk.term == message.term && disk.vote == node,
            MessageType::MsgAppendResponse if !message.reject => {
                disk.term >= message.term && disk.last >= message.index
            }
            _ => disk.term >= message.term,
        };
        must("c3_durable_before_sent", kept, || {
            let (term, vote, last) = (disk.term, disk.vote, disk.last);
            format!("node {node} sends {message:?} with term {term}, vote {vote}, last entry {last} on disk")
        })
    }

    /// C6: the same entries make the same state on every node, by snapshot or one by one.
    ///
    /// # Errors
    /// Two nodes differ.
    pub fn c6_same_state(&mut self, node: u64, applied: u64, state: &State, at_once: bool) -> Verdict {
        if !applied.is_multiple_of(COMPARED) && !at_once {
            return Ok(());
        }
        let sum = checksum(state);
        let (first, whose) = *self.states.entry(applied).or_insert((sum, node));
        must("c6_same_state", first == sum, || {
            format!("nodes {whose} and {node} have different states behind entry {applied}")
        })
    }
}
