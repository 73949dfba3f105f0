//! Blocks that say what they are: which sector, and of which write. A file of them that is written
//! all over shows a write that was lost, torn, or undone by an older one; a disk two hosts see
//! shows whether they see the same.
//!
//! ```text
//! offset  size
//!      0     8  "9SECTOR\n"
//!      8     8  number of the sector, little-endian like the rest
//!     16     8  generation: the number of the write, from 1
//!     24   484  the generation again and again
//!    508     4  CRC-32 of all that
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nines_cli::No;
use nix::fcntl::OFlag;

const SECTOR: usize = 512;
/// What is written at once at least.
const BLOCK: usize = 4096;
/// The most blocks of one operation.
const RUN: u64 = 16;
const MAGIC: &[u8; 8] = b"9SECTOR\n";
const CRC_AT: usize = SECTOR - 4;

/// One sector's contents.
fn encode(sector: u64, generation: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&sector.to_le_bytes());
    for (byte, fill) in bytes[16..CRC_AT].iter_mut().zip(generation.to_le_bytes().into_iter().cycle()) {
        *byte = fill;
    }
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The generation of a sector, 0 for one never written; none when it is torn or another's.
fn decode(sector: u64, bytes: &[u8]) -> Option<u64> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(0);
    }
    let generation = u64::from_le_bytes(*bytes.get(16..)?.first_chunk()?);
    (encode(sector, generation) == bytes).then_some(generation)
}

/// Blocks that lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blocks {
    first: u64,
    count: u64,
}

impl Blocks {
    fn each(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }

    fn offset(self) -> u64 {
        self.first * BLOCK as u64
    }

    fn bytes(self) -> Result<usize> {
        ensure!((1..=RUN).contains(&self.count), "{} blocks at once", self.count);
        Ok(usize::try_from(self.count)? * BLOCK)
    }

    fn first_sector(self) -> u64 {
        self.first * (BLOCK / SECTOR) as u64
    }
}

/// Memory where O_DIRECT wants it.
#[derive(Debug)]
struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let room = usize::try_from(RUN).unwrap_or_default() * BLOCK;
        let memory = vec![0; room + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start }
    }

    fn write(&mut self, file: &File, blocks: Blocks, generation: u64) -> Result<()> {
        let bytes = self.memory.get_mut(self.start..self.start + blocks.bytes()?).context("no room")?;
        for (sector, bytes) in (blocks.first_sector()..).zip(bytes.chunks_exact_mut(SECTOR)) {
            bytes.copy_from_slice(&encode(sector, generation));
        }
        file.write_all_at(bytes, blocks.offset()).with_context(|| format!("write of block {}", blocks.first))
    }

    /// Each sector's generation, or none when it is torn.
    fn read(&mut self, file: &File, blocks: Blocks) -> Result<impl Iterator<Item = Option<u64>>> {
        let bytes = self.memory.get_mut(self.start..self.start + blocks.bytes()?).context("no room")?;
        // What a read does not fill must not look like what was read before.
        bytes.fill(0xff);
        file.read_exact_at(bytes, blocks.offset()).with_context(|| format!("read of block {}", blocks.first))?;
        Ok((blocks.first_sector()..).zip(bytes.chunks_exact(SECTOR)).map(|(sector, bytes)| decode(sector, bytes)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write { blocks: Blocks, direct: bool },
    Read(Blocks),
    Flush,
}

/// The operations of a seed, for ever.
#[derive(Debug, Clone)]
struct Plan {
    random: u64,
    blocks: u64,
}

impl Plan {
    fn new(seed: u64, blocks: u64) -> Result<Self> {
        ensure!((RUN..=1 << 24).contains(&blocks), "{blocks} blocks: not from {RUN} to 16777216");
        Ok(Self { random: seed, blocks })
    }

    /// splitmix64: the same on every machine.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn next(&mut self) -> Operation {
        let kind = self.below(16);
        // Most are short, some take many frames.
        let count = 1 << self.below(5);
        let blocks = Blocks { first: self.below(self.blocks - count + 1), count };
        match kind {
            0..8 => Operation::Write { blocks, direct: self.below(2) == 0 },
            8..15 => Operation::Read(blocks),
            _ => Operation::Flush,
        }
    }
}

/// What every block has to be.
#[derive(Debug)]
struct Model(Vec<u64>);

impl Model {
    fn new(blocks: u64) -> Result<Self> {
        Ok(Self(vec![0; usize::try_from(blocks)?]))
    }

    fn wrote(&mut self, blocks: Blocks, generation: u64) -> Result<()> {
        for block in blocks.each() {
            *self.0.get_mut(usize::try_from(block)?).context("no such block")? = generation;
        }
        Ok(())
    }

    fn check(&self, blocks: Blocks, found: impl Iterator<Item = Option<u64>>) -> Result<()> {
        let sectors = BLOCK / SECTOR;
        for (at, found) in found.enumerate() {
            let block = blocks.first + (at / sectors) as u64;
            let wanted = *self.0.get(usize::try_from(block)?).context("no such block")?;
            if found != Some(wanted) {
                let found =
                    found.map_or_else(|| "torn or of another place".to_owned(), |found| format!("write {found}"));
                bail!(No(format!("block {block}, sector {} of it: {found} instead of write {wanted}", at % sectors)));
            }
        }
        Ok(())
    }
}

fn open(path: &Path, direct: bool, new: bool) -> Result<File> {
    let flags = if direct { OFlag::O_DIRECT.bits() } else { 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(new).custom_flags(flags);
    options.open(path).with_context(|| path.display().to_string())
}

fn open_to_read(path: &Path) -> Result<File> {
    let open = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path);
    open.with_context(|| path.display().to_string())
}

/// Writes a new file all over, through the page cache and past it, and checks what it reads past
/// it, while `more` says so of the operations done; returns how many they were.
///
/// # Errors
/// [`No`] when a read found what is not so.
pub fn torture(path: &Path, blocks: u64, seed: u64, mut more: impl FnMut(u64) -> Result<bool>) -> Result<u64> {
    let mut plan = Plan::new(seed, blocks)?;
    let cached = open(path, false, true)?;
    cached.set_len(blocks * BLOCK as u64).with_context(|| path.display().to_string())?;
    run(&mut plan, &cached, &open(path, true, false)?, &mut more).with_context(|| path.display().to_string())
}

fn run(plan: &mut Plan, cached: &File, direct: &File, more: &mut impl FnMut(u64) -> Result<bool>) -> Result<u64> {
    let mut model = Model::new(plan.blocks)?;
    let mut buffer = Buffer::new();
    let mut done = 0;
    while more(done)? {
        match plan.next() {
            Operation::Write { blocks, direct: past } => {
                buffer.write(if past { direct } else { cached }, blocks, done + 1)?;
                model.wrote(blocks, done + 1)?;
            }
            Operation::Read(blocks) => model.check(blocks, buffer.read(direct, blocks)?)?,
            Operation::Flush => cached.sync_all().context("fsync")?,
        }
        done += 1;
    }
    cached.sync_all().context("fsync")?;
    Ok(done)
}

/// Checks a whole file that [`torture`] left after so many operations.
///
/// # Errors
/// [`No`] naming the first block that is wrong.
pub fn verify(path: &Path, blocks: u64, seed: u64, operations: u64) -> Result<()> {
    check(&open_to_read(path)?, Plan::new(seed, blocks)?, operations).with_context(|| path.display().to_string())
}

fn check(file: &File, mut plan: Plan, operations: u64) -> Result<()> {
    let mut model = Model::new(plan.blocks)?;
    for generation in 1..=operations {
        if let Operation::Write { blocks, .. } = plan.next() {
            model.wrote(blocks, generation)?;
        }
    }
    let mut buffer = Buffer::new();
    for first in (0..plan.blocks).step_by(usize::try_from(RUN)?) {
        let blocks = Blocks { first, count: RUN.min(plan.blocks - first) };
        model.check(blocks, buffer.read(file, blocks)?)?;
    }
    Ok(())
}

/// Writes so many runs of a disk's first blocks past the page cache, says which when each is
/// acknowledged, and is at most `ahead` of the lines that come back.
///
/// # Errors
/// A write fails, or nothing comes back any more.
pub fn stamp(
    path: &Path,
    blocks: u64,
    generations: std::ops::Range<u64>,
    ahead: u64,
    back: impl BufRead,
) -> Result<()> {
    let file = open(path, true, false)?;
    let mut plan = Plan::new(generations.start, blocks)?;
    let mut buffer = Buffer::new();
    let (mut back, mut waiting) = (back.lines(), 0);
    let mut wait = || back.next().context("the reader has ended")?.context("stdin");
    for generation in generations {
        if waiting == ahead {
            wait()?;
            waiting -= 1;
        }
        let count = 1 + plan.below(RUN / 2);
        let blocks = Blocks { first: plan.below(plan.blocks - count + 1), count };
        buffer.write(&file, blocks, generation).with_context(|| path.display().to_string())?;
        say(io::stdout(), blocks, generation)?;
        waiting += 1;
    }
    for _ in 0..waiting {
        wait()?;
    }
    Ok(())
}

/// Reads past the page cache what each line says was written, and answers with the oldest write it
/// found there; returns how many reads there were and how many of them found an older one.
///
/// # Errors
/// A read fails, or a line is not one of [`stamp`]'s.
pub fn follow(path: &Path, lines: impl BufRead, mut out: impl Write) -> Result<(u64, u64)> {
    let file = open_to_read(path)?;
    let mut buffer = Buffer::new();
    let (mut reads, mut stale) = (0, 0);
    for line in lines.lines() {
        let line = line.context("stdin")?;
        let numbers: Option<Vec<u64>> = line.split(' ').map(|number| number.parse().ok()).collect();
        let Some([first, count, generation]) = numbers.as_deref().and_then(<[u64]>::first_chunk) else {
            bail!("stdin: `{line}': not a block, a count and a generation");
        };
        let blocks = Blocks { first: *first, count: *count };
        let found = buffer.read(&file, blocks).with_context(|| path.display().to_string())?;
        // What was there before the first write is as old as can be.
        let oldest = found.map(Option::unwrap_or_default).min().unwrap_or_default();
        reads += 1;
        stale += u64::from(oldest < *generation);
        say(&mut out, blocks, oldest)?;
    }
    Ok((reads, stale))
}

fn say(mut out: impl Write, Blocks { first, count }: Blocks, generation: u64) -> Result<()> {
    writeln!(out, "{first} {count} {generation}").and_then(|()| out.flush()).context("stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u64 = 64;

    /// A file after so many operations, and what they are a plan of.
    fn file(seed: u64, operations: u64) -> (File, Plan) {
        let plan = Plan::new(seed, BLOCKS).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(BLOCKS * BLOCK as u64).unwrap();
        let done = run(&mut plan.clone(), &file, &file, &mut |done| Ok(done < operations)).unwrap();
        assert_eq!(done, operations);
        (file, plan)
    }

    #[test]
    fn a_file_is_what_its_seed_and_its_operations_make_it() {
        let (file, plan) = file(7, 200);
        check(&file, plan.clone(), 200).unwrap();
        let last = (1..=200).rev().find(|at| {
            let mut plan = plan.clone();
            (1..*at).for_each(|_| {
                plan.next();
            });
            matches!(plan.next(), Operation::Write { .. })
        });
        let error = check(&file, plan, last.unwrap() - 1).unwrap_err();
        assert!(error.downcast_ref::<No>().is_some());
        assert!(check(&file, Plan::new(8, BLOCKS).unwrap(), 200).is_err());
    }

    #[test]
    fn a_lost_write_and_a_flipped_bit_are_found() {
        let (file, plan) = file(7, 200);
        for block in 0..BLOCKS {
            let mut was = [0; SECTOR];
            let offset = block * BLOCK as u64 + 3 * SECTOR as u64;
            file.read_exact_at(&mut was, offset).unwrap();
            file.write_all_at(&encode(block * 8 + 3, 201), offset).unwrap();
            let error = check(&file, plan.clone(), 200).unwrap_err().to_string();
            assert!(error.starts_with(&format!("block {block}, sector 3 of it: write 201 instead of")), "{error}");
            let mut flipped = was;
            flipped[100] ^= 1;
            file.write_all_at(&flipped, offset).unwrap();
            let error = check(&file, plan.clone(), 200).unwrap_err().to_string();
            assert!(error.contains("sector 3 of it: torn"), "{error}");
            file.write_all_at(&was, offset).unwrap();
        }
    }

    #[test]
    fn a_sector_in_another_place_is_not_that_sector() {
        assert_eq!(decode(5, &encode(5, 9)), Some(9));
        assert_eq!(decode(6, &encode(5, 9)), None);
        assert_eq!(decode(6, &[0; SECTOR]), Some(0));
    }

    #[test]
    fn a_run_reads_what_it_wrote_or_ends() {
        let mut plan = Plan::new(1, BLOCKS).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(BLOCKS * BLOCK as u64).unwrap();
        let other = tempfile::tempfile().unwrap();
        other.set_len(BLOCKS * BLOCK as u64).unwrap();
        // Reads and half of the writes go to another file than the other half.
        let error = run(&mut plan, &other, &file, &mut |done| Ok(done < 1000)).unwrap_err();
        assert!(error.to_string().contains("instead of write"), "{error}");
    }
}
