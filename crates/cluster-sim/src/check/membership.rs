//! Who is in: one run of each node, never an older one.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::state::State;

use super::{Verdict, must};

/// What the newest state said of the nodes.
#[derive(Debug, Default)]
pub struct Membership {
    incarnations: BTreeMap<u64, (u64, String)>,
    /// The configuration up to which those that were removed are forgotten there.
    forgotten: u32,
    /// Every configuration that was committed, by version, and the nodes of the newest.
    texts: BTreeMap<u32, String>,
    wanted: Option<Vec<u64>>,
    /// Each node's log, and those that must not come back.
    stores: BTreeMap<u64, String>,
    removed: BTreeSet<String>,
}

impl Membership {
    /// M1: a node never goes back to an older view while it runs.
    ///
    /// # Errors
    /// It does.
    pub fn m1_views_only_grow(node: u64, before: u64, now: u64) -> Verdict {
        must("m1_views_only_grow", now >= before, || format!("node {node} went from entry {before} back to {now}"))
    }

    /// M3: of each node one run is admitted, and later ones replace earlier ones. A node that was removed
    /// and added again is another one: it begins with an empty log, and counts from the beginning. That it
    /// was is seen in the configurations, all of which the state of an entry has: of two that follow each
    /// other in one step, the second may have again what the first had not.
    ///
    /// # Errors
    /// An earlier one came back.
    pub fn m3_one_incarnation(&mut self, state: &State) -> Verdict {
        for conf in state.configured.history().filter(|conf| conf.version > self.forgotten) {
            self.incarnations.retain(|node, _| names(&conf.text, *node));
        }
        self.forgotten = state.configured.current().map_or(0, |current| current.version);
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

    /// M6: versions only grow, and each names one text.
    ///
    /// # Errors
    /// One came back, or has two texts.
    pub fn m6_versions_grow(&mut self, state: &State) -> Verdict {
        let Some(current) = state.configured.current() else { return Ok(()) };
        if let Some(known) = self.texts.get(&current.version) {
            return must("m6_versions_grow", *known == current.text, || {
                format!("version {} has two texts", current.version)
            });
        }
        let last = self.texts.keys().next_back().copied().unwrap_or_default();
        for conf in state.configured.history().filter(|conf| conf.version > last) {
            self.texts.insert(conf.version, conf.text.clone());
            let gone = self.stores.iter().filter(|(node, _)| !names(&conf.text, **node));
            self.removed.extend(gone.map(|(_, store)| store.clone()));
            self.stores.retain(|node, _| names(&conf.text, *node));
        }
        self.wanted = Some((1..=64).filter(|id| state.configured.node(*id).is_some()).collect());
        must("m6_versions_grow", current.version > last, || format!("version {} after {last}", current.version))
    }

    /// M6: nobody acts on a configuration that is not committed.
    ///
    /// # Errors
    /// A node does.
    pub fn m6_only_committed(&self, node: u64, version: u32, text: &str) -> Verdict {
        must("m6_only_committed", self.texts.get(&version).is_some_and(|known| known == text), || {
            format!("node {node} makes version {version} its file, which nobody committed")
        })
    }

    /// M7: a log that was removed is never a member's again. What is known of a node that was fenced
    /// before it ever joined names no log, and may be forgotten and noted again.
    ///
    /// # Errors
    /// It is.
    pub fn m7_removed_stays_out(&mut self, state: &State) -> Verdict {
        for (node, member) in state.members.iter().filter(|(_, member)| !member.store.is_empty()) {
            if self.stores.get(node) != Some(&member.store) {
                must("m7_removed_stays_out", !self.removed.contains(&member.store), || {
                    format!("node {node} is a member with the log {}, which was removed", member.store)
                })?;
                self.stores.insert(*node, member.store.clone());
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn is_removed(&self, store: &str) -> bool {
        self.removed.contains(store)
    }

    /// Whether `node` is a member with the log `store`.
    #[must_use]
    pub fn knows(&self, node: u64, store: &str) -> bool {
        self.stores.get(&node).is_some_and(|known| known == store)
    }

    /// How many configurations came after the first.
    #[must_use]
    pub fn changes(&self) -> u64 {
        (self.texts.len() as u64).saturating_sub(1)
    }

    /// The nodes of the configuration in force.
    #[must_use]
    pub fn wanted(&self) -> Option<Vec<u64>> {
        self.wanted.clone()
    }

    /// The newest configurations without a gap that have node `id`.
    #[must_use]
    pub fn files_with(&self, id: u64) -> Vec<String> {
        let has = |text: &&String| names(text, id);
        self.texts.values().rev().take_while(has).cloned().collect()
    }
}

/// Whether the configuration `text` has node `id`.
fn names(text: &str, id: u64) -> bool {
    text.contains(&format!("nodeid=\"{id}\""))
}
