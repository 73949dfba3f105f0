//! Block devices: which there are, which may hold physical volumes, and reading and writing them
//! past every cache.

mod disk;
mod filter;
mod list;

pub use disk::Disk;
pub use filter::Filter;
pub use list::{candidates, find};

use std::path::PathBuf;

/// A block device that may hold a physical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The name it is shown under.
    pub path: PathBuf,
    pub major: u32,
    pub minor: u32,
    /// In sectors.
    pub size: u64,
    /// Its folder below /sys/block or /sys/class/block.
    pub sysfs: PathBuf,
}

impl Device {
    #[must_use]
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}
