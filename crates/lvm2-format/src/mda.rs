//! A metadata area: a header sector and a ring that holds the committed text and the next one.
//!
//! ```text
//! 0   u32 checksum of bytes 4..512
//! 4   " LVM2 x[5A%r0N*>"
//! 20  u32 version                  1
//! 24  u64 byte offset of this header on the device
//! 32  u64 size of the area, header included
//! 40  slots {u64 offset, u64 size, u32 checksum, u32 flags}.. ended by offset 0
//! ```
//! Slot 0 is the committed text, slot 1 a text that was written and not yet committed. Offsets
//! count from the header; a text that reaches the area's end goes on behind the header.

use std::ops::Range;

use crate::bytes::{put_u32, put_u64, u32_at, u64_at};
use crate::{SECTOR, crc};

const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const SLOTS: usize = 40;
const SLOT: usize = 24;
const HEADER: u64 = SECTOR as u64;
/// Slot flag: the area is not used for this volume group's metadata.
pub const IGNORED: u32 = 1;
/// Largest text this library handles; a ring needs room for two. LVM2's default area holds half
/// a megabyte, 100 000 volumes take about 30.
pub const MAX_TEXT: u64 = 64 << 20;

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    /// From the start of the area.
    pub offset: u64,
    /// In bytes, the final NUL included.
    pub size: u64,
    pub crc: u32,
    pub flags: u32,
}

/// The header of a metadata area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its own place on the device.
    pub start: u64,
    /// Of the whole area.
    pub size: u64,
    /// Committed, precommitted.
    pub slots: [Slot; 2],
}

/// What is wrong with a metadata area.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MdaError {
    #[error("the metadata area header is cut short")]
    Short,
    #[error("the metadata area header's checksum is {computed:#010x}, stored is {stored:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("the metadata area header has another magic")]
    Magic,
    #[error("metadata area version {0}, this is version 1")]
    Version(u32),
    #[error("the metadata area header at {found} says it belongs at {stored}")]
    Place { found: u64, stored: u64 },
    #[error("a metadata area of {0} bytes")]
    Size(u64),
    #[error("metadata text at {offset} of {size} bytes does not fit an area of {area}")]
    Text { offset: u64, size: u64, area: u64 },
    #[error("metadata of {size} bytes exceeds the {max} that fit this area")]
    TooLarge { size: u64, max: u64 },
    #[error("metadata of {size} bytes would overwrite the committed text")]
    Overlap { size: u64 },
    #[error("the metadata text's checksum is {computed:#010x}, stored is {stored:#010x}")]
    TextChecksum { stored: u32, computed: u32 },
}

impl Header {
    /// A header without texts, as a fresh physical volume has.
    #[must_use]
    pub fn empty(start: u64, size: u64) -> Self {
        Self { start, size, slots: [Slot::default(); 2] }
    }

    /// Reads the header found at byte `start` of the device.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(start: u64, bytes: &[u8]) -> Result<Self, MdaError> {
        let bytes = bytes.get(..SECTOR).ok_or(MdaError::Short)?;
        let stored = u32_at(bytes, 0).ok_or(MdaError::Short)?;
        let computed = crc(&bytes[4..]);
        if stored != computed {
            return Err(MdaError::Checksum { stored, computed });
        }
        if &bytes[4..20] != MAGIC {
            return Err(MdaError::Magic);
        }
        match u32_at(bytes, 20) {
            Some(1) => {}
            version => return Err(MdaError::Version(version.unwrap_or_default())),
        }
        let place = u64_at(bytes, 24).ok_or(MdaError::Short)?;
        if place != start {
            return Err(MdaError::Place { found: start, stored: place });
        }
        let size = u64_at(bytes, 32).ok_or(MdaError::Short)?;
        if size < 2 * HEADER || start.checked_add(size).is_none() {
            return Err(MdaError::Size(size));
        }
        let mut slots = [Slot::default(); 2];
        for (slot, at) in slots.iter_mut().zip((SLOTS..).step_by(SLOT)) {
            let offset = u64_at(bytes, at).ok_or(MdaError::Short)?;
            let flags = u32_at(bytes, at + 20).ok_or(MdaError::Short)?;
            // An ignored area that never held a text has offset 0 and the flag.
            *slot = Slot {
                offset,
                size: u64_at(bytes, at + 8).ok_or(MdaError::Short)?,
                crc: u32_at(bytes, at + 16).ok_or(MdaError::Short)?,
                flags,
            };
            if offset == 0 {
                break;
            }
        }
        Ok(Self { start, size, slots })
    }

    /// The header's sector as LVM2 writes it.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        bytes[4..20].copy_from_slice(MAGIC);
        put_u32(&mut bytes, 20, 1);
        put_u64(&mut bytes, 24, self.start);
        put_u64(&mut bytes, 32, self.size);
        for (slot, at) in self.slots.iter().zip((SLOTS..).step_by(SLOT)) {
            put_u64(&mut bytes, at, slot.offset);
            put_u64(&mut bytes, at + 8, slot.size);
            put_u32(&mut bytes, at + 16, slot.crc);
            put_u32(&mut bytes, at + 20, slot.flags);
        }
        let sum = crc(&bytes[4..]);
        put_u32(&mut bytes, 0, sum);
        bytes
    }

    /// Whether the area is set aside (`--metadataignore`, `--vgmetadatacopies`).
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        self.slots[0].flags & IGNORED != 0
    }

    /// The committed text, if the area holds one.
    #[must_use]
    pub fn committed(&self) -> Option<&Slot> {
        let [slot, _] = &self.slots;
        (slot.offset != 0 && !self.is_ignored()).then_some(slot)
    }

    /// Largest text the area takes beside the committed one.
    #[must_use]
    pub fn max_text(&self) -> u64 {
        ((self.size - HEADER) / 2).saturating_sub(HEADER).min(MAX_TEXT)
    }

    /// The bytes of the device a text takes: one range, or two when it wraps.
    ///
    /// # Errors
    /// A text that is not inside the ring.
    pub fn ranges(&self, offset: u64, size: u64) -> Result<[Range<u64>; 2], MdaError> {
        let bad = MdaError::Text { offset, size, area: self.size };
        if offset < HEADER || offset >= self.size || size == 0 || size > self.size - HEADER || size > MAX_TEXT {
            return Err(bad);
        }
        let first = size.min(self.size - offset);
        let wrapped = self.start + HEADER;
        Ok([self.start + offset..self.start + offset + first, wrapped..wrapped + (size - first)])
    }

    /// Where LVM2 puts the next text of `size` bytes (NUL included): behind the committed one,
    /// on a sector's start, with at least one sector left before the area's end.
    ///
    /// # Errors
    /// A text too large for the area.
    pub fn place(&self, size: u64) -> Result<u64, MdaError> {
        let max = self.max_text();
        if size > max {
            return Err(MdaError::TooLarge { size, max });
        }
        // A committed slot that points nowhere protects nothing.
        let Some(used) = self.committed().and_then(|slot| self.ranges(slot.offset, slot.size).ok()) else {
            return Ok(HEADER);
        };
        let last_piece = if used[1].is_empty() { &used[0] } else { &used[1] };
        let last = last_piece.end - self.start - 1;
        let mut offset = HEADER;
        if self.size - last >= HEADER {
            let next = (last + 1).next_multiple_of(HEADER);
            if next <= self.size - HEADER {
                offset = next;
            }
        }
        let new = self.ranges(offset, size)?;
        // What is written ends on a sector, and may not reach into the committed text either.
        let padded = new.map(|range| range.start..range.end.next_multiple_of(HEADER));
        if used.iter().any(|old| padded.iter().any(|new| overlap(old, new))) {
            return Err(MdaError::Overlap { size });
        }
        Ok(offset)
    }
}

impl Slot {
    /// Checks a text against the slot that named it and cuts its final NUL off.
    ///
    /// # Errors
    /// The stored checksum differs.
    pub fn check<'a>(&self, text: &'a [u8]) -> Result<&'a [u8], MdaError> {
        let computed = crc(text);
        if computed != self.crc {
            return Err(MdaError::TextChecksum { stored: self.crc, computed });
        }
        Ok(text.split(|byte| *byte == 0).next().unwrap_or_default())
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    !a.is_empty() && !b.is_empty() && a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u64, committed: Option<(u64, u64)>) -> Header {
        let mut header = Header::empty(4096, size);
        if let Some((offset, size)) = committed {
            header.slots[0] = Slot { offset, size, crc: 0, flags: 0 };
        }
        header
    }

    #[test]
    fn the_first_text_goes_behind_the_header() {
        assert_eq!(header(1_044_480, None).place(700).unwrap(), 512);
    }

    #[test]
    fn the_next_text_starts_on_the_sector_after_the_committed_one() {
        assert_eq!(header(1_044_480, Some((512, 512))).place(700).unwrap(), 1024);
        assert_eq!(header(1_044_480, Some((512, 513))).place(700).unwrap(), 1536);
    }

    #[test]
    fn a_text_that_reaches_the_end_goes_on_behind_the_header() {
        let header = header(32_768, Some((29_184, 2958)));
        assert_eq!(header.place(2958).unwrap(), 32_256);
        let [first, second] = header.ranges(32_256, 2958).unwrap();
        assert_eq!((first.end - first.start, second), (512, 4608..4608 + 2446));
    }

    #[test]
    fn less_than_a_sector_before_the_end_is_not_used() {
        assert_eq!(header(32_768, Some((29_184, 3584))).place(600).unwrap(), 512);
        assert_eq!(header(32_768, Some((32_256, 600))).place(600).unwrap(), 1024);
    }

    #[test]
    fn a_text_over_half_the_area_is_refused() {
        let header = header(32_768, None);
        assert_eq!(header.max_text(), 15_616);
        assert!(header.place(15_616).is_ok());
        assert_eq!(header.place(15_617), Err(MdaError::TooLarge { size: 15_617, max: 15_616 }));
    }

    #[test]
    fn a_text_is_never_put_over_the_committed_one() {
        // No writer leaves a text this large; a reader meets it all the same.
        let header = header(32_768, Some((1024, 31_000)));
        assert_eq!(header.place(15_000), Err(MdaError::Overlap { size: 15_000 }));
    }
}
