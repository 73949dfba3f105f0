//! A file or block device of numbered records, written one after the other and each durable before
//! it is reported: what a guest must not lose, and what tells afterwards that it did not. On a
//! device the records end at the first sector that is none.
//!
//! ```text
//! offset  size
//!      0     8  "9RECORD\n"
//!      8     8  number, from 1, little-endian like the rest
//!     16     8  milliseconds since 1970
//!     24     8  milliseconds since the machine started
//!     32   476  its own number again and again, so that a page mixed from two writes shows
//!    508     4  CRC-32 of all that
//! ```

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nines_cli::{Exit, No, log};
use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::blocks;

pub const SIZE: usize = 512;
const MAGIC: &[u8; 8] = b"9RECORD\n";
const CRC_AT: usize = SIZE - 4;

/// Writes and checks files, or block devices, of numbered, durable records.
#[derive(Debug, Parser)]
#[command(name = "records", version, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Append records for ever, after the last good one; print each when it is durable.
    Write {
        file: PathBuf,
        /// Milliseconds between one record and the next.
        #[arg(long, value_name = "MS", default_value_t = 20)]
        interval_ms: u64,
    },
    /// Check that every record is there, in order and whole.
    Check {
        file: PathBuf,
        /// This record must be there.
        #[arg(long, value_name = "N", default_value_t = 0)]
        upto: u64,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write a new file of numbered blocks all over, checking what is read, until a file appears;
    /// print how many operations that were, now and then and at the end.
    Torture {
        file: PathBuf,
        /// Blocks of 4096 bytes.
        #[arg(long, value_name = "N", default_value_t = 2048)]
        blocks: u64,
        /// Of what is random.
        #[arg(long, value_name = "N")]
        seed: u64,
        /// End when there is such a file.
        #[arg(long, value_name = "FILE")]
        until: PathBuf,
    },
    /// Check all that `torture` wrote.
    Verify {
        file: PathBuf,
        /// As given to `torture`.
        #[arg(long, value_name = "N", default_value_t = 2048)]
        blocks: u64,
        /// As given to `torture`.
        #[arg(long, value_name = "N")]
        seed: u64,
        /// As printed by `torture` at its end.
        #[arg(long, value_name = "N")]
        operations: u64,
    },
    /// Write runs of numbered blocks past the page cache, printing each when it is acknowledged,
    /// and wait for lines on stdin so as not to be further ahead of `follow` than asked.
    Stamp {
        file: PathBuf,
        /// Use the first so many blocks of 4096 bytes.
        #[arg(long, value_name = "N", default_value_t = 64)]
        blocks: u64,
        /// The number of the first write.
        #[arg(long, value_name = "N", default_value_t = 1)]
        from: u64,
        /// How many to write.
        #[arg(long, value_name = "N", default_value_t = 300)]
        count: u64,
        /// How far ahead to be.
        #[arg(long, value_name = "N", default_value_t = 4)]
        ahead: u64,
    },
    /// Read each run that `stamp` prints, past the page cache; stale ones are an answer of no.
    Follow { file: PathBuf },
}

/// One record's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub number: u64,
    pub realtime_ms: u64,
    pub boottime_ms: u64,
}

impl Record {
    #[must_use]
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.realtime_ms.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.boottime_ms.to_le_bytes());
        for (byte, fill) in bytes[32..CRC_AT].iter_mut().zip(self.number.to_le_bytes().into_iter().cycle()) {
            *byte = fill;
        }
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The record in these bytes, none when it is torn.
    #[must_use]
    pub fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let record = Self { number: number(8)?, realtime_ms: number(16)?, boottime_ms: number(24)? };
        (record.encode() == *bytes).then_some(record)
    }
}

/// Where records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// They are all there is.
    File,
    /// Anything may follow.
    Device,
}

impl Place {
    fn of(file: &File) -> Result<Self> {
        Ok(if file.metadata()?.file_type().is_block_device() { Self::Device } else { Self::File })
    }
}

/// What a check found in a file that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many records there are, which is the number of the last.
    pub last: u64,
    /// The longest time between two records, and the number of the later one.
    pub gap_ms: u64,
    pub gap_at: u64,
    /// Bytes after the last record: a write that was not finished.
    pub torn_tail: u64,
}

/// Reads records to the end of the file.
///
/// # Errors
/// [`No`] naming the first record that is torn, missing or out of order.
pub fn check(file: impl Read, place: Place) -> Result<Summary> {
    let mut file = BufReader::with_capacity(256 * SIZE, file);
    let mut summary = Summary::default();
    let mut realtime = None;
    let mut bytes = [0; SIZE];
    loop {
        let length = fill(&mut file, &mut bytes)?;
        if length == 0 {
            break;
        }
        let wanted = summary.last + 1;
        let Some(record) = (length == SIZE).then(|| Record::decode(&bytes)).flatten() else {
            if place == Place::Device {
                break;
            }
            // Only the last write may be unfinished: nothing may follow.
            summary.torn_tail = length as u64;
            if fill(&mut file, &mut bytes)? != 0 {
                bail!(No(format!("record {wanted} is torn and more follows")));
            }
            break;
        };
        if record.number != wanted {
            bail!(No(format!("record {wanted} is missing: {} is in its place", record.number)));
        }
        let gap = realtime.map_or(0, |before| record.realtime_ms.saturating_sub(before));
        if gap > summary.gap_ms {
            (summary.gap_ms, summary.gap_at) = (gap, record.number);
        }
        realtime = Some(record.realtime_ms);
        summary.last = record.number;
    }
    Ok(summary)
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(length)
}

/// Appends records after the last good one until something fails.
///
/// # Errors
/// When a record cannot be made durable, or what is there already is not in order.
pub fn write(path: &Path, interval: Duration, mut out: impl Write) -> Result<()> {
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlag::O_DSYNC.bits())
        .open(path);
    let mut file = open.with_context(|| path.display().to_string())?;
    let place = Place::of(&file)?;
    let mut number = check(&file, place).with_context(|| path.display().to_string())?.last;
    file.seek(SeekFrom::Start(number * SIZE as u64))?;
    loop {
        number += 1;
        let record = Record { number, realtime_ms: realtime_ms()?, boottime_ms: boottime_ms()? };
        file.write_all(&record.encode()).with_context(|| format!("{}: record {number}", path.display()))?;
        writeln!(out, "record {number} {}", record.realtime_ms).and_then(|()| out.flush()).context("stdout")?;
        std::thread::sleep(interval);
    }
}

fn realtime_ms() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("clock")?;
    Ok(u64::try_from(now.as_millis())?)
}

fn boottime_ms() -> Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    Ok(u64::try_from(now.as_millis())?)
}

/// The program.
///
/// # Errors
/// [`No`] when a checked file is not in order.
pub fn main(args: Args) -> Result<Exit> {
    match args.command {
        Command::Write { file, interval_ms } => {
            write(&file, Duration::from_millis(interval_ms), std::io::stdout())?;
        }
        Command::Check { file, upto, json } => {
            let open = File::open(&file).with_context(|| file.display().to_string())?;
            let place = Place::of(&open)?;
            let summary = check(open, place).with_context(|| file.display().to_string())?;
            let Summary { last, gap_ms, gap_at, torn_tail } = summary;
            if json {
                println!(
                    "{}",
                    json!({"last": last, "count": last, "gap_ms": gap_ms, "gap_at": gap_at, "torn_tail": torn_tail})
                );
            } else {
                println!("last {last} count {last} gap_ms {gap_ms} gap_at {gap_at} torn_tail {torn_tail}");
            }
            if last < upto {
                bail!(No(format!("{}: record {upto} is missing: {last} is the last", file.display())));
            }
        }
        Command::Torture { file, blocks, seed, until } => {
            let tell = |done| writeln!(std::io::stdout(), "operations {done}").context("stdout");
            let more = |done: u64| {
                if done.is_multiple_of(20) {
                    tell(done)?;
                }
                Ok(!until.exists())
            };
            tell(blocks::torture(&file, blocks, seed, more)?)?;
            println!("done");
        }
        Command::Verify { file, blocks, seed, operations } => blocks::verify(&file, blocks, seed, operations)?,
        Command::Stamp { file, blocks, from, count, ahead } => {
            let generations = from..from.checked_add(count).context("--from: too large")?;
            blocks::stamp(&file, blocks, generations, ahead.max(1), std::io::stdin().lock())?;
        }
        Command::Follow { file } => {
            let (reads, stale) = blocks::follow(&file, std::io::stdin().lock(), std::io::stdout())?;
            log(format_args!("{}: {reads} reads, {stale} stale", file.display()));
            return Ok(if stale == 0 { Exit::Ok } else { Exit::No });
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let record = |number| Record { number, realtime_ms: 1000 + 20 * number, boottime_ms: 20 * number };
        numbers.into_iter().flat_map(|number| record(number).encode()).collect()
    }

    fn reason(bytes: &[u8]) -> String {
        let error = check(bytes, Place::File).unwrap_err();
        assert!(error.downcast_ref::<No>().is_some());
        error.to_string()
    }

    #[test]
    fn a_whole_file_is_in_order() {
        let mut bytes = file(1..=3);
        bytes.extend(Record { number: 4, realtime_ms: 1560, boottime_ms: 90 }.encode());
        assert_eq!(check(&bytes[..], Place::File).unwrap(), Summary { last: 4, gap_ms: 500, gap_at: 4, torn_tail: 0 });
        assert_eq!(check(&b""[..], Place::File).unwrap(), Summary::default());
    }

    #[test]
    fn a_torn_tail_is_no_loss() {
        let bytes = file(1..=3);
        for cut in 1..SIZE {
            let summary = check(&bytes[..2 * SIZE + cut], Place::File).unwrap();
            assert_eq!((summary.last, summary.torn_tail), (2, cut as u64));
        }
    }

    #[test]
    fn on_a_device_the_records_end_at_the_first_sector_that_is_none() {
        let mut bytes = file(1..=3);
        bytes.extend([0; 2 * SIZE]);
        bytes.extend(file(9..=9));
        assert_eq!(check(&bytes[..], Place::Device).unwrap().last, 3);
        assert_eq!(reason(&bytes), "record 4 is torn and more follows");
    }

    #[test]
    fn a_missing_record_is_found() {
        assert_eq!(reason(&file([1, 2, 4])), "record 3 is missing: 4 is in its place");
    }

    #[test]
    fn a_record_written_twice_is_found() {
        assert_eq!(reason(&file([1, 2, 2, 3])), "record 3 is missing: 2 is in its place");
    }

    #[test]
    fn records_out_of_order_are_found() {
        assert_eq!(reason(&file([1, 3, 2])), "record 2 is missing: 3 is in its place");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        for byte in 0..SIZE {
            let mut bytes = file(1..=3);
            bytes[SIZE + byte] ^= 4;
            assert_eq!(reason(&bytes), "record 2 is torn and more follows", "byte {byte}");
        }
    }

    #[test]
    fn a_writer_goes_on_after_the_last_good_record() {
        struct Until(u64);
        impl Write for Until {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::BrokenPipe)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut bytes = file(1..=3);
        bytes.truncate(2 * SIZE + 100);
        std::fs::write(&path, bytes).unwrap();
        write(&path, Duration::ZERO, Until(12)).unwrap_err();
        let summary = check(File::open(&path).unwrap(), Place::File).unwrap();
        assert!(summary.last > 3);
        assert_eq!(summary.torn_tail, 0);
    }
}
