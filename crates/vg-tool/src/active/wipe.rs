//! Making a disk look empty: the first 4 KiB zeroed, signatures of earlier contents erased, so
//! that nobody mounts what a removed volume left behind.

use std::path::Path;

use super::signature::{REACH, find};
use crate::dev::Disk;
use crate::say::{Say, ask};
use crate::stop::{Context, Result, Stop};

/// Zeroes the first 4 KiB.
///
/// # Errors
/// The device cannot be written.
pub fn clear_start(path: &Path) -> Result<()> {
    let disk = Disk::open(path, true, false).at(path.display())?;
    let length = usize::try_from(disk.size().min(4096)).at(path.display())?;
    disk.write(0, &vec![0; length]).and_then(|()| disk.sync()).at(path.display())
}

/// Erases the signatures of earlier contents, each after a question unless `yes`.
///
/// # Errors
/// The answer was no, or the device cannot be written.
pub fn wipe_signatures(path: &Path, what: &str, yes: bool, say: Say) -> Result<()> {
    let disk = Disk::open(path, true, false).at(path.display())?;
    let name = path.display();
    let mut left = 0;
    for found in find(&disk.read(0, REACH).at(&name)?) {
        let text = format!("{} signature detected on {name} at offset {}", found.name, found.offset);
        if !yes && !ask(format_args!("WARNING: {text}. Wipe it?")) {
            crate::say::error(format_args!("Aborted wiping of {}.", found.name));
            left += 1;
            continue;
        }
        disk.write(found.offset, &vec![0; found.magic.len()]).at(&name)?;
        say.result(format_args!("Wiping {} signature on {name}.", found.name));
    }
    disk.sync().at(&name)?;
    match left {
        0 => Ok(()),
        1 => Err(Stop::failed(format_args!(
            "1 existing signature left on the device.\nFailed to wipe signatures on {what}."
        ))),
        left => Err(Stop::failed(format_args!(
            "{left} existing signatures left on the device.\nFailed to wipe signatures on {what}."
        ))),
    }
}
