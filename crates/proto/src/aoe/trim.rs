//! The data of DATA SET MANAGEMENT with TRIM (ATA8-ACS2 §7.10): ranges of sectors nobody needs.

/// Bytes of an entry.
pub const ENTRY: usize = 8;

/// Sectors a disk may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first: 48 bits.
    pub first: u64,
    /// How many; never zero.
    pub sectors: u16,
}

impl Range {
    /// The sector behind the last. Both parts are too small for the sum to wrap.
    #[must_use]
    pub fn end(self) -> u64 {
        self.first + u64::from(self.sectors)
    }
}

/// The entries as they lie in a frame: 48 bits of sector and 16 of length, least byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges<'a>(&'a [[u8; ENTRY]]);

impl<'a> Ranges<'a> {
    /// Entries are all there is in whole sectors; bytes that fill no entry are left out.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Self {
        Self(data.as_chunks().0)
    }

    /// The ranges in the order given. Entries of no length are padding and left out.
    pub fn iter(self) -> impl Iterator<Item = Range> + Clone + 'a {
        let ranges = self.0.iter().map(|entry| {
            let both = u64::from_le_bytes(*entry);
            let [.., low, high] = *entry;
            Range { first: both & 0xffff_ffff_ffff, sectors: u16::from_le_bytes([low, high]) }
        });
        ranges.filter(|range| range.sectors > 0)
    }

    /// Writes ranges to the front of `sector` and fills the rest with padding. False, with nothing
    /// written, when they do not fit.
    #[must_use]
    pub fn encode(ranges: &[Range], sector: &mut [u8]) -> bool {
        let entries = sector.as_chunks_mut::<ENTRY>().0;
        if ranges.len() > entries.len() {
            return false;
        }
        for (at, entry) in entries.iter_mut().enumerate() {
            let both =
                ranges.get(at).map_or(0, |range| range.first & 0xffff_ffff_ffff | u64::from(range.sectors) << 48);
            *entry = both.to_le_bytes();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_written_and_padding_is_none() {
        let ranges = [
            Range { first: 0, sectors: 1 },
            Range { first: 0xffff_ffff_ffff, sectors: 0xffff },
            Range { first: 5_000_000_000, sectors: 8 },
        ];
        let mut sector = [0xee; 512];
        assert!(Ranges::encode(&ranges, &mut sector));
        assert_eq!(Ranges::parse(&sector).iter().collect::<Vec<_>>(), ranges);
        assert_eq!(ranges[1].end(), 0x1_0000_0000_fffe);
        assert_eq!(sector[..8], [0, 0, 0, 0, 0, 0, 1, 0]);
        assert!(!Ranges::encode(&[ranges[0]; 65], &mut sector));
        assert_eq!(Ranges::parse(&sector[..23]).iter().count(), 2, "bytes that are no whole entry");
    }
}
