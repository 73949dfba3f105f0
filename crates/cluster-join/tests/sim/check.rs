//! What must hold in every history.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::state::State;
use nines_proto::ctl::Mode;

/// A grant as a client was told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub node: u64,
    pub resource: String,
    pub mode: Mode,
    pub generation: u64,
}

#[derive(Debug, Default)]
pub struct Check {
    /// What clients believe to hold, by a number of ours.
    held: BTreeMap<u64, Held>,
    next: u64,
    grants: usize,
    /// The state after each entry, as the first node that got there had it.
    states: BTreeMap<u64, State>,
    seen: BTreeSet<(u64, u64)>,
    /// Highest generation told for each resource, and to whom.
    last: BTreeMap<String, (u64, u64)>,
    history: Vec<String>,
}

impl Check {
    /// A client was told that it has a lock: nobody else may believe to have one beside it.
    pub fn granted(&mut self, held: Held, sticky: bool) -> u64 {
        self.history.push(format!("{held:?}"));
        for other in self.held.values().filter(|other| other.resource == held.resource) {
            assert!(other.mode.compatible(held.mode), "{held:?} beside {other:?}");
        }
        let last = self.last.entry(held.resource.clone()).or_insert_with(|| (0, held.node));
        // A host that asks again for what it already has is told the same number again.
        let again = sticky && *last == (held.generation, held.node);
        // Grants that can stand beside each other may be heard of in another order than they
        // were made in.
        if held.mode == Mode::Ex && !again {
            assert!(held.generation > last.0, "{held:?} after {last:?}");
        }
        *last = (*last).max((held.generation, held.node));
        self.grants += 1;
        self.next += 1;
        self.held.insert(self.next, held);
        self.next
    }

    /// A client is about to give it back, or is dead.
    pub fn released(&mut self, number: u64) -> Option<Held> {
        self.held.remove(&number)
    }

    /// Every lock a client has is in the state of a node that has applied its grant.
    pub fn state(&mut self, node: u64, applied: u64, state: &State) {
        if !self.seen.insert((node, applied)) {
            return;
        }
        let first = self.states.entry(applied).or_insert_with(|| state.clone());
        assert_eq!(first, state, "node {node} has another state at entry {applied}");
        for (resource, granted, _) in state.locks.list() {
            for (at, one) in granted.iter().enumerate() {
                for other in &granted[at + 1..] {
                    assert!(one.mode.compatible(other.mode), "{resource}: {one:?} beside {other:?}");
                }
            }
        }
    }

    /// At the end, with every client idle, the state holds what clients hold.
    pub fn nothing_lost(&self, state: &State) {
        for held in self.held.values() {
            let found = state.locks.list().any(|(resource, granted, _)| {
                resource == held.resource
                    && granted.iter().any(|grant| {
                        grant.owner.node == held.node && grant.mode == held.mode && grant.generation == held.generation
                    })
            });
            assert!(found, "{held:?} is in no state");
        }
    }

    pub fn grants(&self) -> usize {
        self.grants
    }

    pub fn history(&self) -> Vec<String> {
        self.history.clone()
    }
}
