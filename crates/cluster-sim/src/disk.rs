//! A host's state directory: what is synced stays, of the write under way any part may.

use anyhow::Context as _;
use cluster_join::log::{HEADER, Identity, Loaded, SECTOR, Write, decode_snapshot, header, recover};
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState};

use crate::random::Random;

/// What is durable there.
#[derive(Debug, Clone)]
pub struct Disk {
    pub identity: Identity,
    /// The identity's file, where it is not what was written.
    pub spoiled: Option<Vec<u8>>,
    pub snapshot: Option<(u64, Vec<u8>)>,
    pub log: Vec<u8>,
    /// What the log promises, as its last batch has it.
    pub term: u64,
    pub vote: u64,
    pub last: u64,
    /// A bit on it has changed.
    pub rotten: bool,
    /// The last entry of the log that was here before this one was begun.
    pub former: u64,
}

impl Disk {
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let (term, vote, last) = (0, 0, 0);
        Self { identity, spoiled: None, snapshot: None, log: header(), term, vote, last, rotten: false, former: 0 }
    }

    /// Makes a write durable.
    pub fn write(&mut self, write: Write) {
        match write {
            Write::Append(bytes) => {
                self.promise(&bytes);
                self.log.extend_from_slice(&bytes);
            }
            Write::Replace { index, snapshot, log } => {
                self.snapshot = Some((index, snapshot));
                self.last = index;
                self.promise(&log[HEADER.len()..]);
                self.log = log;
            }
            Write::StartOver { log } => {
                (self.snapshot, self.last, self.log) = (None, 0, log);
                // What it promised counts no more: it does not vote before it has caught up.
                (self.term, self.vote) = (0, 0);
            }
        }
    }

    /// What is left of a write when the machine stops in the middle of it.
    pub fn tear(&mut self, write: &Write, random: &mut Random) {
        match write {
            Write::Append(bytes) => {
                let mut bytes = bytes[..random.index(bytes.len() + 1)].to_vec();
                // Sectors need not reach the disk in their order; the file has zeros instead of them.
                if random.one_in(2) {
                    bytes.chunks_mut(SECTOR).filter(|_| random.one_in(2)).for_each(|sector| sector.fill(0));
                }
                self.log.extend_from_slice(&bytes);
            }
            // Until the new log has its name there is the old one.
            Write::StartOver { .. } => {}
            // The snapshot's file may have its name before the new log has.
            Write::Replace { index, snapshot, .. } => {
                if random.one_in(2) {
                    self.snapshot = Some((*index, snapshot.clone()));
                    self.last = self.last.max(*index);
                }
            }
        }
    }

    /// Changes one bit of the log or of the snapshot; false when there is nothing.
    pub fn rot(&mut self, random: &mut Random) -> bool {
        if self.log.len() <= HEADER.len() {
            return false;
        }
        let snapshot = self.snapshot.as_mut().filter(|_| random.one_in(4)).map(|(_, bytes)| &mut bytes[..]);
        let bytes = snapshot.unwrap_or(&mut self.log[HEADER.len()..]);
        // What was written last is what matters most.
        let from = if random.one_in(2) { bytes.len().saturating_sub(2 * SECTOR) } else { 0 };
        let at = from + random.index(bytes.len() - from);
        bytes[at] ^= 1 << random.below(8);
        self.rotten = true;
        true
    }

    /// Changes one bit of the identity's file.
    pub fn rot_identity(&mut self, random: &mut Random) {
        let Ok(mut bytes) = self.identity.encode() else { return };
        let at = random.index(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        (self.spoiled, self.rotten) = (Some(bytes), true);
    }

    /// Reads it as a starting daemon does.
    ///
    /// # Errors
    /// The directory is damaged, and the daemon refuses it.
    pub fn load(&mut self) -> anyhow::Result<Loaded> {
        if let Some(bytes) = self.spoiled.take() {
            self.identity = Identity::decode(&bytes).context("identity")?;
        }
        let log = recover(&self.log)?;
        self.log.truncate(log.length);
        // A write that the crash did not shorten is as good as one that was finished.
        if log.hard_state.term >= self.term {
            (self.term, self.vote) = (log.hard_state.term, log.hard_state.vote);
        }
        self.last = self.last.max(log.entries.last().map_or(0, |entry| entry.index));
        let snapshot = self.snapshot.as_ref().map(|(_, bytes)| decode_snapshot(bytes)).transpose()?;
        Ok(Loaded { snapshot, log })
    }

    /// Notes what the batch in `bytes` promises: sectors of 20 bytes and data each, which is parts of
    /// a length and a message, the hard state first.
    fn promise(&mut self, bytes: &[u8]) {
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap_or_default()) as usize;
        let mut data = Vec::with_capacity(bytes.len());
        bytes.chunks(SECTOR).for_each(|sector| data.extend_from_slice(&sector[20..]));
        let (mut rest, mut first) = (&data[..length], true);
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (part, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
            if first {
                let state = HardState::parse_from_bytes(part).unwrap_or_default();
                (self.term, self.vote, first) = (state.term, state.vote, false);
            } else if behind.is_empty() {
                self.last = Entry::parse_from_bytes(part).unwrap_or_default().index;
            }
            rest = behind;
        }
    }
}
