//! The shared storage: who could write to which block at this moment. A holder is one from the
//! moment it was told until it says that it gives up, or is certainly dead; what the cluster
//! believes of it does not count.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::state::State;
use nines_proto::ctl::Mode;

use super::replay::Lock;
use super::{Verdict, must};

/// A lock as its holder was told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub node: u64,
    pub resource: String,
    pub mode: Mode,
    pub generation: u64,
}

/// Everybody who could write.
#[derive(Debug, Default)]
pub struct Storage {
    writers: BTreeMap<u64, Held>,
    next: u64,
    /// Highest generation told for each resource and mode, and to whom.
    told: BTreeMap<String, [(u64, u64); 6]>,
    /// Highest generation in the newest state.
    granted: u64,
    /// Nodes whose port at the storage switch is closed.
    closed: BTreeSet<u64>,
    /// Nodes that a device said were off, and are not until they really are.
    unjudged: BTreeSet<u64>,
}

impl Storage {
    /// A holder was told that it may write; the number is for [`Storage::gone`].
    ///
    /// # Errors
    /// Somebody else could write at this moment, or the grant is not in the log.
    pub fn told(&mut self, held: Held, again: bool) -> Result<u64, super::Violation> {
        self.l2_granted_by_the_log(&held)?;
        self.l3_generations_grow(&held, again)?;
        self.resumed(held)
    }

    /// A holder that had stopped writing goes on.
    ///
    /// # Errors
    /// Somebody else could write at this moment.
    pub fn resumed(&mut self, held: Held) -> Result<u64, super::Violation> {
        self.l1_no_two_writers(None, &held)?;
        self.next += 1;
        self.writers.insert(self.next, held);
        Ok(self.next)
    }

    /// A holder has another mode now, in which it was told generation `generation`.
    ///
    /// # Errors
    /// As [`Storage::told`].
    pub fn converted(&mut self, number: u64, mode: Mode, generation: u64) -> Verdict {
        let Some(held) = self.writers.get(&number) else { return Ok(()) };
        let held = Held { mode, generation, ..held.clone() };
        self.l1_no_two_writers(Some(number), &held)?;
        self.l2_granted_by_the_log(&held)?;
        self.l3_generations_grow(&held, true)?;
        self.writers.insert(number, held);
        Ok(())
    }

    /// A holder is about to ask for a weaker mode and keeps to it from now on.
    pub fn weaken(&mut self, number: u64, mode: Mode) {
        if let Some(held) = self.writers.get_mut(&number) {
            held.mode = mode;
        }
    }

    /// A conversion was refused: the holder has its former mode.
    ///
    /// # Errors
    /// Somebody else could write at this moment.
    pub fn restored(&mut self, number: u64, mode: Mode) -> Verdict {
        let Some(held) = self.writers.get(&number) else { return Ok(()) };
        let held = Held { mode, ..held.clone() };
        self.l1_no_two_writers(Some(number), &held)?;
        self.writers.insert(number, held);
        Ok(())
    }

    /// A holder is about to give up, or is dead.
    pub fn gone(&mut self, number: u64) -> Option<Held> {
        self.writers.remove(&number)
    }

    /// The switch lets nothing of a node reach the storage.
    pub fn close(&mut self, node: u64) {
        self.closed.insert(node);
    }

    /// It lets everything through again.
    ///
    /// # Errors
    /// Somebody goes on there who must not.
    pub fn open(&mut self, node: u64) -> Verdict {
        self.closed.remove(&node);
        let mut here = self.writers.iter().filter(|(_, held)| held.node == node);
        here.try_for_each(|(number, held)| self.l1_no_two_writers(Some(*number), held))
    }

    /// Whether anybody there could write.
    #[must_use]
    pub fn writes(&self, node: u64) -> bool {
        self.writers.values().any(|held| held.node == node)
    }

    /// A device said that this node is off, and the cluster had to believe it.
    pub fn not_judged(&mut self, node: u64) {
        self.unjudged.insert(node);
    }

    /// The node is off in truth.
    pub fn off(&mut self, node: u64) {
        self.unjudged.remove(&node);
    }

    /// Whether what the holder writes reaches the storage, and is anybody's fault but a device's.
    fn reaches(&self, held: &Held) -> bool {
        !self.closed.contains(&held.node) && !self.unjudged.contains(&held.node)
    }

    /// L1, M4, F1, F8: whoever may write conflicts with nobody who still could, whether the
    /// cluster takes that one for a member, for lost or for fenced.
    fn l1_no_two_writers(&self, number: Option<u64>, held: &Held) -> Verdict {
        if !self.reaches(held) {
            return Ok(());
        }
        let others = self.writers.iter().filter(|(other, held)| Some(**other) != number && self.reaches(held));
        for (_, other) in others.filter(|(_, other)| other.resource == held.resource) {
            must("l1_no_two_writers", other.mode.compatible(held.mode), || format!("{held:?} beside {other:?}"))?;
        }
        Ok(())
    }

    /// L2: nobody is told of a grant that is not committed.
    fn l2_granted_by_the_log(&self, held: &Held) -> Verdict {
        must("l2_granted_by_the_log", held.generation <= self.granted, || {
            format!("{held:?}, and the newest state ends at generation {}", self.granted)
        })
    }

    /// L3: each grant of a resource has a higher generation than those before it.
    fn l3_generations_grow(&mut self, held: &Held, again: bool) -> Verdict {
        if !self.reaches(held) {
            return Ok(());
        }
        let told = self.told.entry(held.resource.clone()).or_default();
        let mut verdict = Ok(());
        for (mode, (generation, node)) in Mode::ALL.iter().zip(*told) {
            // Grants that can stand beside each other may be heard of in another order than they
            // were made in; a host that asks again for what it has is told the same number again.
            let again = again && (generation, node) == (held.generation, held.node);
            let grows = mode.compatible(held.mode) || again || held.generation > generation;
            verdict = verdict.and(must("l3_generations_grow", grows, || {
                format!("{held:?} after generation {generation} of node {node} in {mode}")
            }));
        }
        let last = &mut told[held.mode as usize];
        *last = (*last).max((held.generation, held.node));
        verdict
    }

    /// The log has come to this generation.
    pub fn granted(&mut self, generation: u64) {
        self.granted = generation;
    }

    /// L1 as the log has it: all locks in force go together.
    ///
    /// # Errors
    /// Two do not.
    pub fn l1_granted_go_together(locks: &[Lock]) -> Verdict {
        for (resource, granted, _) in locks {
            for (at, one) in granted.iter().enumerate() {
                for other in &granted[at + 1..] {
                    must("l1_granted_go_together", one.mode.compatible(other.mode), || {
                        format!("{resource}: {one:?} beside {other:?}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// L7: with every client idle, the state holds what holders believe to hold.
    ///
    /// # Errors
    /// Somebody's lock is gone.
    pub fn l7_nothing_lost(&self, state: &State) -> Verdict {
        for held in self.writers.values() {
            let found = state.locks.list().any(|(resource, granted, _)| {
                resource == held.resource
                    && granted.iter().any(|grant| {
                        grant.owner.node == held.node
                            && (grant.mode == held.mode || grant.mode.is_down_conversion_to(held.mode))
                            && grant.generation >= held.generation
                    })
            });
            must("l7_nothing_lost", found, || format!("{held:?} is in no state"))?;
        }
        Ok(())
    }
}
