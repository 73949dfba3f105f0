//! The header common to all AoE messages (AoEr11 §2).

use std::fmt;

use super::{ETHERTYPE, Malformed, VERSION, put, raw, split};
use crate::mac::Mac;

/// The major address: a shelf of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shelf(pub u16);

impl Shelf {
    /// Addresses every shelf.
    pub const ALL: Self = Self(0xffff);
}

/// The minor address: a slot in a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u8);

impl Slot {
    /// Addresses every slot.
    pub const ALL: Self = Self(0xff);
}

/// Where a target is: `e7.3` is shelf 7, slot 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Major.
    pub shelf: Shelf,
    /// Minor.
    pub slot: Slot,
}

impl Address {
    /// Every target on the segment.
    pub const ALL: Self = Self { shelf: Shelf::ALL, slot: Slot::ALL };

    /// Whether a frame with this address is for `target`; shelf and slot are wild independently.
    #[must_use]
    pub fn reaches(self, target: Self) -> bool {
        (self.shelf == target.shelf || self.shelf == Shelf::ALL) && (self.slot == target.slot || self.slot == Slot::ALL)
    }

    /// Whether it may reach more than one target.
    #[must_use]
    pub fn is_wild(self) -> bool {
        self.shelf == Shelf::ALL || self.slot == Slot::ALL
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}", self.shelf.0, self.slot.0)
    }
}

/// The low four bits of byte 14.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// R: an answer.
    pub const RESPONSE: Self = Self(0x08);
    /// E: an answer whose error byte counts.
    pub const ERROR: Self = Self(0x04);

    /// Whether all of these bits are set.
    #[must_use]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// These bits as well.
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What a message asks for (byte 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// 0: carry out an ATA command.
    Ata,
    /// 1: read, test or set the config string.
    Config,
    /// 2: read or edit the list of addresses that are served.
    Mask,
    /// 3: read or set the list of addresses that may use the disk.
    Reserve,
    /// Unassigned, or a vendor's (F0h and above).
    Other(u8),
}

impl From<u8> for Command {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::Ata,
            1 => Self::Config,
            2 => Self::Mask,
            3 => Self::Reserve,
            other => Self::Other(other),
        }
    }
}

impl From<Command> for u8 {
    fn from(command: Command) -> Self {
        match command {
            Command::Ata => 0,
            Command::Config => 1,
            Command::Mask => 2,
            Command::Reserve => 3,
            Command::Other(other) => other,
        }
    }
}

/// Why a message was refused (byte 15, with the E flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// No such command.
    UnrecognizedCommand = 1,
    /// The argument is malformed or out of range.
    BadArgument = 2,
    /// The disk takes no ATA commands any more.
    Unavailable = 3,
    /// A config string is set already.
    ConfigPresent = 4,
    /// Another protocol version.
    UnsupportedVersion = 5,
    /// Another host has reserved the target.
    Reserved = 6,
}

/// A message without its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset 0.
    pub destination: Mac,
    /// Offset 6: who a mask or reserve list means.
    pub source: Mac,
    /// Offset 14, high four bits.
    pub version: u8,
    /// Offset 14, low four bits.
    pub flags: Flags,
    /// Offset 15: a [`Code`] when the E flag is set.
    pub error: u8,
    /// Offsets 16 and 18.
    pub address: Address,
    /// Offset 19.
    pub command: Command,
    /// Offset 20: opaque to a target. Linux's driver keeps bit 31 clear, its user tools set it.
    pub tag: u32,
}

impl Header {
    /// Bytes of a header; the command's argument follows.
    pub const LENGTH: usize = size_of::<raw::Header>();

    /// Takes a frame apart into header and argument. Version and flags are the caller's to judge.
    ///
    /// # Errors
    /// The frame is short or of another EtherType.
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (raw, argument) = split::<raw::Header>(frame, "header")?;
        if raw.ethertype.get() != ETHERTYPE {
            return Err(Malformed::EtherType(raw.ethertype.get()));
        }
        let header = Self {
            destination: Mac(raw.destination),
            source: Mac(raw.source),
            version: raw.version_flags >> 4,
            flags: Flags(raw.version_flags & 0x0f),
            error: raw.error,
            address: Address { shelf: Shelf(raw.shelf.get()), slot: Slot(raw.slot) },
            command: raw.command.into(),
            tag: raw.tag.get(),
        };
        Ok((header, argument))
    }

    /// Writes the header to the front of `out` and returns the rest, where the argument goes.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn encode<'a>(&self, out: &'a mut [u8]) -> Result<&'a mut [u8], Malformed> {
        let raw = raw::Header {
            destination: self.destination.0,
            source: self.source.0,
            ethertype: ETHERTYPE.into(),
            version_flags: self.version << 4 | self.flags.0 & 0x0f,
            error: self.error,
            shelf: self.address.shelf.0.into(),
            slot: self.address.slot.0,
            command: self.command.into(),
            tag: self.tag.into(),
        };
        put(&raw, out, "header")
    }

    /// The header of an answer from the target `address` at `source`: nothing of the request but
    /// its sender, command and tag is in it.
    #[must_use]
    pub fn answer(&self, source: Mac, address: Address) -> Self {
        Self {
            destination: self.source,
            source,
            version: VERSION,
            flags: Flags::RESPONSE,
            error: 0,
            address,
            command: self.command,
            tag: self.tag,
        }
    }

    /// The same answer as a refusal.
    #[must_use]
    pub fn refused(self, code: Code) -> Self {
        Self { flags: self.flags.with(Flags::ERROR), error: code as u8, ..self }
    }
}
