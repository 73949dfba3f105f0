//! Ethernet addresses as people and AoE write them.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff, every station on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
}

/// The text is not twelve hexadecimal digits in pairs, with or without colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}' is not an Ethernet address such as 00:16:3e:00:00:0a")]
pub struct BadMac(pub String);

impl FromStr for Mac {
    type Err = BadMac;

    /// Accepts `00:16:3e:00:00:0a` and `00163e00000a` in either case, as vblade's `-m` does.
    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let digits: String = if text.contains(':') {
            let pairs: Vec<&str> = text.split(':').collect();
            if pairs.len() != 6 || pairs.iter().any(|pair| pair.len() != 2) {
                return Err(bad());
            }
            pairs.concat()
        } else {
            text.to_owned()
        };
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut mac = [0; 6];
        for (byte, pair) in mac.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_one_is_written() {
        let mac: Mac = "00163E00000a".parse().unwrap();
        assert_eq!(mac.to_string(), "00:16:3e:00:00:0a");
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn near_misses_are_refused_with_the_text_quoted() {
        for bad in ["", "00:16:3e:00:00", "0:016:3e:00:00:0a", "00163e00000g", "00163e00000é", "00:16:3e:00:00:0a:1"] {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac(bad.to_owned())));
        }
    }
}
