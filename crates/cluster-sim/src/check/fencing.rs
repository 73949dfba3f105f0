//! Nothing of a node is taken over before that run of it is certainly over.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::log::Forced;
use cluster_join::state::State;
use nines_proto::ctl::FenceEnd;

use super::{Verdict, must};

/// Which runs there were, in truth.
#[derive(Debug, Default)]
pub struct Fencing {
    /// The boot in which each incarnation of each node ran.
    boots: BTreeMap<(u64, u64), u64>,
    /// The last operation that was looked at.
    seen: BTreeMap<u64, bool>,
    /// Boots that the newest state had as fenced.
    fenced: BTreeSet<(u64, String)>,
    /// Which node of a pair went on alone, by how many times that had happened.
    alone: BTreeMap<u64, u64>,
}

impl Fencing {
    /// A run of a daemon calls itself so. One that starts over with an empty log may call itself
    /// as the recorded one did; the first is the one that others know.
    pub fn runs(&mut self, node: u64, incarnation: u64, boot: u64) {
        self.boots.entry((node, incarnation)).or_insert(boot);
    }

    /// Whether that run of a node was in this boot of its host; unknown runs may have been.
    #[must_use]
    pub fn in_boot(&self, node: u64, incarnation: u64, boot: u64) -> bool {
        self.boots.get(&(node, incarnation)).is_none_or(|ran| *ran == boot)
    }

    /// F1, F2, F3, F6: a fencing that is over is that of a run that is over, in truth, whoever
    /// said so. `alive` tells whether a node is on in that boot.
    ///
    /// # Errors
    /// It still runs.
    pub fn f1_confirmed_is_dead(
        &mut self,
        state: &State,
        alive: impl Fn(u64, u64) -> bool,
        mut ended: impl FnMut(&FenceEnd),
    ) -> Verdict {
        for operation in state.fencing.history().rev() {
            if self.seen.insert(operation.number, true).is_some() {
                break;
            }
            let Some(end) = &operation.end else { continue };
            ended(end);
            let confirmed = matches!(
                end,
                FenceEnd::Agent { .. } | FenceEnd::Watchdog | FenceEnd::Acknowledged { .. } | FenceEnd::Returned
            );
            let boot = self.boots.get(&(operation.node, operation.incarnation)).copied();
            let runs = confirmed && boot.is_some_and(|boot| alive(operation.node, boot));
            must("f1_confirmed_is_dead", !runs, || {
                format!(
                    "operation {} on node {} incarnation {} ended by {end:?}, and its host runs on",
                    operation.number, operation.node, operation.incarnation
                )
            })?;
        }
        Ok(())
    }

    /// F1, F7: a node of a pair goes on alone when the other one is off in truth, and of two that
    /// want to only one does.
    ///
    /// # Errors
    /// The other one runs, or went on as well.
    pub fn f7_one_goes_on(&mut self, me: u64, forced: &Forced, alive: impl Fn(u64, u64) -> bool) -> Verdict {
        let first = *self.alone.entry(forced.epoch).or_insert(me);
        must("f7_one_goes_on", first == me, || {
            format!("nodes {first} and {me} both went on alone as the time {}", forced.epoch)
        })?;
        let boot = self.boots.get(&(forced.peer, forced.incarnation)).copied();
        must("f1_alone_after_death", boot.is_some_and(|boot| !alive(forced.peer, boot)), || {
            format!("node {me} goes on alone, and incarnation {} of node {} runs", forced.incarnation, forced.peer)
        })
    }

    /// M4, L2: a node that is fenced has nothing any more.
    ///
    /// # Errors
    /// It holds a lock.
    pub fn m4_fenced_has_nothing(state: &State) -> Verdict {
        for (node, member) in state.members.iter().filter(|(_, member)| member.fenced && !member.present) {
            must("m4_fenced_has_nothing", !state.holds_anything(*node), || {
                format!("node {node} is fenced and still holds something: {member:?}")
            })?;
        }
        Ok(())
    }

    /// M4, F3: a boot that was fenced is never a member's again.
    ///
    /// # Errors
    /// It was let in.
    pub fn f3_fenced_boot_stays_out(&mut self, state: &State) -> Verdict {
        for (node, member) in state.members.iter().filter(|(_, member)| !member.boot.is_empty()) {
            let boot = (*node, member.boot.clone());
            if member.fenced {
                self.fenced.insert(boot);
            } else {
                must("f3_fenced_boot_stays_out", !member.present || !self.fenced.contains(&boot), || {
                    format!("node {node} is a member in boot {}, which was fenced", member.boot)
                })?;
            }
        }
        Ok(())
    }

    /// F8: where there are watchdogs, whoever holds a lock is known to have its own armed.
    ///
    /// # Errors
    /// Somebody has not.
    pub fn f8_holders_are_armed(state: &State) -> Verdict {
        for (resource, granted, _) in state.locks.list() {
            for held in granted {
                let armed = state.members.get(&held.owner.node).is_some_and(|member| member.armed);
                must("f8_holders_are_armed", armed, || format!("{resource}: {held:?} of a node that is not armed"))?;
            }
        }
        Ok(())
    }
}
