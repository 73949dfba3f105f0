//! Nothing of a node is taken over before that run of it is certainly over.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::log::Forced;
use cluster_join::state::fence::News;
use cluster_join::state::{Command, Effect, State};
use nines_proto::ctl::FenceEnd;

use super::locks::Held;
use super::replay::{Lock, Step};
use super::{Verdict, Violation, must};
use crate::count::Counts;

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
    let_in: BTreeMap<u64, LetIn>,
    /// Boots that a device said were over, and did nothing.
    lies: BTreeSet<(u64, u64)>,
    /// When a proof of membership was last sent to each node.
    proofs: BTreeMap<u64, u64>,
}

/// A node's boot that was let in last, and whether a person has said that the next one is to be.
#[derive(Debug, Default)]
struct LetIn {
    boot: String,
    waived: bool,
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
    /// Nobody can keep that promise where a device says that it did what it did not: exit status 0
    /// of an agent is the only yes there is. Then the nodes are told whose writes mean nothing any
    /// more; all else goes on to hold for them, above all that such a boot is never a member again.
    ///
    /// # Errors
    /// It still runs.
    pub fn f1_confirmed_is_dead(
        &mut self,
        state: &State,
        alive: &dyn Fn(u64, u64) -> bool,
        counts: &mut Counts,
    ) -> Result<Vec<u64>, Violation> {
        let mut believed = Vec::new();
        for operation in state.fencing.history().rev() {
            if self.seen.insert(operation.number, true).is_some() {
                break;
            }
            let Some(end) = &operation.end else { continue };
            counts.one(match end {
                FenceEnd::Agent { .. } => "fenced by agents",
                FenceEnd::Watchdog => "fenced by watchdogs",
                FenceEnd::Acknowledged { .. } => "fenced by acknowledgement",
                FenceEnd::Returned => "fenced by their return",
                FenceEnd::Void => "fencings void",
            });
            let confirmed = matches!(
                end,
                FenceEnd::Agent { .. } | FenceEnd::Watchdog | FenceEnd::Acknowledged { .. } | FenceEnd::Returned
            );
            let boot = self.boots.get(&(operation.node, operation.incarnation)).copied();
            let runs = confirmed && boot.is_some_and(|boot| alive(operation.node, boot));
            let lied = boot.is_some_and(|boot| self.lies.contains(&(operation.node, boot)));
            if runs && lied && matches!(end, FenceEnd::Agent { .. }) {
                counts.one("lies believed");
                believed.push(operation.node);
                continue;
            }
            must("f1_confirmed_is_dead", !runs, || {
                format!(
                    "operation {} on node {} incarnation {} ended by {end:?}, and its host runs on",
                    operation.number, operation.node, operation.incarnation
                )
            })?;
        }
        Ok(believed)
    }

    /// A device says that this boot of a node is over, and did nothing.
    pub fn lied(&mut self, node: u64, boot: u64) {
        self.lies.insert((node, boot));
    }

    /// F9: nobody on a host is told of a lock in a boot in which it never had access to storage.
    ///
    /// # Errors
    /// Somebody is.
    pub fn f9_access_before_grants(held: &Held, had_access: bool) -> Verdict {
        must("f9_access_before_grants", had_access, || format!("{held:?}, whose host was never given its access"))
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
        let lied = |boot| self.lies.contains(&(forced.peer, boot));
        must("f1_alone_after_death", boot.is_some_and(|boot| !alive(forced.peer, boot) || lied(boot)), || {
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

    /// F8: where there are watchdogs, whoever has a lock or a key of its own is known to have its own
    /// armed.
    ///
    /// # Errors
    /// Somebody has not.
    pub fn f8_holders_are_armed(state: &State, locks: &[Lock]) -> Verdict {
        let armed = |node: u64| state.members.get(&node).is_some_and(|member| member.armed);
        for (resource, granted, _) in locks {
            for held in granted {
                must("f8_holders_are_armed", armed(held.owner.node), || {
                    format!("{resource}: {held:?} of a node that is not armed")
                })?;
            }
        }
        for (key, entry) in state.keys.list("") {
            must("f8_holders_are_armed", entry.owner.is_none_or(|owner| armed(owner.node)), || {
                format!("the key {key}: {entry:?} of a node that is not armed")
            })?;
        }
        Ok(())
    }

    /// A node's ping is answered, at this moment of true time.
    pub fn answers(&mut self, node: u64, time: u64) {
        self.proofs.insert(node, time);
    }

    /// F8: a node that others vote with feeds its watchdog for no longer than `span` after the last
    /// answer to it was sent, whenever that arrived.
    ///
    /// # Errors
    /// It does.
    pub fn f8_lease_from_its_proof(&self, node: u64, until: u64, span: u64) -> Verdict {
        let proof = self.proofs.get(&node).copied().unwrap_or_default();
        must("f8_lease_from_its_proof", until <= proof + span, || {
            format!("node {node} feeds its watchdog until {until}, was answered at {proof}, and may for {span} more")
        })
    }

    /// F8: a watchdog is closed when the log has it so, for nobody counts on it any more.
    ///
    /// # Errors
    /// Somebody does.
    pub fn f8_closed_by_the_log(node: u64, state: &State) -> Verdict {
        let armed = state.members.get(&node).is_some_and(|member| member.armed);
        must("f8_closed_by_the_log", !armed, || format!("node {node} closes its watchdog, and the log has it as armed"))
    }

    /// M3, M4: what another run than the present one asks for, or one that is fenced, does nothing.
    ///
    /// # Errors
    /// It does something.
    pub fn m3_only_this_run(step: &Step<'_>) -> Verdict {
        let Command::Call { node, incarnation, .. } = step.command else { return Ok(()) };
        let over = step.state.members.get(node).is_some_and(|member| {
            member.incarnation != *incarnation || member.fenced && !step.effects.iter().any(|it| ends(it, *node))
        });
        must("m3_only_this_run", !over || step.effects.is_empty(), || {
            format!("{:?} did {:?}, and the member is {:?}", step.command, step.effects, step.state.members.get(node))
        })
    }

    /// F9: a host of a new boot that still has something of its former one is not let in, unless a
    /// person said so. `clean` tells the truth.
    ///
    /// # Errors
    /// It was let in.
    pub fn f9_clean_when_let_in(&mut self, state: &State, clean: &dyn Fn(u64, &str) -> bool) -> Verdict {
        for (node, member) in &state.members {
            let known = self.let_in.entry(*node).or_default();
            if member.present && known.boot != member.boot {
                must("f9_clean_when_let_in", known.waived || clean(*node, &member.boot), || {
                    format!("node {node} is let in with leftovers: {member:?}")
                })?;
                known.boot.clone_from(&member.boot);
            }
            known.waived = member.waived;
        }
        Ok(())
    }
}

/// Whether this is the end of a run of `node`.
fn ends(effect: &Effect, node: u64) -> bool {
    matches!(effect, Effect::Fence(News::Fenced { node: of, .. }) if *of == node)
}
