//! Query config information (command 1, AoEr11 §3.2): who is there, and labels for them.

use super::{MAX_CONFIG, Malformed, put, raw, split};

/// What to do with the string (low four bits of offset 29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// 0: answer with the current string.
    Read,
    /// 1: answer only if the strings are equal.
    Test,
    /// 2: answer only if the argument begins the current string.
    TestPrefix,
    /// 3: take the argument if there is no current string.
    Set,
    /// 4: take the argument.
    ForceSet,
    /// 5 to 15: unassigned.
    Other(u8),
}

impl From<u8> for Action {
    fn from(nibble: u8) -> Self {
        match nibble {
            0 => Self::Read,
            1 => Self::Test,
            2 => Self::TestPrefix,
            3 => Self::Set,
            4 => Self::ForceSet,
            other => Self::Other(other),
        }
    }
}

impl From<Action> for u8 {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => 0,
            Action::Test => 1,
            Action::TestPrefix => 2,
            Action::Set => 3,
            Action::ForceSet => 4,
            Action::Other(other) => other,
        }
    }
}

/// A config message's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config<'a> {
    /// Offset 24: messages the target can queue; zero in requests. Linux ignores a target that
    /// has fewer than two.
    pub buffers: u16,
    /// Offset 26: whatever the target's maker likes.
    pub firmware: u16,
    /// Offset 28: most sectors of one ATA message; 0 means 2.
    pub sectors: u8,
    /// Offset 29, high four bits: the protocol version the target speaks.
    pub version: u8,
    /// Offset 29, low four bits.
    pub action: Action,
    /// Offset 32: any bytes.
    pub string: &'a [u8],
}

impl<'a> Config<'a> {
    /// Bytes before the string.
    pub const LENGTH: usize = size_of::<raw::Config>();

    /// Takes a message's argument apart.
    ///
    /// # Errors
    /// The argument or its string is short, or the string too long.
    pub fn parse(argument: &'a [u8]) -> Result<Self, Malformed> {
        let (raw, rest) = split::<raw::Config>(argument, "config query")?;
        let length = usize::from(raw.length.get());
        if length > MAX_CONFIG {
            return Err(Malformed::ConfigLength(length));
        }
        let string =
            rest.get(..length).ok_or(Malformed::Short { part: "config string", need: length, have: rest.len() })?;
        Ok(Self {
            buffers: raw.buffers.get(),
            firmware: raw.firmware.get(),
            sectors: raw.sectors,
            version: raw.version_command >> 4,
            action: (raw.version_command & 0x0f).into(),
            string,
        })
    }

    /// Writes the argument to the front of `out` and returns its length.
    ///
    /// # Errors
    /// `out` is too short or the string too long.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Malformed> {
        let length = u16::try_from(self.string.len())
            .ok()
            .filter(|length| usize::from(*length) <= MAX_CONFIG)
            .ok_or(Malformed::ConfigLength(self.string.len()))?;
        let raw = raw::Config {
            buffers: self.buffers.into(),
            firmware: self.firmware.into(),
            sectors: self.sectors,
            version_command: self.version << 4 | u8::from(self.action) & 0x0f,
            length: length.into(),
        };
        let rest = put(&raw, out, "config query")?;
        let have = rest.len();
        let short = Malformed::Short { part: "config string", need: self.string.len(), have };
        rest.get_mut(..self.string.len()).ok_or(short)?.copy_from_slice(self.string);
        Ok(Self::LENGTH + self.string.len())
    }
}
