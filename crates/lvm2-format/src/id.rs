//! LVM2's identifiers: 32 characters out of 62, shown as 6-4-4-4-4-4-6.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// Where the dashes go in the shown form.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// The identifier of a physical volume, a volume group or a logical volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

impl Id {
    /// Makes an identifier out of 32 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// Reads the form without dashes that is in labels.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        // LVM2 accepts the last two on reading and never makes them.
        bytes.iter().all(|byte| ALPHABET.contains(byte) || b"!#".contains(byte)).then_some(Self(bytes))
    }

    /// The form without dashes, as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form without dashes.
    #[must_use]
    pub fn compact(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}' is not an LVM2 identifier")]
pub struct BadId(String);

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            *bytes.get_mut(filled).ok_or_else(|| BadId(text.chars().take(64).collect()))? = byte;
            filled += 1;
        }
        if filled < bytes.len() { None } else { Self::from_bytes(bytes) }
            .ok_or_else(|| BadId(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.compact();
        for (index, length) in GROUPS.into_iter().enumerate() {
            let (group, tail) = rest.split_at(length);
            if index > 0 {
                f.write_str("-")?;
            }
            f.write_str(group)?;
            rest = tail;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_with_and_without_dashes() {
        let text = "fZWnQj-3giP-9JNe-xyTJ-iXgK-3sfI-eG5yoN";
        let id: Id = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.compact().parse::<Id>().unwrap(), id);
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in ["", "fZWnQj", "fZWnQj-3giP-9JNe-xyTJ-iXgK-3sfI-eG5yoN0", "fZWnQj_3giP-9JNe-xyTJ-iXgK-3sfI-eG5yo"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
