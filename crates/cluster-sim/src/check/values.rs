//! Value blocks: a reader sees the last that was written, or that it cannot be trusted.

use std::collections::BTreeMap;

use cluster_join::lock::{Block, Owner};
use cluster_join::state::{Effect, Op};
use nines_proto::ctl::{Mode, Value};

use super::replay::{Lock, Step};
use super::{Verdict, must};

/// The blocks as the log makes them.
#[derive(Debug, Default)]
pub struct Values {
    blocks: BTreeMap<String, Block>,
    /// Where each value was written, and as the how manieth of all.
    written: BTreeMap<String, (String, u64)>,
    /// The how manieth was the block when a generation was granted, 0 where there was none.
    granted: BTreeMap<u64, u64>,
    /// Part of the log was not seen.
    blind: bool,
}

impl Values {
    /// The state is another one: what was written in between is not known.
    pub fn jump(&mut self) {
        (self.blind, self.blocks) = (true, BTreeMap::new());
    }

    fn write(&mut self, resource: &str, value: &str) {
        let count = self.written.len() as u64 + 1;
        self.written.insert(value.to_owned(), (resource.to_owned(), count));
        self.blocks.insert(resource.to_owned(), (value.to_owned(), true));
    }

    /// L4: follows what a command writes, and wants whoever is granted something by it to be told the
    /// block as it is then.
    ///
    /// # Errors
    /// He is told another one.
    pub fn follow(&mut self, step: &Step<'_>) -> Verdict {
        if self.blind {
            return Ok(());
        }
        let mut given = None;
        if let Some((node, seq, op)) = step.call() {
            let done = step.effects.iter().any(|effect| {
                matches!(effect, Effect::Decided(decided)
                    if (decided.call.node, decided.call.seq) == (node, seq) && decided.result.is_ok())
            });
            match op {
                Op::Convert { resource, value: Some(value), .. } if done => self.write(resource, value),
                Op::Unlock { resource, connection, session, value } if done => {
                    if let Some(value) = value {
                        self.write(resource, value);
                    }
                    given = Some((resource, Owner { node, connection: *connection, session: session.clone() }));
                }
                _ => {}
            }
        }
        // A lock that is withdrawn was never told of, and one that is handed over has its new owner.
        let kept = matches!(step.call(), Some((_, _, Op::Withdraw { .. } | Op::Accept { .. })));
        for (resource, held, _) in step.before.iter().filter(|_| !kept) {
            let now = holders(step.after, resource);
            let died = held.iter().filter(|holder| holder.mode >= Mode::Pw).any(|holder| {
                now.iter().all(|other| other.owner != holder.owner)
                    && given.as_ref().is_none_or(|(of, owner)| *of != resource || *owner != holder.owner)
            });
            if died && let Some((_, valid)) = self.blocks.get_mut(resource) {
                *valid = false;
            }
        }
        self.blocks.retain(|resource, _| step.after.iter().any(|(name, _, _)| name == resource));
        for effect in step.effects {
            let Effect::Decided(decided) = effect else { continue };
            let Ok(Value::Granted { generation, value }) = &decided.result else { continue };
            let of = |lock: &&Lock| lock.1.iter().any(|holder| holder.generation == *generation);
            let Some((resource, _, _)) = step.after.iter().find(of) else { continue };
            let block = self.blocks.get(resource);
            must("l4_values", block == value.as_ref(), || {
                format!("{resource}: generation {generation} is told {value:?}, the block is {block:?}")
            })?;
            let count = block.and_then(|(value, _)| self.written.get(value)).map_or(0, |(_, count)| *count);
            self.granted.insert(*generation, count);
        }
        Ok(())
    }

    /// L4: what a client is told is no older than its grant, unless it is told not to trust it.
    ///
    /// # Errors
    /// It is.
    pub fn l4_told(&self, generation: u64, resource: &str, value: Option<&Block>) -> Verdict {
        let Some((value, true)) = value else { return Ok(()) };
        let granted = self.granted.get(&generation).copied().unwrap_or_default();
        let written = self.written.get(value).is_some_and(|(of, count)| of == resource && *count >= granted);
        must("l4_values", self.blind || written, || {
            format!("{resource}: generation {generation} is told {value}, which is older than the grant or nobody's")
        })
    }
}

fn holders<'a>(locks: &'a [Lock], resource: &str) -> &'a [cluster_join::lock::Holder] {
    locks.iter().find(|(name, _, _)| name == resource).map_or(&[], |(_, held, _)| held)
}
