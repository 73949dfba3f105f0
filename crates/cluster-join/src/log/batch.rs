//! Batches of the log file.
//!
//! ```text
//! file    = header  sector...             header = "5nlog\0\0\2", zeros; both 512 bytes
//! sector  = crc32:u32  length:u32  number:u64  at:u32  data[492]       little endian
//! payload = hardstate  entry...           each a u32 length and a protobuf message
//! ```
//! A batch is its payload of `length` bytes, cut into the data of as many sectors as that takes,
//! the last one filled with zeros. Every sector says which batch it is of and which place it has
//! there, and its checksum covers all behind it. Numbers of batches count up from 1 in each file, so
//! that a sector of an earlier life of a disk block is not taken for one of this file.
//!
//! # A last batch that is not whole
//!
//! Either a crash interrupted its write: then nothing in it was promised to anybody, and it is cut
//! off. Or it was written, and acknowledged, and has spoiled since: then cutting it off would forget
//! a vote or an entry that this node promised to remember, and the file is refused. What tells them
//! apart is what an interrupted write can leave behind. A disk writes a sector whole or not at
//! all, in any order, and a file has zeros, or its end, where nothing was written. So of the last
//! batch each sector is whole, or zeros, or behind the end of the file; one that is anything else
//! has spoiled. No sector is shared by two batches, so that an interrupted write spoils no earlier
//! one.
//!
//! Having every node with an odd end of its log catch up before it votes would need no such
//! reasoning, but a cluster whose hosts all lose their power in the middle of a write would never
//! have a leader again. A mark of what was acknowledged would have to be durable before the
//! acknowledgement, and cost each of them a second wait for the disk. A disk that reads zeros
//! where it said that it had written is not noticed in the last batch; anywhere else it is.

use protobuf::{CodedOutputStream, Message};
use raft::eraftpb::{Entry, HardState};

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// The first bytes of every log file; the last one is the format's version.
const MAGIC: [u8; 8] = *b"5nlog\0\0\x02";
/// The first sector of every log file.
pub const HEADER: [u8; SECTOR] = {
    let mut header = [0; SECTOR];
    let (magic, _) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    header
};
/// Bytes before a sector's data.
const FRONT: usize = 20;
const DATA: usize = SECTOR - FRONT;
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
    let mut payload = Vec::new();
    put(&mut payload, hard_state)?;
    for entry in entries {
        put(&mut payload, entry)?;
    }
    anyhow::ensure!(payload.len() <= MAX_BATCH, "a batch of {} bytes for the log", payload.len());
    let length = u32::try_from(payload.len())?;
    out.reserve(payload.len().div_ceil(DATA) * SECTOR);
    for (at, data) in payload.chunks(DATA).enumerate() {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&u32::try_from(at)?.to_le_bytes());
        out.extend_from_slice(data);
        out.resize(start + SECTOR, 0);
        let crc = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, message: &impl Message) -> anyhow::Result<()> {
    let length = message.compute_size();
    out.reserve(4 + length as usize);
    out.extend_from_slice(&length.to_le_bytes());
    let mut stream = CodedOutputStream::vec(out);
    message.write_to_with_cached_sizes(&mut stream)?;
    Ok(stream.flush()?)
}

/// Reads a log file. A last batch whose write was interrupted is left out (`length` says where it
/// began).
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
        let Some((payload, length)) = batch(&bytes[offset..], number) else {
            unfinished(&bytes[offset..], number).map_err(|(at, what)| Damage { offset: offset + at, what })?;
            return Ok(recovered);
        };
        take(&payload, &mut recovered).map_err(|what| Damage { offset, what })?;
        recovered.number = number;
        recovered.length += length;
    }
    Ok(recovered)
}

/// What a sector says about itself, if its checksum is right.
struct Sector<'a> {
    length: usize,
    number: u64,
    at: usize,
    data: &'a [u8],
}

fn sector(bytes: &[u8]) -> Option<Sector<'_>> {
    let word = |at: usize| bytes[at..].first_chunk().copied().map(u32::from_le_bytes);
    if bytes.len() != SECTOR || word(0)? != crc32fast::hash(&bytes[4..]) {
        return None;
    }
    let number = u64::from_le_bytes(*bytes[8..].first_chunk()?);
    Some(Sector { length: word(4)? as usize, number, at: word(16)? as usize, data: &bytes[FRONT..] })
}

/// The payload of the whole batch of this number that `bytes` begin with, and how many of them
/// it is.
fn batch(bytes: &[u8], number: u64) -> Option<(Vec<u8>, usize)> {
    let Sector { length, .. } = sector(bytes.get(..SECTOR)?)?;
    let count = length.div_ceil(DATA);
    if length > MAX_BATCH || bytes.len() / SECTOR < count {
        return None;
    }
    let mut payload = Vec::with_capacity(count * DATA);
    for (place, bytes) in bytes.chunks(SECTOR).take(count).enumerate() {
        let found = sector(bytes)?;
        if (found.number, found.at, found.length) != (number, place, length) {
            return None;
        }
        payload.extend_from_slice(found.data);
    }
    payload.truncate(length);
    Some((payload, count * SECTOR))
}

/// Whether all of `bytes` can be what an interrupted write of the batch left; otherwise where
/// that cannot be, and why.
fn unfinished(bytes: &[u8], number: u64) -> Result<(), (usize, &'static str)> {
    for (place, bytes) in bytes.chunks(SECTOR).enumerate() {
        let what = match sector(bytes) {
            _ if bytes.len() < SECTOR || bytes.iter().all(|byte| *byte == 0) => continue,
            Some(sector) if (sector.number, sector.at) == (number, place) => continue,
            Some(sector) if sector.number > number => "a batch that is there behind one that is not whole",
            Some(_) => "a sector that belongs elsewhere",
            None => "a sector that was written and has changed since",
        };
        return Err((place * SECTOR, what));
    }
    Ok(())
}

fn take(payload: &[u8], recovered: &mut Recovered) -> Result<(), &'static str> {
    let mut payload = payload;
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

    /// Four batches of one, three, one and four sectors, and where each ends.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut log = header();
        let mut ends = vec![log.len()];
        for (number, length) in [(1, 7), (2, 1200), (3, 0), (4, 1600)] {
            let hard = HardState { term: 1, vote: 2, commit: number - 1, ..HardState::default() };
            let data: Vec<u8> = (1..=250).cycle().take(length).collect();
            encode(number, &hard, &[entry(number, 1, &data)], &mut log).unwrap();
            ends.push(log.len());
        }
        assert_eq!(ends, [1, 2, 5, 6, 10].map(|sectors| sectors * SECTOR));
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
    fn a_changed_bit_is_damage_wherever_it_is() {
        let (log, _) = sample();
        for at in 0..log.len() {
            for bit in 0..8 {
                let mut changed = log.clone();
                changed[at] ^= 1 << bit;
                let damage = recover(&changed).unwrap_err();
                assert_eq!(damage.offset, at / SECTOR * SECTOR, "byte {at} bit {bit}: {damage}");
            }
        }
    }

    #[test]
    fn sectors_of_the_last_batch_that_were_not_written_are_a_write_that_a_crash_interrupted() {
        let (log, ends) = sample();
        for missing in 1..16 {
            let mut torn = log.clone();
            for sector in (0..4).filter(|sector| missing & (1 << sector) != 0) {
                torn[ends[3] + sector * SECTOR..][..SECTOR].fill(0);
            }
            let recovered = recover(&torn).unwrap();
            assert_eq!((recovered.number, recovered.length), (3, ends[3]), "without {missing:#b}");
            // The same with one that was written and has spoiled.
            if let Some(kept) = (0..4).find(|sector| missing & (1 << sector) == 0) {
                torn[ends[3] + kept * SECTOR + 300] ^= 1;
                assert_eq!(recover(&torn).unwrap_err().offset, ends[3] + kept * SECTOR, "without {missing:#b}");
            }
        }
    }

    #[test]
    fn sectors_before_the_last_batch_that_were_not_written_are_damage() {
        let (log, ends) = sample();
        for sector in 1..ends[3] / SECTOR {
            let mut lost = log.clone();
            lost[sector * SECTOR..][..SECTOR].fill(0);
            assert!(recover(&lost).is_err(), "sector {sector}");
        }
    }

    #[test]
    fn a_sector_in_the_place_of_another_is_damage() {
        let (log, _) = sample();
        let count = log.len() / SECTOR;
        for (from, to) in (1..count).flat_map(|from| (1..count).map(move |to| (from, to))) {
            let mut misplaced = log.clone();
            misplaced.copy_within(from * SECTOR..(from + 1) * SECTOR, to * SECTOR);
            assert_eq!(recover(&misplaced).is_err(), from != to, "{from} over {to}");
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
