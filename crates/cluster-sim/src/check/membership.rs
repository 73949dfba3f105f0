//! Who is in: one run of each node, never an older one.

use std::collections::BTreeMap;

use cluster_join::state::State;

use super::{Verdict, must};

/// What the newest state said of the nodes.
#[derive(Debug, Default)]
pub struct Membership {
    incarnations: BTreeMap<u64, (u64, String)>,
}

impl Membership {
    /// M1: a node never goes back to an older view while it runs.
    ///
    /// # Errors
    /// It does.
    pub fn m1_views_only_grow(node: u64, before: u64, now: u64) -> Verdict {
        must("m1_views_only_grow", now >= before, || format!("node {node} went from entry {before} back to {now}"))
    }

    /// M3: of each node one run is admitted, and later ones replace earlier ones.
    ///
    /// # Errors
    /// An earlier one came back.
    pub fn m3_one_incarnation(&mut self, state: &State) -> Verdict {
        for (node, member) in &state.members {
            let known = self.incarnations.entry(*node).or_insert((member.incarnation, member.boot.clone()));
            let (incarnation, boot) = known;
            must("m3_one_incarnation", member.incarnation >= *incarnation, || {
                format!("node {node} was incarnation {incarnation} and is {} again", member.incarnation)
            })?;
            must("m3_one_incarnation", member.incarnation > *incarnation || member.boot == *boot, || {
                format!("node {node}'s incarnation {incarnation} has the boots {boot} and {}", member.boot)
            })?;
            if member.incarnation > *incarnation {
                (*incarnation, *boot) = (member.incarnation, member.boot.clone());
            }
        }
        Ok(())
    }
}
