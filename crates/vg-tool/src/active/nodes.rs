//! The names of a device: `/dev/mapper/VG-LV` and `/dev/VG/LV`.
//!
//! They are made and removed here, with or without udev: the ioctls tell udev to keep its hands
//! off, so that a volume has its names when the command ends and nothing waits for a daemon.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use lvm2_format::name::dm_name;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// Where names go.
#[derive(Debug, Clone)]
pub struct Nodes {
    dev_dir: PathBuf,
}

impl Nodes {
    #[must_use]
    pub fn new(dev_dir: PathBuf) -> Self {
        Self { dev_dir }
    }

    /// The name people use.
    #[must_use]
    pub fn path(&self, vg: &str, lv: &str) -> PathBuf {
        self.dev_dir.join(vg).join(lv)
    }

    fn mapper(&self, vg: &str, lv: &str) -> PathBuf {
        self.dev_dir.join("mapper").join(dm_name(vg, lv))
    }

    /// Makes both names; those that are right already stay.
    ///
    /// # Errors
    /// Something else has the name, or /dev cannot be written.
    pub fn add(&self, vg: &str, lv: &str, major: u32, minor: u32) -> io::Result<()> {
        let mapper = self.mapper(vg, lv);
        fs::create_dir_all(self.dev_dir.join("mapper"))?;
        let wanted = makedev(major.into(), minor.into());
        if !fs::metadata(&mapper).is_ok_and(|metadata| metadata.rdev() == wanted) {
            remove(&mapper)?;
            // With devtmpfs the kernel has made dm-N, with the owner and mode udev gives disks.
            if self.dev_dir.join(format!("dm-{minor}")).exists() {
                symlink(format!("../dm-{minor}"), &mapper)?;
            } else {
                mknod(&mapper, SFlag::S_IFBLK, Mode::from_bits_truncate(0o660), wanted)?;
            }
        }
        let link = self.path(vg, lv);
        let target = Path::new("..").join("mapper").join(dm_name(vg, lv));
        fs::create_dir_all(self.dev_dir.join(vg))?;
        if fs::metadata(&link).is_ok_and(|metadata| metadata.rdev() == wanted) {
            return Ok(());
        }
        remove(&link)?;
        symlink(target, &link)
    }

    /// Removes both names, and the group's folder when it is empty.
    ///
    /// # Errors
    /// /dev cannot be written.
    pub fn remove(&self, vg: &str, lv: &str) -> io::Result<()> {
        remove(&self.path(vg, lv))?;
        remove(&self.mapper(vg, lv))?;
        // Other volumes of the group may have theirs there.
        let _ = fs::remove_dir(self.dev_dir.join(vg));
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
