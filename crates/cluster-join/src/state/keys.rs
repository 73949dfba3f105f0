//! The key space: small values for the cluster's programs, each with the revision of its last
//! change. It changes by committed commands only, so that every node has the same revisions and
//! can say what happened behind any of the last few thousand of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nines_proto::ctl::{ErrorKind, KeyEvent};
use serde::{Deserialize, Serialize};

use crate::lock::Refusal;

/// Most keys, and most bytes of keys and values together.
pub const MAX_KEYS: usize = 16_384;
pub const MAX_TOTAL: usize = 4 << 20;
/// Changes that are kept for those who watch: so many, and of so many bytes.
pub const MAX_EVENTS: usize = 4096;
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// Results that are kept for each node, whose state may jump over the calls they answer: as many
/// as a node has calls on their way at once.
pub const MAX_RESULTS: usize = 1024;

/// Whose a key is: a connection of a node's present incarnation or, without one, the node's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    pub node: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub value: String,
    pub revision: u64,
    /// `None`: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// How a node's call ended: its number, and the revision it made, or why it made none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ended(u64, u64, Option<ErrorKind>);

/// All keys of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Keys {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    /// The last changes, oldest first, and the revision of the last one that is no longer kept.
    events: VecDeque<KeyEvent>,
    forgotten: u64,
    results: BTreeMap<u64, VecDeque<Ended>>,
    /// Which keys each owner has, so that a closing connection costs what it had.
    owned: BTreeMap<Owner, BTreeSet<String>>,
    bytes: usize,
    event_bytes: usize,
}

/// The key space as snapshots carry it.
#[derive(Serialize, Deserialize)]
struct Saved {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    events: VecDeque<KeyEvent>,
    forgotten: u64,
    #[serde(default)]
    results: BTreeMap<u64, VecDeque<Ended>>,
}

impl From<Keys> for Saved {
    fn from(keys: Keys) -> Self {
        let Keys { revision, entries, events, forgotten, results, .. } = keys;
        Self { revision, entries, events, forgotten, results }
    }
}

impl From<Saved> for Keys {
    fn from(saved: Saved) -> Self {
        let Saved { revision, entries, events, forgotten, results } = saved;
        let mut owned: BTreeMap<Owner, BTreeSet<String>> = BTreeMap::new();
        for (key, entry) in &entries {
            if let Some(owner) = entry.owner {
                owned.entry(owner).or_default().insert(key.clone());
            }
        }
        let bytes = entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        let event_bytes = events.iter().map(size).sum();
        Self { revision, entries, events, forgotten, results, owned, bytes, event_bytes }
    }
}

fn size(event: &KeyEvent) -> usize {
    event.key.len() + event.value.as_ref().map_or(0, String::len)
}

impl Keys {
    /// Of the last change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Keys that begin with `prefix`, in order.
    pub fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let from = self.entries.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(key, entry)| (key.as_str(), entry)).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// How many keys there are, and how many bytes they and their values have.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// The changes behind revision `after`, or `None` when some of them are no longer kept.
    #[must_use]
    pub fn events(&self, after: u64) -> Option<impl Iterator<Item = &KeyEvent>> {
        let from = self.events.partition_point(|event| event.revision <= after);
        (after >= self.forgotten).then(|| self.events.range(from..))
    }

    /// How many keys go when `node` is certainly off: its connections' and its boot's.
    #[must_use]
    pub fn owned_by(&self, node: u64) -> usize {
        self.owners(node).map(|owner| self.owned[&owner].len()).sum()
    }

    /// Whether anything is `owner`'s.
    #[must_use]
    pub fn owns(&self, owner: Owner) -> bool {
        self.owned.contains_key(&owner)
    }

    fn owners(&self, node: u64) -> impl Iterator<Item = Owner> {
        let range = Owner { node, connection: None }..=Owner { node, connection: Some(u64::MAX) };
        self.owned.range(range).map(|(owner, _)| *owner)
    }

    /// Sets a key; `if_revision` as in [`nines_proto::ctl::Request::Put`].
    ///
    /// # Errors
    /// The key has another revision, or the key space is full.
    pub fn put(
        &mut self,
        key: &str,
        value: String,
        if_revision: Option<u64>,
        owner: Option<Owner>,
    ) -> Result<u64, Refusal> {
        self.check(key, if_revision)?;
        let former = self.entries.get(key).map(|entry| key.len() + entry.value.len());
        let bytes = self.bytes - former.unwrap_or_default() + key.len() + value.len();
        if former.is_none() && self.entries.len() >= MAX_KEYS {
            let message = format!("{key}: the cluster has {MAX_KEYS} keys, the most there can be: delete some");
            return Err(Refusal::new(ErrorKind::Busy, message));
        }
        if bytes > MAX_TOTAL {
            let message = format!("{key}: with it all keys and values would have {bytes} bytes: at most {MAX_TOTAL}");
            return Err(Refusal::new(ErrorKind::Busy, message));
        }
        self.disown(key);
        self.bytes = bytes;
        self.revision += 1;
        let (revision, event) = (self.revision, Some(value.clone()));
        self.entries.insert(key.to_owned(), Entry { value, revision, owner });
        if let Some(owner) = owner {
            self.owned.entry(owner).or_default().insert(key.to_owned());
        }
        self.note(key, event);
        Ok(self.revision)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// There is no such key, or it has another revision.
    pub fn delete(&mut self, key: &str, if_revision: Option<u64>) -> Result<u64, Refusal> {
        self.check(key, if_revision)?;
        if !self.remove(key) {
            return Err(Refusal::new(ErrorKind::Unknown, format!("{key}: there is no such key")));
        }
        Ok(self.revision)
    }

    fn check(&self, key: &str, if_revision: Option<u64>) -> Result<(), Refusal> {
        let Some(wanted) = if_revision else { return Ok(()) };
        let message = match (self.entries.get(key).map_or(0, |entry| entry.revision), wanted) {
            (now, wanted) if now == wanted => return Ok(()),
            (0, wanted) => format!("{key}: there is no such key, and so none at revision {wanted}"),
            (now, 0) => format!("{key}: is there already, at revision {now}"),
            (now, wanted) => format!("{key}: at revision {now}, no longer at {wanted}"),
        };
        Err(Refusal::new(ErrorKind::Changed, message))
    }

    /// Deletes what a closed connection owned.
    pub fn close(&mut self, owner: Owner) {
        for key in self.owned.get(&owner).cloned().unwrap_or_default() {
            self.remove(&key);
        }
    }

    /// An incarnation of `node` is over: its connections' keys go and, where its boot is over as
    /// well, those of its host. Answers how many.
    pub fn drop_node(&mut self, node: u64, rebooted: bool) -> usize {
        let before = self.entries.len();
        let over: Vec<Owner> = self.owners(node).filter(|owner| rebooted || owner.connection.is_some()).collect();
        for owner in over {
            self.close(owner);
        }
        before - self.entries.len()
    }

    /// `node` numbers its calls anew.
    pub fn forget_results(&mut self, node: u64) {
        self.results.remove(&node);
    }

    /// Keeps how a call ended.
    pub fn ended(&mut self, node: u64, seq: u64, result: &Result<u64, Refusal>) {
        let results = self.results.entry(node).or_default();
        results.push_back(match result {
            Ok(revision) => Ended(seq, *revision, None),
            Err(refusal) => Ended(seq, 0, Some(refusal.kind)),
        });
        if results.len() > MAX_RESULTS {
            results.pop_front();
        }
    }

    /// How `node`'s call `seq` ended, if that is still kept.
    #[must_use]
    pub fn result(&self, node: u64, seq: u64) -> Option<Result<u64, ErrorKind>> {
        let Ended(_, revision, refused) = self.results.get(&node)?.iter().rev().find(|ended| ended.0 == seq)?;
        Some(refused.map_or(Ok(*revision), Err))
    }

    fn remove(&mut self, key: &str) -> bool {
        self.disown(key);
        let Some(entry) = self.entries.remove(key) else { return false };
        self.bytes -= key.len() + entry.value.len();
        self.revision += 1;
        self.note(key, None);
        true
    }

    fn disown(&mut self, key: &str) {
        let Some(owner) = self.entries.get(key).and_then(|entry| entry.owner) else { return };
        if let Some(keys) = self.owned.get_mut(&owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }

    /// The change that made the present revision.
    fn note(&mut self, key: &str, value: Option<String>) {
        let event = KeyEvent { key: key.to_owned(), revision: self.revision, value };
        self.event_bytes += size(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.event_bytes > MAX_EVENT_BYTES {
            let Some(event) = self.events.pop_front() else { break };
            self.event_bytes -= size(&event);
            self.forgotten = event.revision;
        }
    }
}

#[cfg(test)]
mod tests;
