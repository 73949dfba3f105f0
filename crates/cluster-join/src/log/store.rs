//! The log in memory, as the consensus library reads it.

use std::cell::Cell;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::Recovered;

/// What a state directory held at start.
#[derive(Debug, Default)]
pub struct Loaded {
    pub snapshot: Option<Snapshot>,
    pub log: Recovered,
}

/// Entries since the last snapshot's index, and what the library wants to know at start.
#[derive(Debug)]
pub struct Store {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first one.
    before: (u64, u64),
    entries: Vec<Entry>,
    /// Bytes of data in `entries`.
    bytes: usize,
    /// A snapshot for a node that is too far behind, while there is one of use.
    snapshot: Option<Snapshot>,
    /// The library asked for a snapshot that there was not.
    wanted: Cell<bool>,
    /// The log's file ends before the snapshot: nothing may be appended to it.
    outdated: bool,
}

impl Store {
    /// The store of a log that was read from disk. A snapshot newer than the log, which a crash
    /// can leave behind, takes the log's place.
    ///
    /// # Errors
    /// Log and snapshot contradict each other.
    pub fn new(conf_state: ConfState, loaded: Loaded) -> anyhow::Result<Self> {
        let Loaded { snapshot, log } = loaded;
        let mut store = Self {
            hard_state: log.hard_state,
            conf_state,
            before: (0, 0),
            entries: Vec::new(),
            bytes: 0,
            snapshot: None,
            wanted: Cell::new(false),
            outdated: false,
        };
        let mut entries = log.entries;
        if let Some(snapshot) = &snapshot {
            let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
            let first = entries.first().map(|first| first.index);
            if entries.iter().any(|entry| entry.index == index && entry.term == term) {
                // The log reaches back behind the snapshot; its first entry only tells its term.
                let first = entries.remove(0);
                store.before = (first.index, first.term);
            } else {
                if first != Some(index + 1) {
                    store.outdated = !entries.is_empty();
                    entries.clear();
                }
                store.before = (index, term);
            }
            store.hard_state.commit = store.hard_state.commit.max(index);
            store.hard_state.term = store.hard_state.term.max(term);
        }
        if let Some(first) = entries.first() {
            let wanted = store.before.0 + 1;
            anyhow::ensure!(first.index == wanted, "the log begins at entry {} instead of {wanted}", first.index);
        }
        store.bytes = entries.iter().map(|entry| entry.data.len()).sum();
        store.entries = entries;
        let (commit, last) = (store.hard_state.commit, store.last());
        anyhow::ensure!(commit <= last, "entry {commit} is committed, but the log ends at {last}");
        Ok(store)
    }

    pub fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    fn first(&self) -> u64 {
        self.before.0 + 1
    }

    /// Entries and their bytes, for deciding when the log is worth shortening.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    pub fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Who votes and who follows changed. A snapshot made before knows nothing of it.
    pub fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
        self.snapshot = None;
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Puts `new` in place of whatever is at and behind its first index.
    pub fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        // The library never overwrites what is committed, and so never what was cut off.
        let keep = usize::try_from(first.index.saturating_sub(self.first())).unwrap_or(usize::MAX);
        for dropped in self.entries.drain(keep.min(self.entries.len())..) {
            self.bytes -= dropped.data.len();
        }
        self.bytes += new.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend_from_slice(new);
    }

    /// Takes a snapshot from the leader in place of everything.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.before = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.conf_state = snapshot.get_metadata().get_conf_state().clone();
        self.entries.clear();
        self.bytes = 0;
        self.snapshot = None;
        self.hard_state.commit = self.hard_state.commit.max(self.before.0);
        self.hard_state.term = self.hard_state.term.max(self.before.1);
    }

    /// Drops the entries up to and with `index`, which a snapshot now stands for.
    pub fn cut(&mut self, index: u64) {
        let Ok(term) = self.term(index) else { return };
        let count = usize::try_from(index - self.before.0).unwrap_or_default().min(self.entries.len());
        for dropped in self.entries.drain(..count) {
            self.bytes -= dropped.data.len();
        }
        self.before = (index, term);
    }

    /// Whether the log's file has to be written anew before anything is appended, once.
    pub fn take_outdated(&mut self) -> bool {
        std::mem::take(&mut self.outdated)
    }

    /// Whether a snapshot was asked for that [`Store::offer`] should provide.
    pub fn snapshot_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// A snapshot for nodes that are too far behind.
    pub fn offer(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let at = |index: u64| usize::try_from(index - self.first()).unwrap_or(usize::MAX);
        let mut entries = self.entries[at(low)..at(high)].to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            return Err(StorageError::Compacted.into());
        }
        let at = usize::try_from(index - self.first()).unwrap_or(usize::MAX);
        self.entries.get(at).map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        match &self.snapshot {
            Some(snapshot) if snapshot.get_metadata().index >= request_index.max(self.before.0) => Ok(snapshot.clone()),
            _ => {
                self.wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
