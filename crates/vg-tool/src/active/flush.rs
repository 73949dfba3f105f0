//! Why a clustered volume takes flushes on every host, whichever disk it lies on there.
//!
//! A host's own disk has a write cache; the same disk seen over AoE has none, since its target
//! answers when a write is durable. A Xen guest learns from its back end whether to send flushes,
//! and Linux's front end fails those that were under way when it moves to a back end that takes
//! none (`blkif_request_flush_invalid` in drivers/block/xen-blkfront.c). To a guest that mirrors
//! its volumes that is a failed disk, and it has lost one half by moving.
//!
//! So an area without a write cache is mapped by the target `delay`, with delays of zero. That
//! target passes reads and writes on as `linear` does, and takes a third device for flushes: the
//! sink, a loop device over a sparse file in memory, which calls every flush done. That is the
//! truth: the area has nothing to flush. Nothing but flushes ever goes to it, and it cannot fail
//! as another disk could.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::dev::Device;

/// In memory, as all of /run: a flush of it is done at once.
const FILE: &str = "/run/lvm/flush-sink";
/// Longer than any volume, for device-mapper wants a device as long as what it stands for. The
/// file is sparse and stays so.
const LENGTH: u64 = 1 << 50;

/// Whether the kernel sends flushes to the device: a partition's queue is its disk's.
pub fn has_write_cache(device: &Device) -> bool {
    ["queue/write_cache", "../queue/write_cache"]
        .iter()
        .find_map(|file| fs::read_to_string(device.sysfs.join(file)).ok())
        .is_some_and(|text| text.trim() == "write back")
}

/// The sink's major and minor number; it is made when it is not there, and stays.
///
/// # Errors
/// The file, or the loop device over it, cannot be made.
pub fn sink() -> io::Result<(u32, u32)> {
    let path = Path::new(FILE);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    // Two commands at once would make two of it.
    let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let blocks = Path::new("/sys/block");
    if let Some(found) = loop_over(blocks, path)? {
        return Ok(found);
    }
    file.set_len(LENGTH)?;
    let made = Command::new("losetup").arg("-f").arg(path).stdin(Stdio::null()).output();
    let made = made.map_err(|error| io::Error::new(error.kind(), format!("losetup: {error}")))?;
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        return Err(io::Error::other(format!("losetup -f {FILE}: {}", why.trim())));
    }
    loop_over(blocks, path)?.ok_or_else(|| io::Error::other(format!("{FILE}: no loop device has it")))
}

/// The loop device whose file that is.
fn loop_over(blocks: &Path, path: &Path) -> io::Result<Option<(u32, u32)>> {
    for entry in fs::read_dir(blocks)? {
        let sysfs: PathBuf = entry?.path();
        let backing = fs::read_to_string(sysfs.join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim_end_matches('\n')) != path {
            continue;
        }
        let numbers = fs::read_to_string(sysfs.join("dev"))?;
        let numbers =
            numbers.trim().split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        return numbers.map(Some).ok_or_else(|| io::Error::other(format!("{}: not MAJOR:MINOR", sysfs.display())));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_cache_is_the_queues_also_for_a_partition() {
        let directory = tempfile::tempdir().unwrap();
        let device = |name: &str, cache: &str| {
            let sysfs = directory.path().join(name);
            fs::create_dir_all(sysfs.join("queue")).unwrap();
            fs::write(sysfs.join("queue/write_cache"), cache).unwrap();
            Device { path: format!("/dev/{name}").into(), major: 8, minor: 0, size: 1 << 20, sysfs }
        };
        let cached = device("vdc", "write back\n");
        assert!(has_write_cache(&cached));
        let partition = Device { sysfs: cached.sysfs.join("vdc1"), ..cached };
        fs::create_dir(&partition.sysfs).unwrap();
        assert!(has_write_cache(&partition));
        assert!(!has_write_cache(&device("etherd!e0.1", "write through\n")));
    }

    #[test]
    fn the_sink_is_found_by_its_file_among_other_loop_devices() {
        let directory = tempfile::tempdir().unwrap();
        for (name, file, numbers) in [("loop0", "/img", "7:0\n"), ("loop5", FILE, "7:5\n"), ("vda", "", "254:0\n")] {
            let sysfs = directory.path().join(name);
            fs::create_dir_all(sysfs.join("loop")).unwrap();
            fs::write(sysfs.join("loop/backing_file"), format!("{file}\n")).unwrap();
            fs::write(sysfs.join("dev"), numbers).unwrap();
        }
        assert_eq!(loop_over(directory.path(), Path::new(FILE)).unwrap(), Some((7, 5)));
        assert_eq!(loop_over(directory.path(), Path::new("/other")).unwrap(), None);
    }
}
