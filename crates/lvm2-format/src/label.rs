//! The label of a physical volume: one sector that says what the device is.
//!
//! ```text
//! 0   "LABELONE"
//! 8   u64 number of this sector          0..3, sector 1 unless asked otherwise
//! 16  u32 checksum of bytes 20..512
//! 20  u32 where the PV header starts     32
//! 24  "LVM2 001"
//! 32  PV header: id[32], u64 device size in bytes,
//!     data areas {u64 offset, u64 size}.. {0, 0},
//!     metadata areas {u64 offset, u64 size}.. {0, 0},
//!     u32 extension version, u32 flags, bootloader areas {u64, u64}.. {0, 0}
//! ```

use crate::bytes::{put_u32, put_u64, u32_at, u64_at};
use crate::{Id, SECTOR, crc};

const MAGIC: &[u8; 8] = b"LABELONE";
const KIND: &[u8; 8] = b"LVM2 001";
const HEADER: usize = 32;
/// The extension version LVM2 writes.
pub const EXTENSION_VERSION: u32 = 2;
/// Extension flag: the physical volume belongs to a volume group.
pub const EXTENSION_USED: u32 = 1;
/// The sectors of a device in which a label may be.
pub const SECTORS: u64 = 4;

/// A run of bytes on the device; a size of 0 in a data area means "to the end".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    pub offset: u64,
    pub size: u64,
}

/// What newer LVM2 added behind the PV header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub version: u32,
    pub flags: u32,
    pub bootloader: Vec<Region>,
}

/// A physical volume's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The sector it is in, 0..3.
    pub sector: u64,
    pub id: Id,
    /// In bytes; the volume group's metadata overrides it.
    pub device_size: u64,
    pub data: Vec<Region>,
    pub metadata: Vec<Region>,
    /// Absent in labels of LVM2 before 2.02.99.
    pub extension: Option<Extension>,
}

/// Why a sector is not a label that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("no LVM2 label")]
    Absent,
    #[error("the label in sector {found} says it belongs in sector {stored}")]
    OtherSector { found: u64, stored: u64 },
    #[error("the label's checksum is {computed:#010x}, stored is {stored:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("the label's {0} does not fit its sector")]
    Overrun(&'static str),
    #[error("the label's physical volume id has characters no id has")]
    BadId,
    #[error("the label names no data area")]
    NoDataArea,
}

impl Label {
    /// Reads the label out of sector number `sector`.
    ///
    /// # Errors
    /// What is wrong with it; [`LabelError::Absent`] when nothing claims to be a label.
    pub fn parse(sector: u64, bytes: &[u8]) -> Result<Self, LabelError> {
        let bytes = bytes.get(..SECTOR).ok_or(LabelError::Absent)?;
        if !bytes.starts_with(MAGIC) || &bytes[24..32] != KIND {
            return Err(LabelError::Absent);
        }
        let overrun = LabelError::Overrun("PV header");
        let stored = u32_at(bytes, 16).ok_or(overrun.clone())?;
        let computed = crc(&bytes[20..]);
        if stored != computed {
            return Err(LabelError::Checksum { stored, computed });
        }
        let number = u64_at(bytes, 8).ok_or(overrun.clone())?;
        if number != sector {
            return Err(LabelError::OtherSector { found: sector, stored: number });
        }
        let mut at = u32_at(bytes, 20).and_then(|at| usize::try_from(at).ok()).ok_or(overrun.clone())?;
        if at < HEADER {
            return Err(overrun);
        }
        let id = at.checked_add(32).and_then(|end| bytes.get(at..end)).ok_or(overrun.clone())?;
        let id = id.try_into().ok().and_then(Id::from_bytes).ok_or(LabelError::BadId)?;
        let device_size = u64_at(bytes, at + 32).ok_or(overrun)?;
        at += 40;
        let data = regions(bytes, &mut at).ok_or(LabelError::Overrun("list of data areas"))?;
        let metadata = regions(bytes, &mut at).ok_or(LabelError::Overrun("list of metadata areas"))?;
        if data.is_empty() {
            return Err(LabelError::NoDataArea);
        }
        // An old label may fill the sector to its end: no extension then.
        let extension = match u32_at(bytes, at) {
            None | Some(0) => None,
            Some(version) => {
                let flags = u32_at(bytes, at + 4).ok_or(LabelError::Overrun("extension"))?;
                at += 8;
                let bootloader = regions(bytes, &mut at).ok_or(LabelError::Overrun("list of bootloader areas"))?;
                Some(Extension { version, flags, bootloader })
            }
        };
        Ok(Self { sector, id, device_size, data, metadata, extension })
    }

    /// Looks for a label in the first four sectors of a device, which `start` begins with.
    /// The first valid one counts; a sector that only looks like a label is reported when there
    /// is no valid one.
    ///
    /// # Errors
    /// What was wrong with the best candidate, or [`LabelError::Absent`].
    pub fn find(start: &[u8]) -> Result<Self, LabelError> {
        let mut blame = LabelError::Absent;
        for (sector, bytes) in (0..SECTORS).zip(start.chunks_exact(SECTOR)) {
            match Self::parse(sector, bytes) {
                Ok(label) => return Ok(label),
                Err(LabelError::Absent) => {}
                Err(error) => blame = error,
            }
        }
        Err(blame)
    }

    /// The label's sector as LVM2 writes it.
    ///
    /// # Errors
    /// More areas than fit the sector.
    pub fn encode(&self) -> Result<[u8; SECTOR], LabelError> {
        let mut bytes = [0; SECTOR];
        bytes[..8].copy_from_slice(MAGIC);
        put_u64(&mut bytes, 8, self.sector);
        put_u32(&mut bytes, 20, 32);
        bytes[24..32].copy_from_slice(KIND);
        bytes[32..64].copy_from_slice(self.id.as_bytes());
        put_u64(&mut bytes, 64, self.device_size);
        let mut at = 72;
        put_regions(&mut bytes, &mut at, &self.data).ok_or(LabelError::Overrun("list of data areas"))?;
        put_regions(&mut bytes, &mut at, &self.metadata).ok_or(LabelError::Overrun("list of metadata areas"))?;
        if let Some(extension) = &self.extension {
            if at + 8 > SECTOR {
                return Err(LabelError::Overrun("extension"));
            }
            put_u32(&mut bytes, at, extension.version);
            put_u32(&mut bytes, at + 4, extension.flags);
            at += 8;
            put_regions(&mut bytes, &mut at, &extension.bootloader)
                .ok_or(LabelError::Overrun("list of bootloader areas"))?;
        }
        let sum = crc(&bytes[20..]);
        put_u32(&mut bytes, 16, sum);
        Ok(bytes)
    }

    /// Where the extents start, in bytes.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.data.first().map_or(0, |region| region.offset)
    }

    /// Whether the label says that the physical volume belongs to a volume group.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.extension.as_ref().is_some_and(|extension| extension.flags & EXTENSION_USED != 0)
    }

    /// Says in the label whether the physical volume belongs to a volume group. Answers whether
    /// that changed anything.
    pub fn set_used(&mut self, used: bool) -> bool {
        let extension =
            self.extension.get_or_insert(Extension { version: EXTENSION_VERSION, flags: 0, bootloader: Vec::new() });
        let before = extension.flags;
        extension.flags = if used { before | EXTENSION_USED } else { before & !EXTENSION_USED };
        extension.flags != before
    }
}

fn regions(bytes: &[u8], at: &mut usize) -> Option<Vec<Region>> {
    let mut list = Vec::new();
    loop {
        let region = Region { offset: u64_at(bytes, *at)?, size: u64_at(bytes, *at + 8)? };
        *at += 16;
        if region.offset == 0 {
            return Some(list);
        }
        list.push(region);
    }
}

fn put_regions(bytes: &mut [u8], at: &mut usize, list: &[Region]) -> Option<()> {
    // The end mark is a pair of zeros, which is there already.
    let end = *at + 16 * (list.len() + 1);
    if end > bytes.len() {
        return None;
    }
    for (region, at) in list.iter().zip((*at..).step_by(16)) {
        put_u64(bytes, at, region.offset);
        put_u64(bytes, at + 8, region.size);
    }
    *at = end;
    Some(())
}
