//! Sectors that say where they belong, which write they are of, and whether they are whole.

use nines_proto::aoe::SECTOR;

/// What a sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It is of this run: the sector it was written to, and the write.
    Ours {
        /// Where it belongs.
        sector: u64,
        /// The write's number, from 1 on.
        write: u64,
    },
    /// It is of this run, and not one write's from beginning to end.
    Torn,
    /// It is not of this run.
    Foreign,
}

/// Fills a sector.
pub fn fill(run: u64, sector: u64, write: u64, bytes: &mut [u8]) {
    let mut word = run ^ mix(sector) ^ write.rotate_left(32);
    let (words, _) = bytes[..SECTOR].as_chunks_mut::<8>();
    for place in words.iter_mut() {
        word = mix(word);
        *place = word.to_le_bytes();
    }
    (words[0], words[1], words[2]) = (run.to_le_bytes(), sector.to_le_bytes(), write.to_le_bytes());
}

/// Reads a sector.
#[must_use]
pub fn says(run: u64, bytes: &[u8]) -> Says {
    let (words, _) = bytes[..SECTOR].as_chunks::<8>();
    let number = |at: usize| u64::from_le_bytes(words[at]);
    if number(0) != run {
        return Says::Foreign;
    }
    let (sector, write) = (number(1), number(2));
    let mut word = run ^ mix(sector) ^ write.rotate_left(32);
    for (at, place) in words.iter().enumerate() {
        word = mix(word);
        if at > 2 && u64::from_le_bytes(*place) != word {
            return Says::Torn;
        }
    }
    Says::Ours { sector, write }
}

/// A step of a generator whose every output depends on every bit of its input.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 29).wrapping_mul(0x9fb2_1c65_1e98_df25);
    (word ^ word >> 32).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_says_what_it_was_filled_with_and_every_flipped_bit_shows() {
        let mut bytes = [0; SECTOR];
        fill(7, 1 << 33, 99, &mut bytes);
        let whole = Says::Ours { sector: 1 << 33, write: 99 };
        assert_eq!(says(7, &bytes), whole);
        assert_eq!(says(8, &bytes), Says::Foreign);
        for bit in 0..SECTOR * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(says(7, &bytes), whole, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let mut other = [0; SECTOR];
        fill(7, 1 << 33, 100, &mut other);
        bytes[256..].copy_from_slice(&other[256..]);
        assert_eq!(says(7, &bytes), Says::Torn);
    }
}
