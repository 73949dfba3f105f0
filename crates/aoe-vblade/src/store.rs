//! The file or block device behind a target: opened, claimed, measured, and how its writes become
//! durable.
//!
//! A block device is opened O_DIRECT, because its page cache is coherent neither with
//! device-mapper on this host nor with another host's, and each write is durable by itself: the
//! device takes many at a time. Regular files go through the page cache: reads gain from it, and
//! one flush makes all the writes durable that were done before it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nines_proto::aoe::SECTOR;
use nines_sys::blk::{self, Aligned};
use nines_sys::disk::read_cached;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{major, minor};

use crate::ata::Extent;

/// How long another holder of the claim may take to let go. udev holds a shared one for the
/// moment it looks at a device.
const CLAIM: Duration = Duration::from_secs(1);
/// A write to the page cache that takes longer has waited for the disk...
const QUICK: Duration = Duration::from_micros(500);
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
}

/// What the medium is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Medium {
    /// Exported sectors.
    pub sectors: u64,
    /// Sectors in a physical block, as a power of two.
    pub physical_exponent: u8,
    /// Whether it rotates, where the kernel knows.
    pub rotating: Option<bool>,
}

/// An open, claimed export.
#[derive(Debug)]
pub struct Store {
    file: Flock<File>,
    start: u64,
    /// Past the page cache.
    direct: bool,
    durability: Durability,
    /// The page cache can be asked without waiting for the disk.
    peeks: bool,
    /// Writes to the page cache have been found to wait for the disk; until then they are left to
    /// the background.
    slow_until: Option<Instant>,
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
        let mut flags = OFlag::empty();
        if device || opening.direct {
            flags |= OFlag::O_DIRECT;
        }
        let durability = match opening {
            Opening { write_back: true, .. } => Durability::None,
            Opening { sync: true, .. } => Durability::Synchronous,
            _ if flags.contains(OFlag::O_DIRECT) && std::env::var_os("AOE_GROUP").is_none() => Durability::Each,
            _ => Durability::Flush,
        };
        if durability == Durability::Synchronous && !opening.read_only {
            flags |= OFlag::O_SYNC;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(!opening.read_only).custom_flags(flags.bits());
        let file = options.open(&opening.path).map_err(|error| opened(&error)).with_context(what)?;
        let medium = measure(&file, device, opening).with_context(what)?;
        let file = claim(file, opening.read_only).with_context(what)?;
        let (direct, start) = (flags.contains(OFlag::O_DIRECT), opening.offset * SECTOR as u64);
        let store = Self { file, start, direct, durability, peeks: !direct, slow_until: None };
        if flags.contains(OFlag::O_DIRECT) {
            store.try_one_sector(medium.sectors).with_context(what)?;
        }
        Ok((store, medium))
    }

    /// Direct I/O may want larger blocks than AoE's sectors: better to know before a write does.
    fn try_one_sector(&self, sectors: u64) -> anyhow::Result<()> {
        let mut sector = Aligned::new(0, SECTOR);
        let last = Extent { first: sectors - 1, sectors: 1 };
        match self.file.read_exact_at(&mut sector, self.start + last.offset()) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                bail!("direct I/O in single sectors of 512 bytes, which AoE needs, is not possible here")
            }
            // An unreadable sector is the initiator's to find.
            _ => Ok(()),
        }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where an extent begins in the file, in bytes.
    #[must_use]
    pub fn position(&self, extent: Extent) -> u64 {
        self.start + extent.offset()
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

    /// Whether a flush is to make timestamps durable too.
    #[must_use]
    pub fn syncs_timestamps(&self) -> bool {
        self.durability == Durability::Synchronous
    }

    /// Fills `data` from the extent if the page cache has all of it. False leaves it to the
    /// background, and the finding out of what is wrong too.
    pub fn read_at_once(&mut self, extent: Extent, data: &mut [u8]) -> bool {
        if !self.peeks {
            return false;
        }
        match read_cached(self.file.as_fd(), data, self.start + extent.offset()) {
            Ok(bytes) => bytes == data.len(),
            Err(error) => {
                // A file system that cannot tell is not asked again.
                self.peeks = error.kind() != io::ErrorKind::Unsupported;
                false
            }
        }
    }

    /// Puts `data` into the page cache, where that is quick. None leaves it to the background.
    pub fn write_at_once(&mut self, extent: Extent, data: &[u8]) -> Option<io::Result<()>> {
        if self.direct || self.durability == Durability::Synchronous {
            return None;
        }
        let began = Instant::now();
        if self.slow_until.is_some_and(|until| began < until) {
            return None;
        }
        let result = self.file.write_all_at(data, self.start + extent.offset());
        self.slow_until = (began.elapsed() > QUICK).then(|| began + SLOW);
        Some(result)
    }
}

/// vblade's words for a failed open.
fn opened(error: &io::Error) -> anyhow::Error {
    anyhow::Error::msg(format!("open: {}", crate::reason(error)))
}

/// The size and shape, or why the export is refused.
fn measure(file: &File, device: bool, opening: &Opening) -> anyhow::Result<Medium> {
    let (mut physical_exponent, mut rotating) = (0, None);
    if device {
        let logical = blk::logical_block_size(file)?;
        if logical as usize > SECTOR {
            bail!("its blocks are {logical} bytes, AoE reads and writes single sectors of 512");
        }
        let number = file.metadata()?.rdev();
        if let Some(place) = in_use(number)? {
            bail!("{place}");
        }
        let exponent = (blk::physical_block_size(file)? / 512).checked_ilog2().unwrap_or(0);
        physical_exponent = u8::try_from(exponent).unwrap_or(0);
        rotating = rotates(number);
    }
    let all = blk::size(file)? / SECTOR as u64;
    if all == 0 {
        bail!("0-sector file size is too small");
    }
    if opening.offset >= all {
        bail!("Offset {} too large for {all}-sector export", opening.offset);
    }
    let left = all - opening.offset;
    let sectors = opening.length.unwrap_or(left);
    if sectors > left {
        bail!("Length {sectors} too big - exceeds size of file!");
    }
    Ok(Medium { sectors, physical_exponent, rotating })
}

/// Claims the export for one writer or any number of readers. Not O_EXCL: device-mapper of this
/// host may use the same device, beside the export.
fn claim(file: File, shared: bool) -> anyhow::Result<Flock<File>> {
    let (at_once, waiting) = if shared {
        (FlockArg::LockSharedNonblock, FlockArg::LockShared)
    } else {
        (FlockArg::LockExclusiveNonblock, FlockArg::LockExclusive)
    };
    let file = match Flock::lock(file, at_once) {
        Ok(claimed) => return Ok(claimed),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, errno)) => return Err(errno).context("flock"),
    };
    // flock(2) has no deadline, so another thread waits; refused, the process ends with it.
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(Flock::lock(file, waiting).map_err(|(_, errno)| errno)));
    match told.recv_timeout(CLAIM) {
        Ok(claimed) => claimed.context("flock"),
        Err(_) => bail!("claimed by another process (flock): is it exported already?"),
    }
}

/// Where the device is mounted or swapped on, if anywhere.
fn in_use(number: u64) -> io::Result<Option<String>> {
    let is_it = |path: &str| {
        let unescaped = path.replace("\\040", " ");
        fs::metadata(Path::new(&unescaped)).is_ok_and(|m| m.file_type().is_block_device() && m.rdev() == number)
    };
    let wanted = format!("{}:{}", major(number), minor(number));
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        // The source follows a separator; btrfs shows a number of its own in the third field.
        let source = fields.iter().position(|field| *field == "-").and_then(|at| fields.get(at + 2));
        if fields.get(2) == Some(&wanted.as_str()) || source.is_some_and(|path| is_it(path)) {
            return Ok(Some(format!("mounted on {}", fields.get(4).unwrap_or(&"?"))));
        }
    }
    // A kernel without swap has no such file.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swap = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(swap.into_iter().any(is_it).then(|| "in use as swap".to_owned()))
}

/// What the kernel says of the disk, or of the disk a partition is on.
fn rotates(number: u64) -> Option<bool> {
    let device = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let read = |path: &str| fs::read_to_string(Path::new(&device).join(path)).ok();
    match read("queue/rotational").or_else(|| read("../queue/rotational"))?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![0x5a; bytes]).unwrap();
        file
    }

    fn opening(file: &tempfile::NamedTempFile) -> Opening {
        Opening {
            path: file.path().to_owned(),
            offset: 0,
            length: None,
            read_only: false,
            direct: false,
            sync: false,
            write_back: false,
        }
    }

    fn refusal(opening: &Opening) -> String {
        format!("{:#}", Store::open(opening).unwrap_err()).replace(&opening.path.display().to_string(), "PATH")
    }

    #[test]
    fn offset_and_length_cut_out_a_window() {
        let file = file(10 * 512 + 100);
        let window = Opening { offset: 2, length: Some(3), ..opening(&file) };
        let (mut store, medium) = Store::open(&window).unwrap();
        assert_eq!(medium.sectors, 3);
        let extent = Extent { first: 1, sectors: 1 };
        assert_eq!(store.position(extent), 3 * 512);
        store.write_at_once(extent, &[7; 512]).unwrap().unwrap();
        let mut data = [0; 512];
        assert!(store.read_at_once(extent, &mut data));
        assert_eq!(data, [7; 512]);
        let bytes = fs::read(file.path()).unwrap();
        assert_eq!((bytes[3 * 512 - 1], bytes[3 * 512], bytes[4 * 512]), (0x5a, 7, 0x5a));
    }

    #[test]
    fn a_partial_last_sector_is_not_exported() {
        let (_, medium) = Store::open(&opening(&file(10 * 512 + 511))).unwrap();
        assert_eq!(medium.sectors, 10);
    }

    #[test]
    fn unfit_windows_are_refused_in_vblades_words() {
        let file = file(4 * 512);
        let table = [
            (Opening { offset: 4, ..opening(&file) }, "PATH: Offset 4 too large for 4-sector export"),
            (Opening { length: Some(5), ..opening(&file) }, "PATH: Length 5 too big - exceeds size of file!"),
            (
                Opening { offset: 3, length: Some(u64::MAX), ..opening(&file) },
                "PATH: Length 18446744073709551615 too big - exceeds size of file!",
            ),
            (Opening { path: "/nonexistent".into(), ..opening(&file) }, "PATH: open: No such file or directory"),
            (Opening { path: "/".into(), ..opening(&file) }, "PATHopen: Is a directory"),
            (Opening { path: "/dev/null".into(), ..opening(&file) }, "PATH: neither a regular file nor a block device"),
        ];
        for (opening, message) in table {
            let got = refusal(&opening);
            assert!(got == message || got.ends_with("open: Is a directory"), "{got}");
        }
        assert_eq!(refusal(&opening(&self::file(511))), "PATH: 0-sector file size is too small");
    }

    #[test]
    fn one_writer_or_many_readers() {
        let file = file(512);
        let reading = Opening { read_only: true, ..opening(&file) };
        let readers = (Store::open(&reading).unwrap(), Store::open(&reading).unwrap());
        assert!(refusal(&opening(&file)).contains("claimed by another process"));
        drop(readers);
        let writer = Store::open(&opening(&file)).unwrap();
        assert!(refusal(&opening(&file)).contains("claimed by another process"));
        assert!(refusal(&reading).contains("claimed by another process"));
        drop(writer);
        assert!(Store::open(&opening(&file)).is_ok());
    }

    #[test]
    fn a_claim_held_for_a_moment_is_waited_for() {
        let file = file(512);
        let brief = Store::open(&opening(&file)).unwrap();
        let (started, start) = mpsc::channel();
        let other = thread::spawn({
            let opening = opening(&file);
            move || {
                started.send(()).unwrap();
                Store::open(&opening).is_ok()
            }
        });
        start.recv().unwrap();
        drop(brief);
        assert!(other.join().unwrap());
    }
}
