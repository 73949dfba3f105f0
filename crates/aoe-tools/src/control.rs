//! The driver's character devices: one write is one command.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::Context;
use nines_cli::{Exit, log};
use nix::unistd::{AccessFlags, access};

/// Whether the file is there and this process may write it.
#[must_use]
pub fn writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

/// Writes the command in one write(2).
///
/// # Errors
/// The kernel's refusal.
pub fn write(path: &Path, command: &[u8]) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).truncate(true).open(path);
    file.and_then(|mut file| file.write_all(command))
        // Not as an io::Error, which would pass for a closed stdout.
        .map_err(|error| anyhow::Error::msg(error.to_string()))
        .with_context(|| path.display().to_string())
}

/// Whether it is a character device this process may write; says what is wrong with it.
#[must_use]
pub fn ready(path: &Path) -> bool {
    let shown = path.display();
    if !writable(path) {
        log(format_args!("{shown} does not exist or is not writeable."));
        return false;
    }
    if !path.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        log(format_args!("{shown} is not a character device file"));
        log(format_args!("use udev or aoe-mkdevs to create it"));
        return false;
    }
    true
}

/// Writes the command to a character device, or says what is wrong with it.
///
/// # Errors
/// The kernel's refusal.
pub fn command(path: &Path, command: &[u8]) -> anyhow::Result<Exit> {
    if !ready(path) {
        return Ok(Exit::No);
    }
    write(path, command)?;
    Ok(Exit::Ok)
}
