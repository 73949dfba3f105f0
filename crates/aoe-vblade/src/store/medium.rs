//! What the medium is like: its size, its blocks, whether it rotates.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::bail;
use nines_proto::aoe::SECTOR;
use nines_sys::blk;
use nix::fcntl::{FallocateFlags, fallocate};
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
    /// Sectors can be discarded, and are zero then.
    pub trims: bool,
}

/// The size and shape, or why the export is refused.
pub(super) fn measure(file: &File, device: bool, opening: &Opening) -> anyhow::Result<Medium> {
    let (mut physical_exponent, mut rotating, mut number) = (0, None, None);
    if device {
        let logical = blk::logical_block_size(file)?;
        if logical as usize > SECTOR {
            bail!("its blocks are {logical} bytes, AoE reads and writes single sectors of 512");
        }
        let device = file.metadata()?.rdev();
        number = Some(device);
        if let Some(place) = in_use(device)? {
            bail!("{place}");
        }
        let exponent = (blk::physical_block_size(file)? / 512).checked_ilog2().unwrap_or(0);
        physical_exponent = u8::try_from(exponent).unwrap_or(0);
        rotating = match queue(device, "rotational").as_deref() {
            Some("0") => Some(false),
            Some("1") => Some(true),
            _ => None,
        };
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
    let trims = !opening.read_only && punches(file, number, all * SECTOR as u64);
    Ok(Medium { sectors, physical_exponent, rotating, trims })
}

/// A file of the disk's queue, or of the queue of the disk a partition is on.
fn queue(number: u64, name: &str) -> Option<String> {
    let device = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let read = |folder: &str| fs::read_to_string(Path::new(&device).join(folder).join(name)).ok();
    read("queue").or_else(|| read("../queue")).map(|text| text.trim().to_owned())
}

/// Whether a hole can be punched: in a file by trying it behind the end, where nothing is.
fn punches(file: &File, device: Option<u64>, bytes: u64) -> bool {
    let Some(number) = device else {
        let (Ok(end), flags) = (
            i64::try_from(bytes.next_multiple_of(4096)),
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
        ) else {
            return false;
        };
        return fallocate(file, flags, end, 4096).is_ok();
    };
    let some = |name| queue(number, name).is_some_and(|text| text != "0");
    some("discard_max_bytes") && some("write_zeroes_max_bytes")
}
