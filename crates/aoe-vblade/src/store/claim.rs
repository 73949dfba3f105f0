//! One target a disk: the claim on an export, and who uses the device otherwise.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};

/// How long another holder of the claim may take to let go. udev holds a shared one for the
/// moment it looks at a device.
const CLAIM: Duration = Duration::from_secs(1);

/// Claims the export for one writer or any number of readers. Not O_EXCL: device-mapper of this
/// host may use the same device, beside the export.
pub(super) fn claim(file: File, shared: bool) -> anyhow::Result<Flock<File>> {
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
pub(super) fn in_use(number: u64) -> io::Result<Option<String>> {
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
