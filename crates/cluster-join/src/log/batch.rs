//! Batches of the log file.
//!
//! ```text
//! file   = "5nlog\0\0\1"  batch...
//! batch  = magic:u32  length:u32  crc32:u32  number:u64  payload[length]      little endian
//! payload = hardstate  entry...          each a u32 length and a protobuf message
//! ```
//! The checksum covers number and payload. Numbers count up from 1 in each file, so that a
//! batch of an earlier life of a disk block is not taken for one of this file.

use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState};

/// The first bytes of every log file; the last is the format's version.
pub const HEADER: [u8; 8] = *b"5nlog\0\0\x01";
const MAGIC: u32 = 0x3562_4e9b;
const BATCH: usize = 20;
/// Longest batch that is believed. A rewritten log is one batch.
const MAX_BATCH: usize = 256 << 20;

/// A log that cannot be what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Damage {
    pub offset: usize,
    pub what: &'static str,
}

/// What a log file holds.
#[derive(Debug, Default)]
pub struct Recovered {
    pub hard_state: HardState,
    /// Without gaps, the later of two entries of one index.
    pub entries: Vec<Entry>,
    /// Number of the last batch.
    pub number: u64,
    /// Bytes that belong to whole batches; what follows was never acknowledged.
    pub length: usize,
}

/// The bytes a new log file starts with.
#[must_use]
pub fn header() -> Vec<u8> {
    HEADER.to_vec()
}

/// Appends one batch to `out`.
///
/// # Errors
/// The messages do not encode, or make more than a batch can hold.
pub fn encode(number: u64, hard_state: &HardState, entries: &[Entry], out: &mut Vec<u8>) -> anyhow::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; BATCH]);
    put(out, &hard_state.write_to_bytes()?)?;
    for entry in entries {
        put(out, &entry.write_to_bytes()?)?;
    }
    let length = out.len() - start - BATCH;
    anyhow::ensure!(length <= MAX_BATCH, "a batch of {length} bytes for the log");
    out[start + 12..start + 20].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 12..]);
    out[start..start + 4].copy_from_slice(&MAGIC.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> anyhow::Result<()> {
    out.extend_from_slice(&u32::try_from(bytes.len())?.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Reads a log file. A last batch that is not whole is left out (`length` says where it began);
/// one that is followed by a whole batch is damage, since that one was written after it was synced.
///
/// # Errors
/// [`Damage`], with the offset of what cannot be.
pub fn recover(bytes: &[u8]) -> Result<Recovered, Damage> {
    if !bytes.starts_with(&HEADER) {
        return Err(Damage { offset: 0, what: "not a log of this program and version" });
    }
    let mut recovered = Recovered { length: HEADER.len(), ..Recovered::default() };
    while recovered.length < bytes.len() {
        let offset = recovered.length;
        let number = recovered.number + 1;
        let Some(payload) = batch_at(&bytes[offset..], number) else {
            if later_batch(&bytes[offset..], number) {
                return Err(Damage { offset, what: "a damaged batch before intact ones" });
            }
            return Ok(recovered);
        };
        take(payload, &mut recovered).map_err(|what| Damage { offset, what })?;
        recovered.number = number;
        recovered.length += BATCH + payload.len();
    }
    Ok(recovered)
}

/// The payload of the whole batch that `bytes` begin with, if it is the one of this number.
fn batch_at(bytes: &[u8], number: u64) -> Option<&[u8]> {
    (read_number(bytes)? == number).then(|| whole_batch(bytes))?
}

fn whole_batch(bytes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if word(0)? != MAGIC {
        return None;
    }
    let (length, crc) = (word(4)? as usize, word(8)?);
    if length > MAX_BATCH {
        return None;
    }
    let checked = bytes.get(12..BATCH + length)?;
    (crc32fast::hash(checked) == crc).then(|| &checked[8..])
}

fn read_number(bytes: &[u8]) -> Option<u64> {
    bytes.get(12..20)?.try_into().ok().map(u64::from_le_bytes)
}

/// Whether a whole batch with a higher number than `number` begins anywhere behind.
fn later_batch(bytes: &[u8], number: u64) -> bool {
    let magic = MAGIC.to_le_bytes();
    (1..bytes.len()).any(|at| {
        bytes[at..].starts_with(&magic)
            && read_number(&bytes[at..]).is_some_and(|found| found > number)
            && whole_batch(&bytes[at..]).is_some()
    })
}

fn take(mut payload: &[u8], recovered: &mut Recovered) -> Result<(), &'static str> {
    let hard_state = part(&mut payload)?;
    recovered.hard_state = HardState::parse_from_bytes(hard_state).map_err(|_| "a hard state that does not parse")?;
    while !payload.is_empty() {
        let entry = part(&mut payload)?;
        let entry = Entry::parse_from_bytes(entry).map_err(|_| "an entry that does not parse")?;
        if let Some(first) = recovered.entries.first().map(|first| first.index) {
            let keep = entry.index.checked_sub(first).ok_or("an entry from before the log's beginning")?;
            recovered.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
        if let Some(last) = recovered.entries.last()
            && (last.index.checked_add(1) != Some(entry.index) || entry.term < last.term)
        {
            return Err("an entry that does not follow the one before it");
        }
        recovered.entries.push(entry);
    }
    Ok(())
}

fn part<'a>(payload: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let what = "a batch whose parts do not add up";
    let (length, rest) = payload.split_first_chunk::<4>().ok_or(what)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (part, rest) = rest.split_at_checked(length).ok_or(what)?;
    *payload = rest;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
        Entry { index, term, data: data.to_vec().into(), ..Entry::default() }
    }

    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut log = header();
        let mut ends = vec![log.len()];
        for number in 1..=4 {
            let hard = HardState { term: 1, vote: 2, commit: number - 1, ..HardState::default() };
            encode(number, &hard, &[entry(number, 1, b"payload")], &mut log).unwrap();
            ends.push(log.len());
        }
        (log, ends)
    }

    #[test]
    fn a_log_cut_at_any_length_keeps_its_whole_batches() {
        let (log, ends) = sample();
        for length in HEADER.len()..=log.len() {
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let recovered = recover(&log[..length]).unwrap();
            assert_eq!((recovered.number, recovered.entries.len()), (whole as u64, whole), "{length} bytes");
            assert_eq!(recovered.length, ends[whole]);
        }
        assert!(recover(&log[..HEADER.len() - 1]).is_err());
    }

    #[test]
    fn a_changed_bit_is_damage_in_the_middle_and_a_torn_tail_at_the_end() {
        let (log, ends) = sample();
        for at in HEADER.len()..log.len() {
            let mut changed = log.clone();
            changed[at] ^= 0x10;
            let batch = ends.iter().filter(|end| **end <= at).count();
            match recover(&changed) {
                Err(damage) => assert_eq!((damage.offset, batch < 4), (ends[batch - 1], true), "byte {at}"),
                Ok(recovered) => assert_eq!((recovered.number, batch), (3, 4), "byte {at}"),
            }
        }
    }

    #[test]
    fn zeros_behind_the_last_batch_are_a_torn_tail() {
        let (mut log, ends) = sample();
        log.extend_from_slice(&[0; 4096]);
        assert_eq!(recover(&log).unwrap().length, ends[4]);
    }

    #[test]
    fn a_later_entry_replaces_those_from_its_index_on() {
        let mut log = header();
        let entries: Vec<Entry> = (5..10).map(|index| entry(index, 1, b"old")).collect();
        encode(1, &HardState::default(), &entries, &mut log).unwrap();
        encode(2, &HardState::default(), &[entry(7, 2, b"new")], &mut log).unwrap();
        let recovered = recover(&log).unwrap();
        let got: Vec<_> = recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        assert_eq!(got, [(5, 1), (6, 1), (7, 2)]);
        encode(3, &HardState::default(), &[entry(9, 2, b"gap")], &mut log).unwrap();
        assert!(recover(&log).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(batches in proptest::collection::vec(proptest::collection::vec(any::<Vec<u8>>(), 0..4), 0..6)) {
            let mut log = header();
            let mut wanted = Vec::new();
            for (number, datas) in batches.iter().enumerate() {
                let first = wanted.len();
                wanted.extend(datas.iter().enumerate().map(|(at, data)| entry((first + at + 1) as u64, 3, data)));
                encode(number as u64 + 1, &HardState { term: 3, ..HardState::default() }, &wanted[first..], &mut log).unwrap();
            }
            let recovered = recover(&log).unwrap();
            prop_assert_eq!(recovered.entries, wanted);
            prop_assert_eq!(recovered.length, log.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = recover(&[&HEADER[..], &bytes].concat());
        }
    }
}
