//! The checksum LVM2 puts on labels, metadata area headers and metadata texts.
//!
//! CRC-32 with the usual reflected polynomial, a start value of its own and no inversion at
//! either end (lvm2 `lib/misc/crc.c`).

use crc32fast::Hasher;

/// LVM2's start value of the register.
const START: u32 = 0xf597_a6cf;

/// The checksum of one run of bytes.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    crc_of_pieces([bytes])
}

/// The checksum of several runs taken as one, for a text that wraps around its ring.
#[must_use]
pub fn crc_of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    // crc32fast inverts the register at both ends; two more inversions cancel that.
    let mut hasher = Hasher::new_with_initial(!START);
    for piece in pieces {
        hasher.update(piece);
    }
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_run_leaves_the_start_value() {
        assert_eq!(crc(b""), START);
    }

    #[test]
    fn pieces_count_as_their_concatenation() {
        assert_eq!(crc(b"LABELONE"), crc_of_pieces([&b"LABEL"[..], b"", b"ONE"]));
    }
}
