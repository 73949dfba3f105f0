//! The key space: what clients saw of it can have been, in the order in which they saw it.

use std::collections::{BTreeMap, BTreeSet};

use cluster_join::state::keys::{Keys as State, Owner};
use cluster_join::state::{Command, Effect, Op};
use nines_proto::ctl::{KeyEntry, KeyEvent};

use super::replay::Step;
use super::{Verdict, must};

/// Every change there was, and what clients know of it.
#[derive(Debug, Default)]
pub struct Keys {
    /// The changes behind revision `from`.
    changes: Vec<KeyEvent>,
    from: u64,
    /// Whose each key is.
    owners: BTreeMap<String, Owner>,
    /// The highest revision that some client has heard of.
    heard: u64,
    /// Values that somebody was told are not in force.
    refused: BTreeSet<String>,
}

impl Keys {
    /// The state is another one: what happened in between is as it says.
    pub fn jump(&mut self, state: &State) {
        self.take(state);
    }

    /// Takes in what the state has that was not known; how many changes that were.
    fn take(&mut self, state: &State) -> usize {
        let before = self.changes.len();
        let Some(events) = state.events(self.last()) else {
            (self.from, self.changes) = (state.revision(), Vec::new());
            return 0;
        };
        self.changes.extend(events.cloned());
        if before < self.changes.len() {
            let owned = state.list("").filter_map(|(key, entry)| Some((key.to_owned(), entry.owner?)));
            self.owners = owned.collect();
        }
        self.changes.len() - before
    }

    fn last(&self) -> u64 {
        self.from + self.changes.len() as u64
    }

    /// The key's last change up to `revision`.
    fn at(&self, key: &str, revision: u64) -> Option<&KeyEvent> {
        let until = usize::try_from(revision.saturating_sub(self.from)).unwrap_or(usize::MAX).min(self.changes.len());
        self.changes[..until].iter().rev().find(|change| change.key == key)
    }

    /// The key's revision as of `revision`, 0 where there was no such key.
    fn revision_at(&self, key: &str, revision: u64) -> u64 {
        self.at(key, revision).filter(|change| change.value.is_some()).map_or(0, |change| change.revision)
    }

    /// The key's revision now, 0 where there is no such key.
    #[must_use]
    pub fn revision_of(&self, key: &str) -> u64 {
        self.revision_at(key, self.last())
    }

    /// The revision from which on an operation that begins now must see.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// C4, F1: follows what a command changes. Every change has the next revision and was asked for:
    /// by a call whose condition held, or by the end of the key's owner.
    ///
    /// # Errors
    /// It was not.
    pub fn follow(&mut self, step: &Step<'_>) -> Verdict {
        let before = self.last();
        if step.state.keys.revision() == before {
            return Ok(());
        }
        let owners = self.owners.clone();
        let count = self.take(&step.state.keys);
        must("c4_revisions_have_no_gap", step.state.keys.revision() == self.last(), || {
            format!("revision {} behind {count} changes after {before}", step.state.keys.revision())
        })?;
        let changes = &self.changes[self.changes.len() - count..];
        let done = |node: u64, seq: u64| {
            step.effects.iter().any(|effect| {
                matches!(effect, Effect::Decided(decided)
                    if (decided.call.node, decided.call.seq) == (node, seq) && decided.result.is_ok())
            })
        };
        if let Some((node, seq, Op::Put { key, if_revision, .. } | Op::Delete { key, if_revision })) = step.call() {
            let now = self.revision_at(key, before);
            let allowed = if_revision.is_none_or(|wanted| wanted == now);
            return must(
                "c4_compare_and_set",
                allowed && count == 1 && done(node, seq) && changes[0].key == *key,
                || format!("{key} was at revision {now}, and {:?} made {changes:?}", step.command),
            );
        }
        for change in changes {
            let owner = owners.get(&change.key).copied();
            let over = owner.is_some_and(|owner| match step.command {
                Command::Call { node, call: Op::Close { connection }, .. } => {
                    (owner.node, owner.connection) == (*node, Some(*connection))
                }
                Command::Joined { node, .. } => owner.node == *node,
                _ => step.state.members.get(&owner.node).is_none_or(|member| !member.present),
            });
            must("c4_keys_last", over && change.value.is_none(), || {
                format!("{change:?} of owner {owner:?} by {:?}", step.command)
            })?;
        }
        Ok(())
    }

    /// C4: a client was told that it set or deleted a key.
    ///
    /// # Errors
    /// It did not, or before it asked.
    pub fn c4_changed(&mut self, key: &str, value: Option<&str>, revision: u64, since: u64) -> Verdict {
        let at = usize::try_from(revision.saturating_sub(self.from + 1)).unwrap_or(usize::MAX);
        let change = self.changes.get(at);
        let fits =
            revision > since && change.is_some_and(|change| change.key == key && change.value.as_deref() == value);
        self.heard = self.heard.max(revision);
        must("c4_changed", fits, || {
            format!("{key} was told to be {value:?} as revision {revision}, asked behind {since}: {change:?}")
        })
    }

    /// C4: a client was told that a value is not in force and will not be.
    ///
    /// # Errors
    /// It is.
    pub fn c4_refused(&mut self, value: &str) -> Verdict {
        self.refused.insert(value.to_owned());
        self.c4_refused_stay_out()
    }

    /// C4: nothing that was refused is ever in force.
    ///
    /// # Errors
    /// It was.
    pub fn c4_refused_stay_out(&self) -> Verdict {
        let found =
            self.changes.iter().find(|change| change.value.as_ref().is_some_and(|it| self.refused.contains(it)));
        must("c4_refused", found.is_none(), || format!("{found:?} was refused"))
    }

    /// C4: a client was told the key at `revision`, having asked when `since` had been heard of, if
    /// it minded an old one.
    ///
    /// # Errors
    /// It was another one then, or the revision is too old.
    pub fn c4_read(&mut self, key: &str, entry: Option<&KeyEntry>, revision: u64, since: Option<u64>) -> Verdict {
        let was = self.at(key, revision).filter(|change| change.value.is_some());
        let is = entry.map(|entry| (Some(entry.value.as_str()), entry.revision));
        let fits = was.map(|change| (change.value.as_deref(), change.revision)) == is || revision < self.from;
        must("c4_read", fits && since.unwrap_or_default() <= revision && revision <= self.last(), || {
            format!("{key} read as {entry:?} at revision {revision}, behind {since:?}; it was {was:?}")
        })?;
        if since.is_some() {
            self.heard = self.heard.max(revision);
        }
        Ok(())
    }

    /// C4: the same for all keys that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Keys::c4_read`].
    pub fn c4_listed(&mut self, prefix: &str, entries: &[KeyEntry], revision: u64, since: Option<u64>) -> Verdict {
        let names: BTreeSet<&str> = self
            .changes
            .iter()
            .filter(|change| change.revision <= revision && change.key.starts_with(prefix))
            .map(|change| change.key.as_str())
            .collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        for name in &names {
            self.c4_read(name, entries.iter().find(|entry| entry.key == *name), revision, since)?;
        }
        let strange = entries.iter().find(|entry| !names.contains(&entry.key));
        must("c4_read", strange.is_none() || self.from > 0, || format!("{strange:?} was listed and never set"))
    }

    /// C4: a watch told all that happened between two revisions.
    ///
    /// # Errors
    /// It left something out, or told something else.
    pub fn c4_watched(&self, prefix: &str, after: u64, revision: u64, events: &[KeyEvent]) -> Verdict {
        let between = |change: &&KeyEvent| after < change.revision && change.revision <= revision;
        let wanted: Vec<&KeyEvent> =
            self.changes.iter().filter(between).filter(|change| change.key.starts_with(prefix)).collect();
        let same = wanted.iter().copied().eq(events);
        must("c4_watched", (same || after < self.from) && revision <= self.last(), || {
            format!("behind revision {after} up to {revision} `{prefix}' had {wanted:?}, told were {events:?}")
        })
    }
}
