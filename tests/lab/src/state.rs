//! Where a lab keeps its things, and what it remembers between commands.
//!
//! The directory (`$LAB_DIR`) holds settings, disks and logs. Sockets have their own short path
//! under `/run`, named after the directory, for a socket's path has at most 107 bytes.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use blake2::{Blake2s256, Digest};
use nines_cli::No;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// The parent of all labs' sockets.
const RUN: &str = "/run/nines-lab";

/// How the lab was brought up; what `start` needs to bring a host up the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub xen: bool,
    pub nodes: u8,
    /// Megabytes each host has.
    pub mem: u32,
    /// Bytes of each data disk.
    pub disks: Vec<u64>,
}

/// One lab, up or not.
#[derive(Debug, Clone)]
pub struct Lab {
    dir: PathBuf,
    id: String,
}

impl Lab {
    /// The lab of `$LAB_DIR`, by default `.lab` at the top of the checkout.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open() -> Result<Self> {
        let dir = std::env::var_os("LAB_DIR")
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.lab"), PathBuf::from);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let dir = fs::canonicalize(&dir).with_context(|| dir.display().to_string())?;
        let id = hex(&Blake2s256::digest(dir.as_os_str().as_bytes()), 4);
        Ok(Self { dir, id })
    }

    /// Labs whose directory is gone while their sockets, and maybe their hosts, are still there.
    ///
    /// # Errors
    /// When the sockets' directory cannot be read.
    pub fn orphans() -> Result<Vec<Self>> {
        let mut orphans = Vec::new();
        let entries = match fs::read_dir(RUN) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(orphans),
            other => other.context(RUN)?,
        };
        for entry in entries {
            let entry = entry.context(RUN)?;
            let Ok(dir) = fs::read_link(entry.path().join("dir")) else { continue };
            if !dir.exists() {
                orphans.push(Self { dir, id: entry.file_name().to_string_lossy().into_owned() });
            }
        }
        Ok(orphans)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the sockets are.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(RUN).join(&self.id)
    }

    /// Makes the directory for the sockets, which tells what lab it belongs to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_run_dir(&self) -> Result<()> {
        let dir = self.run_dir();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.and_then(|()| symlink(&self.dir, dir.join("dir"))).with_context(|| dir.display().to_string())
    }

    /// The network namespace's name.
    pub fn netns(&self) -> String {
        format!("lab-{}", self.id)
    }

    /// Where the images this lab runs are, whatever becomes of the cache.
    pub fn boot_dir(&self) -> PathBuf {
        self.dir.join("boot")
    }

    /// A host's disks and logs.
    pub fn node_dir(&self, node: Node) -> PathBuf {
        self.dir.join(node.to_string())
    }

    /// A host's sockets.
    pub fn sockets(&self, node: Node) -> PathBuf {
        self.run_dir().join(node.to_string())
    }

    pub fn console_log(&self, node: Node) -> PathBuf {
        self.node_dir(node).join("console.log")
    }

    /// Keeps other commands that change this lab out until dropped.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock(&self) -> Result<Flock<File>> {
        let path = self.dir.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .with_context(|| path.display().to_string())
    }

    /// The settings of a lab that is up.
    ///
    /// # Errors
    /// [`No`] when none is.
    pub fn settings(&self) -> Result<Settings> {
        let path = self.dir.join("state.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(No("no lab is up here".into())).with_context(|| self.dir.display().to_string());
            }
            other => other.with_context(|| path.display().to_string())?,
        };
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Remembers the settings.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remember(&self, settings: &Settings) -> Result<()> {
        let path = self.dir.join("state.json");
        fs::write(&path, serde_json::to_vec(settings)?).with_context(|| path.display().to_string())
    }

    /// Removes everything of this lab that is a file.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        remove(&self.run_dir())?;
        if !self.dir.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir).with_context(|| self.dir.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if matches!(&*name, "state.json" | "boot") || name.starts_with("node") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the directory itself, unless somebody put something of theirs into it.
    pub fn forget(&self) {
        let _ = fs::remove_file(self.dir.join("lock"));
        let _ = fs::remove_dir(&self.dir);
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| path.display().to_string()),
        _ => Ok(()),
    }
}

/// The first `bytes` bytes in hexadecimal.
pub fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// A host's number, 1 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(u8);

/// The most hosts a lab has: numbers are one digit in addresses and names.
pub const MAX_NODES: u8 = 9;

impl Node {
    /// The hosts of a lab of `count`.
    pub fn all(count: u8) -> impl Iterator<Item = Self> {
        (1..=count).map(Self)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// Says so when the lab is not up or has no such host.
    ///
    /// # Errors
    /// [`No`] in the first case.
    pub fn of(self, lab: &Lab) -> Result<Settings> {
        let settings = lab.settings()?;
        if self.0 > settings.nodes {
            bail!("{self}: this lab has {} hosts", settings.nodes);
        }
        Ok(settings)
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node{}", self.0)
    }
}

impl std::str::FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("node").unwrap_or(text).parse() {
            Ok(number @ 1..=MAX_NODES) => Ok(Self(number)),
            _ => Err(format!("a host is node1 to node{MAX_NODES}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names_and_numbers() {
        assert_eq!("node2".parse(), Ok(Node(2)));
        assert_eq!("9".parse(), Ok(Node(9)));
        for bad in ["node0", "node10", "node", "", "xen1", "-1"] {
            assert!(bad.parse::<Node>().is_err(), "{bad}");
        }
        assert_eq!(Node(3).to_string(), "node3");
    }
}
