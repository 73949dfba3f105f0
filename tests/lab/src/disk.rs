//! The hosts' disks. Each is served by nbdkit with its cache in write-back mode: a write stays in
//! the server's memory until the host flushes, so that killing the server is what a power cut is
//! to a disk, and everything acknowledged as durable is in the image file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::state::{Lab, Node, Settings};

/// The system disk, mounted on /var; sparse.
const SYSTEM_SIZE: u64 = 1 << 30;

/// A disk as the host names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    pub image: PathBuf,
    pub socket: PathBuf,
}

/// The disks of a host: vda for the system, then one a data disk.
pub fn disks(lab: &Lab, node: Node, settings: &Settings) -> Vec<Disk> {
    ('a'..='z')
        .take(settings.disks.len() + 1)
        .map(|letter| {
            let name = format!("vd{letter}");
            let image = lab.node_dir(node).join(format!("{name}.img"));
            let socket = lab.sockets(node).join(&name);
            Disk { name, image, socket }
        })
        .collect()
}

/// Makes a host's disks, empty but for the system disk's file system.
///
/// # Errors
/// Naming the image that could not be made.
pub fn create(lab: &Lab, node: Node, settings: &Settings) -> Result<()> {
    let sizes = std::iter::once(SYSTEM_SIZE).chain(settings.disks.iter().copied());
    for (disk, size) in disks(lab, node, settings).iter().zip(sizes) {
        let file = File::create_new(&disk.image).with_context(|| disk.image.display().to_string())?;
        file.set_len(size).with_context(|| disk.image.display().to_string())?;
    }
    let system = lab.node_dir(node).join("vda.img");
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "system"]).arg(&system))
}

/// Serves one disk in the background; returns when it can be connected to.
///
/// # Errors
/// When nbdkit does not start.
pub fn serve(disk: &Disk, tmp: &Path) -> Result<()> {
    run(Command::new("nbdkit")
        .env("TMPDIR", tmp)
        .arg("--unix")
        .arg(&disk.socket)
        .args(["--filter=cache", "file"])
        .arg(format!("file={}", disk.image.display()))
        // Small blocks: a write must not take its neighbours along when it reaches the image.
        .args(["cache=writeback", "cache-min-block-size=4K"]))
    .with_context(|| disk.name.clone())
}

/// Runs a program to its end; its own words are the error.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(std::process::Stdio::null()).output().with_context(|| program.clone())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::bail!("{program}: {}: {}", output.status, said.trim())
}
