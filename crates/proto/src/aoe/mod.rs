//! ATA over Ethernet frames, as AoEr11 (February 2009) defines them.
//!
//! Offsets in these modules count from the destination address, the first byte a packet socket
//! gives. Parsing borrows from the frame and believes no count in it; encoding writes into the
//! caller's buffer and returns how much it wrote. Integers are big-endian on the wire, except
//! what ATA defines (LBA bytes, IDENTIFY words), which is little-endian.

pub mod ata;
pub mod config;
pub mod control;
mod header;
pub mod identify;
pub mod mask;
mod raw;
pub mod reserve;
pub mod statistics;
pub mod trim;

pub use header::{Address, Code, Command, Flags, Header, Shelf, Slot};

/// AoE's EtherType.
pub const ETHERTYPE: u16 = 0x88a2;
/// The protocol version every frame carries (AoEr11 §2).
pub const VERSION: u8 = 1;
/// The shortest Ethernet frame, without its checksum: shorter answers are padded to this, since
/// virtual interfaces do not do it and initiators discard runts.
pub const MIN_FRAME: usize = 60;
/// Bytes in a sector, whatever the disk's own are.
pub const SECTOR: usize = 512;
/// The longest config string (AoEr11 §3.2).
pub const MAX_CONFIG: usize = 1024;

/// Why bytes are not the frame they claim to be, or do not fit where they should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the part has, or says it has.
    #[error("{part}: {have} bytes of {need}")]
    Short {
        /// Which part.
        part: &'static str,
        /// Its length.
        need: usize,
        /// What is there.
        have: usize,
    },
    /// A frame of another protocol.
    #[error("EtherType {0:#06x}, not AoE's 0x88a2")]
    EtherType(u16),
    /// A config string over [`MAX_CONFIG`].
    #[error("config string of {0} bytes, more than 1024")]
    ConfigLength(usize),
    /// More directives or addresses than their count byte can say.
    #[error("{part}: {count} entries, more than 255")]
    Count {
        /// Which list.
        part: &'static str,
        /// Its length.
        count: usize,
    },
}

/// Whole sectors one frame carries on an interface of this MTU, at most what the count byte says.
///
/// Both Linux and vblade count the 36 bytes of headers, Ethernet's 14 included, against the MTU.
#[must_use]
pub fn sectors_per_frame(mtu: usize) -> u8 {
    u8::try_from(mtu.saturating_sub(ata::DATA) / SECTOR).unwrap_or(u8::MAX)
}

/// Zeroes the bytes from `length` to the shortest frame and returns the padded length.
///
/// # Panics
/// `frame` is shorter than [`MIN_FRAME`] or `length`.
#[must_use]
pub fn pad(frame: &mut [u8], length: usize) -> usize {
    if length < MIN_FRAME {
        frame[length..MIN_FRAME].fill(0);
    }
    length.max(MIN_FRAME)
}

/// Splits a part of a known type off the front of `bytes`.
fn split<'a, T>(bytes: &'a [u8], part: &'static str) -> Result<(&'a T, &'a [u8]), Malformed>
where
    T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Malformed::Short { part, need: size_of::<T>(), have: bytes.len() })
}

/// Writes a part to the front of `out` and returns the rest.
fn put<'a, T>(value: &T, out: &'a mut [u8], part: &'static str) -> Result<&'a mut [u8], Malformed>
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    let have = out.len();
    let short = Malformed::Short { part, need: size_of::<T>(), have };
    value.write_to_prefix(out).map_err(|_| short)?;
    Ok(&mut out[size_of::<T>()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sectors_of_a_frame_follow_the_mtu() {
        let table = [(0, 0), (547, 0), (548, 1), (1500, 2), (4131, 7), (4132, 8), (8228, 16), (9000, 17)];
        for (mtu, sectors) in table.into_iter().chain([(65536, 127), (36 + 255 * 512, 255), (1 << 20, 255)]) {
            assert_eq!(sectors_per_frame(mtu), sectors, "MTU {mtu}");
        }
    }

    #[test]
    fn padding_is_zero_and_leaves_long_frames_alone() {
        let mut frame = [0xee; 64];
        assert_eq!(pad(&mut frame, 24), 60);
        assert_eq!(frame[..24], [0xee; 24]);
        assert_eq!(frame[24..60], [0; 36]);
        assert_eq!(frame[60..], [0xee; 4]);
        assert_eq!(pad(&mut frame, 61), 61);
    }
}
