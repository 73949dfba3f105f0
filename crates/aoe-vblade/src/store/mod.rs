//! The file or block device behind a target: opened, claimed, measured, and how its writes become
//! durable.
//!
//! A block device is opened O_DIRECT, because its page cache is coherent neither with
//! device-mapper on this host nor with another host's. A regular file is read through the page
//! cache and written past it: the disk then takes many durable writes at a time, which the page
//! cache makes wait for each other, and the kernel drops what it has cached of them. Where a file
//! system knows no direct I/O in single sectors, one flush makes all the writes durable that were
//! done before it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nines_proto::aoe::SECTOR;
use nines_sys::blk::Aligned;
use nines_sys::disk::{Part, read_now, write_now};
use nines_sys::frames::Frames;
use nix::errno::Errno;
use nix::fcntl::{Flock, OFlag};

mod claim;
mod medium;

pub use medium::Medium;

/// What takes longer has waited for the disk, or for the processor on a busy machine...
const QUICK: Duration = Duration::from_micros(500);
/// ...but so many in a row have waited for the disk...
const SLOW_ONES: u32 = 4;
/// ...and so will others for a while.
const SLOW: Duration = Duration::from_secs(1);

/// What to export, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// A regular file or block device.
    pub path: PathBuf,
    /// Sectors to leave out at the beginning.
    pub offset: u64,
    /// Sectors to export; all that are left when not given.
    pub length: Option<u64>,
    /// No writes.
    pub read_only: bool,
    /// O_DIRECT for a regular file too.
    pub direct: bool,
    /// O_SYNC rather than O_DSYNC: timestamps too.
    pub sync: bool,
    /// Answer writes before they are durable.
    pub write_back: bool,
    /// O_EXCL for a block device: not even device-mapper of this host may have it.
    pub exclusive: bool,
}

/// An open, claimed export.
#[derive(Debug)]
pub struct Store {
    file: Flock<File>,
    /// The same file past the page cache, for writes, when `file` is not.
    past_cache: Option<File>,
    start: u64,
    direct: bool,
    durability: Durability,
    /// The page cache can be asked without waiting for the disk.
    peeks: bool,
    /// The page cache has been found to wait for the disk; until then it is left to the background.
    slow_until: Option<Instant>,
    /// How many in a row were not quick.
    slow_ones: u32,
}

/// When a write may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// At once.
    None,
    /// When a flush has followed it.
    Flush,
    /// When it is done, since the write itself is durable.
    Each,
    /// The same, by the descriptor's O_SYNC.
    Synchronous,
}

impl Store {
    /// Opens, claims and measures the export.
    ///
    /// # Errors
    /// Anything that makes it unfit, named in vblade's words where vblade has them.
    pub fn open(opening: &Opening) -> anyhow::Result<(Self, Medium)> {
        let what = || opening.path.display().to_string();
        let kind = fs::metadata(&opening.path).map_err(|error| opened(&error)).with_context(what)?.file_type();
        if kind.is_dir() {
            return Err(opened(&Errno::EISDIR.into())).with_context(what);
        }
        if !kind.is_file() && !kind.is_block_device() {
            bail!("{}: neither a regular file nor a block device", what());
        }
        let device = kind.is_block_device();
        let direct = device || opening.direct;
        let mut flags = if opening.sync && !opening.read_only { OFlag::O_SYNC } else { OFlag::empty() };
        flags.set(OFlag::O_DIRECT, direct);
        // On a regular file it would mean another thing.
        flags.set(OFlag::O_EXCL, device && opening.exclusive);
        let mut options = OpenOptions::new();
        options.read(true).write(!opening.read_only).custom_flags(flags.bits());
        let file = options.open(&opening.path).map_err(|error| opened(&error)).with_context(what)?;
        let medium = medium::measure(&file, device, opening).with_context(what)?;
        let file = claim::claim(file, opening.read_only).with_context(what)?;
        let start = opening.offset * SECTOR as u64;
        let last = start + (medium.sectors - 1) * SECTOR as u64;
        let mut past_cache = None;
        if direct && !takes_sectors(&file, last) {
            let refusal = "direct I/O in single sectors of 512 bytes, which AoE needs, is not possible here";
            return Err(anyhow::Error::msg(refusal)).with_context(what);
        } else if !direct && !opening.read_only && !opening.write_back {
            // By its descriptor: the path may lead to another file by now.
            options.custom_flags((flags | OFlag::O_DIRECT).bits());
            let same = options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
            past_cache = same.filter(|file| takes_sectors(file, last));
        }
        let durability = match opening {
            Opening { write_back: true, .. } => Durability::None,
            Opening { sync: true, .. } => Durability::Synchronous,
            _ if direct || past_cache.is_some() => Durability::Each,
            _ => Durability::Flush,
        };
        let store =
            Self { file, past_cache, start, direct, durability, peeks: !direct, slow_until: None, slow_ones: 0 };
        Ok((store, medium))
    }

    /// The medium as it is now.
    ///
    /// # Errors
    /// It does not fit the way it was opened any more.
    pub fn measure(&self, opening: &Opening) -> anyhow::Result<Medium> {
        let device = self.file.metadata()?.file_type().is_block_device();
        medium::measure(&self.file, device, opening)
    }

    /// The open file, for reads and flushes.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The open file, for writes in the background.
    #[must_use]
    pub fn file_to_write(&self) -> BorrowedFd<'_> {
        self.past_cache.as_ref().map_or(self.file(), File::as_fd)
    }

    /// Where an exported sector is in the file, in bytes.
    #[must_use]
    pub fn position(&self, sector: u64) -> u64 {
        self.start + sector * SECTOR as u64
    }

    /// Whether each write is to be made durable by itself.
    #[must_use]
    pub fn commits_each(&self) -> bool {
        self.durability == Durability::Each
    }

    /// Whether a write is durable only after a flush.
    #[must_use]
    pub fn commits_groups(&self) -> bool {
        self.durability == Durability::Flush
    }

    /// Whether a read or a write has to wait for the disk in any case.
    #[must_use]
    pub fn asks_the_disk(&self, writes: bool) -> bool {
        let each = matches!(self.durability, Durability::Each | Durability::Synchronous);
        self.direct || writes && each
    }

    /// Whether a flush is to make timestamps durable too.
    #[must_use]
    pub fn syncs_timestamps(&self) -> bool {
        self.durability == Durability::Synchronous
    }

    /// Fills these parts from the file where that is quick: the page cache has it. False leaves it to
    /// the background, and the finding out of what is wrong too.
    pub fn read_at_once(&mut self, frames: &mut Frames, parts: &[Part], offset: u64) -> bool {
        if self.direct {
            return false;
        }
        let all = length(parts);
        if self.peeks {
            match read_now(self.file.as_fd(), frames, parts, offset, false) {
                Ok(bytes) => return bytes == all,
                Err(error) if error.raw_os_error() != Some(Errno::EOPNOTSUPP as i32) => return false,
                // A file system that cannot tell, such as tmpfs, is not asked again.
                Err(_) => self.peeks = false,
            }
        }
        self.quickly(|file| read_now(file.as_fd(), frames, parts, offset, true)).is_some_and(|bytes| bytes == all)
    }

    /// Puts these parts into the page cache, where that is quick. False leaves it to the background,
    /// as above.
    pub fn write_at_once(&mut self, frames: &Frames, parts: &[Part], offset: u64) -> bool {
        if self.asks_the_disk(true) {
            return false;
        }
        self.quickly(|file| write_now(file.as_fd(), frames, parts, offset)).is_some_and(|bytes| bytes == length(parts))
    }

    /// Does something that may wait for the disk, unless it did so a moment ago. The bytes moved, if
    /// nothing went wrong.
    fn quickly(&mut self, work: impl FnOnce(&File) -> io::Result<usize>) -> Option<usize> {
        let began = Instant::now();
        if self.slow_until.is_some_and(|until| began < until) {
            return None;
        }
        let result = work(&self.file);
        self.slow_ones = if began.elapsed() > QUICK { self.slow_ones + 1 } else { 0 };
        self.slow_until = (self.slow_ones >= SLOW_ONES).then(|| began + SLOW);
        result.ok()
    }
}

fn length(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.range.len()).sum()
}

/// vblade's words for a failed open.
fn opened(error: &io::Error) -> anyhow::Error {
    anyhow::Error::msg(format!("open: {}", crate::reason(error)))
}

/// Whether direct I/O is possible in single sectors; better to know before a write does.
fn takes_sectors(file: &File, offset: u64) -> bool {
    let mut sector = Aligned::new(0, SECTOR);
    let read = file.read_exact_at(&mut sector, offset);
    // An unreadable sector is the initiator's to find.
    read.err().and_then(|error| error.raw_os_error()) != Some(Errno::EINVAL as i32)
}

#[cfg(test)]
mod tests;
