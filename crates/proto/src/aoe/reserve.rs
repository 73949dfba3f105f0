//! Reserve and release (command 3, AoEr11 §3.4): the addresses that may use the disk.

use super::{Malformed, put, raw, split};
use crate::mac::Mac;

/// What to do with the list (offset 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// 0: answer with it.
    Read,
    /// 1: replace it, if it is empty or the sender is on it.
    Set,
    /// 2: replace it.
    ForceSet,
    /// Unassigned.
    Other(u8),
}

impl From<u8> for Action {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::Read,
            1 => Self::Set,
            2 => Self::ForceSet,
            other => Self::Other(other),
        }
    }
}

impl From<Action> for u8 {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => 0,
            Action::Set => 1,
            Action::ForceSet => 2,
            Action::Other(other) => other,
        }
    }
}

/// A reserve message's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve<'a> {
    /// Offset 24.
    pub action: Action,
    macs: &'a [[u8; 6]],
}

impl<'a> Reserve<'a> {
    /// Bytes before the addresses.
    pub const LENGTH: usize = size_of::<raw::Reserve>();
    /// Bytes of an address.
    pub const ENTRY: usize = 6;

    /// Takes a message's argument apart. Bytes behind the list are Ethernet's padding.
    ///
    /// # Errors
    /// The argument or its list is short.
    pub fn parse(argument: &'a [u8]) -> Result<Self, Malformed> {
        let (raw, rest) = split::<raw::Reserve>(argument, "reserve list")?;
        let need = usize::from(raw.count) * Self::ENTRY;
        let have = rest.len();
        let bytes = rest.get(..need).ok_or(Malformed::Short { part: "reserve addresses", need, have })?;
        let (macs, _) = bytes.as_chunks::<6>();
        Ok(Self { action: raw.command.into(), macs })
    }

    /// The addresses.
    pub fn macs(&self) -> impl ExactSizeIterator<Item = Mac> + 'a {
        self.macs.iter().map(|mac| Mac(*mac))
    }

    /// Writes an argument with these addresses to the front of `out` and returns its length.
    ///
    /// # Errors
    /// `out` is too short, or there are more than 255 addresses.
    pub fn encode(action: Action, macs: &[Mac], out: &mut [u8]) -> Result<usize, Malformed> {
        let count =
            u8::try_from(macs.len()).map_err(|_| Malformed::Count { part: "reserve list", count: macs.len() })?;
        let mut rest = put(&raw::Reserve { command: action.into(), count }, out, "reserve list")?;
        for mac in macs {
            rest = put(&mac.0, rest, "reserve addresses")?;
        }
        Ok(Self::LENGTH + macs.len() * Self::ENTRY)
    }
}
