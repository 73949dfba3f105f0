//! The sector IDENTIFY DEVICE answers with: 256 little-endian words (ATA8-ACS §7.16).
//!
//! Linux reads 83 and 86 bit 10 (48-bit commands), 100-103 or 60-61 (size), and the strings.

/// A full IDENTIFY sector.
pub type Sector = [u8; 512];

const SERIAL: usize = 10;
const FIRMWARE: usize = 23;
const MODEL: usize = 27;
/// The largest sector count of the 28-bit commands.
const MAX_LBA28: u64 = 0x0fff_ffff;
/// The largest sector count of the 48-bit commands.
const MAX_LBA48: u64 = 0xffff_ffff_ffff;
/// Word 83, 86: 48-bit commands.
const LBA48: u16 = 1 << 10;
/// Words 83, 86: FLUSH CACHE and FLUSH CACHE EXT.
const FLUSH: u16 = 1 << 12 | 1 << 13;
/// Words 82, 85: a volatile write cache.
const WRITE_CACHE: u16 = 1 << 5;
/// Words 50, 83, 84, 87: "this word is valid", bits 15:14 = 01.
const VALID: u16 = 1 << 14;
/// Words 82, 85: SMART.
const SMART: u16 = 1;
/// Words 84, 87: words 108-111 are a world wide name.
const NAMED: u16 = 1 << 8;
/// Word 69: what is read after TRIM is always the same.
const DETERMINISTIC: u16 = 1 << 14;
/// Word 69: and it is zeroes.
const ZEROED: u16 = 1 << 5;
/// Word 255 low byte: the high byte is a checksum.
const SIGNATURE: u8 = 0xa5;

/// What TRIM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trim {
    /// Nothing: there is no such command.
    #[default]
    None,
    /// Trimmed sectors hold anything, perhaps another thing each time.
    Undetermined,
    /// Trimmed sectors are zero.
    Zeroes,
}

/// What a disk says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Words 10-19, at most 20 bytes of printable ASCII; the rest is cut off.
    pub serial: &'a str,
    /// Words 23-26, 8 bytes.
    pub firmware: &'a str,
    /// Words 27-46, 40 bytes.
    pub model: &'a str,
    /// Words 60-61 and 100-103.
    pub sectors: u64,
    /// Words 82 and 85: acknowledged writes may be lost with the power until a FLUSH.
    pub write_cache: bool,
    /// Word 106: logical sectors in a physical one, as a power of two.
    pub physical_exponent: u8,
    /// Word 217.
    pub rotating: Option<bool>,
    /// Words 69, 105 and 169.
    pub trim: Trim,
}

impl Identity<'_> {
    /// The sector.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "words are what the shifts leave")]
    pub fn encode(&self) -> Sector {
        let mut words = [0u16; 256];
        let cylinders = (self.sectors / (16 * 63)).min(16383) as u16;
        words[0] = 0x0040;
        (words[1], words[3], words[6]) = (cylinders, 16, 63);
        put_text(&mut words[SERIAL..20], self.serial);
        put_text(&mut words[FIRMWARE..MODEL], self.firmware);
        put_text(&mut words[MODEL..47], self.model);
        words[47] = 0x8000;
        // LBA and DMA commands are there.
        words[49] = 1 << 9 | 1 << 8;
        words[50] = VALID;
        let lba28 = self.sectors.min(MAX_LBA28);
        (words[60], words[61]) = (lba28 as u16, (lba28 >> 16) as u16);
        words[69] = match self.trim {
            Trim::None | Trim::Undetermined => 0,
            Trim::Zeroes => DETERMINISTIC | ZEROED,
        };
        // ATA/ATAPI-4 to ACS-2.
        words[80] = 0x03f0;
        let cache = if self.write_cache { WRITE_CACHE } else { 0 };
        words[82] = SMART | cache;
        words[83] = VALID | LBA48 | FLUSH;
        words[84] = VALID | NAMED;
        words[85] = SMART | cache;
        words[86] = LBA48 | FLUSH;
        words[87] = VALID | NAMED;
        words[93] = 0x400b;
        let lba48 = self.sectors.min(MAX_LBA48);
        for (at, word) in words[100..103].iter_mut().enumerate() {
            *word = (lba48 >> (16 * at)) as u16;
        }
        if self.physical_exponent > 0 {
            words[106] = VALID | 1 << 13 | u16::from(self.physical_exponent & 0x0f);
        }
        let name = world_wide_name(self.serial);
        for (at, word) in words[108..112].iter_mut().enumerate() {
            *word = (name >> (48 - 16 * at)) as u16;
        }
        if self.trim != Trim::None {
            // A sector of ranges a command, which every frame has room for.
            (words[105], words[169]) = (1, 1);
        }
        if self.rotating == Some(false) {
            words[217] = 1;
        }
        let mut sector = [0; 512];
        for (bytes, word) in sector.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        sector[510] = SIGNATURE;
        sector[511] = sum(&sector[..511]).wrapping_neg();
        sector
    }
}

/// The sector as an initiator reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// Without the spaces that fill it.
    pub serial: String,
    /// Without the spaces that fill it.
    pub firmware: String,
    /// Without the spaces that fill it.
    pub model: String,
    /// Sectors reachable with the widest commands there are.
    pub sectors: u64,
    /// The 48-bit commands are there.
    pub lba48: bool,
    /// A volatile write cache is on.
    pub write_cache: bool,
    /// SMART commands are there and enabled.
    pub smart: bool,
    /// Logical sectors in a physical one, as a power of two.
    pub physical_exponent: u8,
    /// Words 108-111.
    pub world_wide_name: Option<u64>,
    /// What TRIM does.
    pub trim: Trim,
    /// `None` when the disk does not say.
    pub checksum_valid: Option<bool>,
}

impl Identified {
    /// Reads the sector; every content means something.
    #[must_use]
    pub fn parse(sector: &Sector) -> Self {
        let word = |at: usize| u16::from_le_bytes([sector[2 * at], sector[2 * at + 1]]);
        let number =
            |from: usize, words: usize| (0..words).rev().fold(0, |value, at| value << 16 | u64::from(word(from + at)));
        let lba48 = (word(83) | word(86)) & LBA48 != 0;
        let physical = word(106);
        let named = word(87) & (1 << 15 | VALID | NAMED) == VALID | NAMED;
        let trim = match (word(169) & 1 != 0, word(69) & (DETERMINISTIC | ZEROED) == DETERMINISTIC | ZEROED) {
            (false, _) => Trim::None,
            (true, false) => Trim::Undetermined,
            (true, true) => Trim::Zeroes,
        };
        let known = physical & (1 << 15 | VALID | 1 << 13) == VALID | 1 << 13;
        Self {
            serial: text(&sector[2 * SERIAL..40]),
            firmware: text(&sector[2 * FIRMWARE..2 * MODEL]),
            model: text(&sector[2 * MODEL..94]),
            sectors: if lba48 { number(100, 4) } else { number(60, 2) },
            lba48,
            write_cache: word(85) & WRITE_CACHE != 0,
            smart: word(82) & word(85) & SMART != 0,
            physical_exponent: if known { (physical & 0x0f).to_le_bytes()[0] } else { 0 },
            world_wide_name: named.then(|| (108..112).fold(0, |name, at| name << 16 | u64::from(word(at)))),
            trim,
            checksum_valid: (sector[510] == SIGNATURE).then(|| sum(sector) == 0),
        }
    }
}

/// A name nobody has registered (NAA 3, locally assigned), the same for the same serial number
/// wherever and whenever it is made: its 64-bit FNV-1a hash without the four highest bits.
#[must_use]
pub fn world_wide_name(serial: &str) -> u64 {
    let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    3 << 60 | serial.bytes().fold(0xcbf2_9ce4_8422_2325, hash) & (u64::MAX >> 4)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// ATA strings are space-filled ASCII, the first character in the high byte of each word.
fn put_text(words: &mut [u16], text: &str) {
    let mut bytes = text.bytes().map(|byte| if (0x20..0x7f).contains(&byte) { byte } else { b'?' });
    for word in words {
        let mut next = || bytes.next().unwrap_or(b' ');
        *word = u16::from_be_bytes([next(), next()]);
    }
}

fn text(bytes: &[u8]) -> String {
    let swapped = bytes.as_chunks::<2>().0.iter().flat_map(|[low, high]| [*high, *low]);
    let text: String = swapped.map(|byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { ' ' }).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity<'static> {
        Identity {
            serial: "7.3:node1",
            firmware: "0.1.0",
            model: "a disk",
            sectors: 5_000_000_000,
            write_cache: false,
            physical_exponent: 3,
            rotating: Some(false),
            trim: Trim::Zeroes,
        }
    }

    #[test]
    fn what_is_written_is_read_and_sums_to_zero() {
        let read = Identified::parse(&identity().encode());
        let wanted = Identified {
            serial: "7.3:node1".into(),
            firmware: "0.1.0".into(),
            model: "a disk".into(),
            sectors: 5_000_000_000,
            lba48: true,
            write_cache: false,
            smart: true,
            physical_exponent: 3,
            world_wide_name: Some(0x3000_0000_0000_0000 | world_wide_name("7.3:node1")),
            trim: Trim::Zeroes,
            checksum_valid: Some(true),
        };
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_disk_over_128_gib_fills_the_28_bit_count() {
        let sector = identity().encode();
        assert_eq!(sector[120..124], 0x0fff_ffffu32.to_le_bytes());
        let small = Identity { sectors: 2048, ..identity() }.encode();
        assert_eq!(small[120..124], 2048u32.to_le_bytes());
        assert_eq!(small[200..208], 2048u64.to_le_bytes());
    }

    #[test]
    fn a_name_is_locally_assigned_stable_and_another_for_another_disk() {
        // FNV-1a's published value for "foobar" is 85944171f73967e8.
        assert_eq!(world_wide_name("foobar"), 0x3594_4171_f739_67e8);
        assert_ne!(world_wide_name("7.3:node1"), world_wide_name("7.4:node1"));
        let sector = identity().encode();
        let name = world_wide_name("7.3:node1").to_be_bytes();
        assert_eq!([sector[217], sector[216], sector[219], sector[218]], name[..4], "highest word first");
    }

    #[test]
    fn trim_and_the_write_cache_are_announced_only_where_they_are() {
        for (trim, words) in [(Trim::None, (0, 0, 0)), (Trim::Undetermined, (0, 1, 1)), (Trim::Zeroes, (0x4020, 1, 1))]
        {
            let sector = Identity { trim, write_cache: true, ..identity() }.encode();
            let word = |at: usize| u16::from_le_bytes([sector[2 * at], sector[2 * at + 1]]);
            assert_eq!((word(69), word(105), word(169)), words);
            assert_eq!((word(82), word(85)), (0x21, 0x21));
            assert_eq!((word(83) >> 13 & 1, word(86) >> 13 & 1), (1, 1), "FLUSH CACHE EXT");
            assert_eq!((word(106), word(217)), (0x6003, 1));
            let read = Identified::parse(&sector);
            assert_eq!((read.trim, read.write_cache, read.smart), (trim, true, true));
        }
        assert!(!Identified::parse(&identity().encode()).write_cache);
    }

    #[test]
    fn sizes_beyond_2_tib_and_48_bits_are_told_as_far_as_words_go() {
        for (sectors, told) in [(1 << 32, 1 << 32), ((1 << 33) + 5, (1 << 33) + 5), (u64::MAX, 0xffff_ffff_ffff)] {
            assert_eq!(Identified::parse(&Identity { sectors, ..identity() }.encode()).sectors, told);
        }
    }

    #[test]
    fn text_too_long_is_cut_and_other_bytes_cannot_hide_in_it() {
        let sector = Identity { serial: "a\u{e9}\n0123456789012345678901234", ..identity() }.encode();
        assert_eq!(Identified::parse(&sector).serial, "a???0123456789012345");
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut sector = identity().encode();
        sector[200] ^= 1;
        assert_eq!(Identified::parse(&sector).checksum_valid, Some(false));
        assert_eq!(Identified::parse(&[0; 512]).checksum_valid, None);
    }
}
