//! Nothing of a node is taken over before that run of it is certainly over.

use std::collections::BTreeMap;

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
}
