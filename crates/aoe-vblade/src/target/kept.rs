//! What a target remembers beyond its end: what hosts have set over the wire, and who is denied.

use nines_proto::aoe::MAX_CONFIG;
use nines_proto::mac::Mac;
use serde::{Deserialize, Serialize};

use super::{LIST, Target};

/// A target's memory, as text that people can read and repair: addresses in colons, the config
/// string, which may be any bytes, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The config string.
    #[serde(default)]
    pub config: String,
    /// The mask list.
    #[serde(default)]
    pub mask: Vec<String>,
    /// The reserve list.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Who is denied everything.
    #[serde(default)]
    pub denied: Vec<String>,
}

/// Why something kept is no target's memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not pairs of hexadecimal digits.
    #[error("config: `{0}' is not hexadecimal")]
    Config(String),
    /// More than an answer can show.
    #[error("{list}: {given} entries, at most {most}")]
    TooLong {
        /// Which part.
        list: &'static str,
        /// Its length.
        given: usize,
        /// What it may be.
        most: usize,
    },
    /// No Ethernet address.
    #[error("{list}: {bad}")]
    Mac {
        /// Which part.
        list: &'static str,
        /// The text.
        bad: nines_proto::mac::BadMac,
    },
}

impl Target {
    /// Whether there is something to keep that was not [`saved`](Self::saved) yet. What changed it
    /// may be answered when it is.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// What was [`kept`](Self::kept) last is where it outlives this process.
    pub fn saved(&mut self) {
        self.changed = false;
    }

    /// What there is to keep.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let texts = |list: &[Mac]| list.iter().map(Mac::to_string).collect();
        Kept {
            config: self.config.iter().map(|byte| format!("{byte:02x}")).collect(),
            mask: texts(&self.mask),
            reserved: texts(&self.reserved),
            denied: texts(&self.denied),
        }
    }

    /// Takes up what was kept, in place of what there is. A mask list that is longer than this
    /// interface's answers still holds: it only cannot be shown.
    ///
    /// # Errors
    /// It is not a target's memory; nothing has changed then.
    pub fn restore(&mut self, kept: &Kept) -> Result<(), Unfit> {
        let config = config(&kept.config)?;
        let mask = list("mask", &kept.mask, LIST)?;
        let reserved = list("reserved", &kept.reserved, LIST)?;
        let mut denied = list("denied", &kept.denied, usize::MAX)?;
        denied.sort_unstable();
        denied.dedup();
        // The lists keep the room they have.
        self.mask.clear();
        for mac in mask {
            if !self.mask.contains(&mac) {
                self.mask.push(mac);
            }
        }
        self.reserved.clear();
        self.reserved.extend(reserved);
        self.config.clear();
        self.config.extend_from_slice(&config);
        self.denied = denied;
        Ok(())
    }
}

fn config(text: &str) -> Result<Vec<u8>, Unfit> {
    let bad = || Unfit::Config(text.to_owned());
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    if text.len() / 2 > MAX_CONFIG {
        return Err(Unfit::TooLong { list: "config", given: text.len() / 2, most: MAX_CONFIG });
    }
    let byte = |pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    text.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>().ok_or_else(bad)
}

fn list(list: &'static str, texts: &[String], most: usize) -> Result<Vec<Mac>, Unfit> {
    if texts.len() > most {
        return Err(Unfit::TooLong { list, given: texts.len(), most });
    }
    texts.iter().map(|text| text.parse().map_err(|bad| Unfit::Mac { list, bad })).collect()
}
