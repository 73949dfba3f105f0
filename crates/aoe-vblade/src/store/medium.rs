//! What the medium is like: its size, its blocks, whether it rotates.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::bail;
use nines_proto::aoe::SECTOR;
use nines_sys::blk;
use nix::sys::stat::{major, minor};

use super::Opening;
use super::claim::in_use;

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

/// The size and shape, or why the export is refused.
pub(super) fn measure(file: &File, device: bool, opening: &Opening) -> anyhow::Result<Medium> {
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
