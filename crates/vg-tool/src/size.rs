//! Sizes: how they are given (`-L 10g`, `-l 50%FREE`) and how they are shown (`<9.77g`).

use crate::opts::bad_value;
use crate::stop::{Result, Stop};

/// Units of sizes, each 1024 times the one before.
const UNITS: [char; 6] = ['k', 'm', 'g', 't', 'p', 'e'];

/// Reads `-L`: a number, a fraction perhaps, and a unit; MiB without one. Upper and lower case mean
/// the same, as they do to LVM2. Answers bytes.
///
/// # Errors
/// Not a size, or one larger than anything.
pub fn parse(option: &str, text: &str) -> Result<u64> {
    parse_default(text, 'm').ok_or_else(|| {
        let stop = bad_value(option, text);
        Stop { message: format!("Can't parse size argument.\n{}", stop.message), ..stop }
    })
}

/// As [`parse`] with another unit where none is given.
#[must_use]
pub fn parse_default(text: &str, default: char) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back()? {
        (at, unit) if unit.is_ascii_alphabetic() => (&text[..at], unit.to_ascii_lowercase()),
        _ => (text, default),
    };
    let unit: u128 = match unit {
        'b' => 1,
        's' => 512,
        unit => 1 << (10 * (1 + UNITS.iter().position(|known| *known == unit)?)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut bytes = whole.parse::<u128>().unwrap_or_default() * unit;
    if !fraction.is_empty() {
        bytes += fraction.parse::<u128>().ok()? * unit / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    }
    u64::try_from(bytes).ok()
}

/// `-l`: extents, or a share of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extents {
    Count(u64),
    /// Percent of all extents of the group.
    OfGroup(u64),
    /// Percent of the free ones.
    OfFree(u64),
    /// Percent of the free ones of the physical volumes named.
    OfPvs(u64),
}

/// Reads `-l`.
///
/// # Errors
/// Not a number of extents.
pub fn parse_extents(text: &str) -> Result<Extents> {
    let wrong = || bad_value("extents", text);
    let (number, of) = match text.split_once('%') {
        Some((number, of)) => (number, Some(of.to_ascii_uppercase())),
        None => (text, None),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(match of.as_deref() {
        None => Extents::Count(number),
        Some("VG") => Extents::OfGroup(number),
        Some("FREE") => Extents::OfFree(number),
        Some("PVS") => Extents::OfPvs(number),
        Some("ORIGIN") => return Err(Stop::usage("%ORIGIN is for snapshots, which vg-tool does not make.")),
        Some(_) => return Err(wrong()),
    })
}

/// How a report shows sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// `r`, `h`, `b`, `s`, `k`..`e`; upper case for units of 1000.
    pub unit: char,
    pub suffix: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { unit: 'r', suffix: true }
    }
}

impl Shown {
    /// Reads `--units`.
    ///
    /// # Errors
    /// Not a unit.
    pub fn parse(unit: &str, suffix: bool) -> Result<Self> {
        let mut letters = unit.chars();
        match (letters.next(), letters.next()) {
            (Some(unit), None) if "rhbskmgtpe".contains(unit.to_ascii_lowercase()) => Ok(Self { unit, suffix }),
            _ => Err(Stop::usage("Invalid units specification")),
        }
    }

    /// A size in sectors as the report shows it.
    #[must_use]
    pub fn show(self, sectors: u64) -> String {
        let bytes = u128::from(sectors) * 512;
        let lower = self.unit.to_ascii_lowercase();
        let base: u128 = if self.unit.is_ascii_uppercase() { 1000 } else { 1024 };
        if bytes == 0 && matches!(lower, 'r' | 'h') {
            return if self.suffix { "0 ".into() } else { "0".into() };
        }
        match lower {
            'b' => format!("{bytes}{}", if self.suffix { "B" } else { "" }),
            's' => format!("{}{}", bytes / 512, if self.suffix { "S" } else { "" }),
            'r' | 'h' => self.readable(bytes, base, lower == 'r'),
            unit => {
                let power = UNITS.iter().position(|known| *known == unit).unwrap_or_default() + 1;
                let divisor = base.pow(u32::try_from(power).unwrap_or_default());
                format!(
                    "{}{}",
                    hundredths(bytes, divisor).0,
                    if self.suffix { self.unit.to_string() } else { String::new() }
                )
            }
        }
    }

    fn readable(self, bytes: u128, base: u128, marked: bool) -> String {
        let mut power = 1;
        while power < UNITS.len() && bytes >= base.pow(u32::try_from(power + 1).unwrap_or_default()) {
            power += 1;
        }
        let divisor = base.pow(u32::try_from(power).unwrap_or_default());
        let (text, exact) = hundredths(bytes, divisor);
        // What was rounded up is less than it says.
        let mark = if marked && exact == std::cmp::Ordering::Less { "<" } else { "" };
        let unit = UNITS[power - 1];
        let unit = if base == 1000 { unit.to_ascii_uppercase() } else { unit };
        format!("{mark}{text}{}", if self.suffix { unit.to_string() } else { String::new() })
    }
}

/// Two decimals, rounded to the nearest, and how the true value compares with them.
fn hundredths(bytes: u128, divisor: u128) -> (String, std::cmp::Ordering) {
    let scaled = (bytes * 100 + divisor / 2) / divisor;
    (format!("{}.{:02}", scaled / 100, scaled % 100), (bytes * 100).cmp(&(scaled * divisor)))
}

/// A size in MiB, GiB.. as messages have it: `4.00 MiB`.
#[must_use]
pub fn in_words(sectors: u64) -> String {
    let text = Shown { unit: 'r', suffix: true }.show(sectors);
    match text.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            format!("{} {}iB", &text[..at], unit.to_ascii_uppercase())
        }
        _ => "0   ".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_mebibytes_unless_they_say_otherwise() {
        for (text, bytes) in [
            ("4", 4 << 20),
            ("4m", 4 << 20),
            ("4M", 4 << 20),
            ("8s", 4096),
            ("1.5g", 3 << 29),
            ("512b", 512),
            (".5k", 512),
        ] {
            assert_eq!(parse_default(text, 'm'), Some(bytes), "{text}");
        }
        for text in ["", "m", "-4", "4x", "1e3", "4mm", "99999999999e", "0x10"] {
            assert_eq!(parse_default(text, 'm'), None, "{text}");
        }
    }

    #[test]
    fn extents_are_a_number_or_a_share() {
        assert_eq!(parse_extents("10"), Ok(Extents::Count(10)));
        assert_eq!(parse_extents("100%free"), Ok(Extents::OfFree(100)));
        assert_eq!(parse_extents("50%PVS"), Ok(Extents::OfPvs(50)));
        assert!(parse_extents("10%").is_err() && parse_extents("x").is_err());
    }

    #[test]
    fn sizes_are_shown_as_lvm2_shows_them() {
        let shown = |unit: &str, sectors| Shown::parse(unit, true).unwrap().show(sectors);
        assert_eq!(shown("r", 8192), "4.00m");
        assert_eq!(shown("h", 8192), "4.00m");
        assert_eq!(shown("b", 8192), "4194304B");
        assert_eq!(shown("s", 8192), "8192S");
        assert_eq!(shown("g", 8192), "0.00g");
        assert_eq!(shown("H", 8192), "4.19M");
        assert_eq!(shown("r", 0), "0 ");
        assert_eq!(shown("r", 4088), "<2.00m");
        assert_eq!(in_words(8192), "4.00 MiB");
    }
}
