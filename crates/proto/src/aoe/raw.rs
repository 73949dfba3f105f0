//! The bytes: every structure as it lies in a frame, without alignment or padding.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// AoEr11 §2, the header common to all messages.
///
/// ```text
///  0  destination address      6 bytes
///  6  source address           6
/// 12  EtherType 88A2h          2
/// 14  version, flags           4 bits each
/// 15  error                    1
/// 16  major: shelf             2
/// 18  minor: slot              1
/// 19  command                  1
/// 20  tag                      4
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: U16,
    pub version_flags: u8,
    pub error: u8,
    pub shelf: U16,
    pub slot: u8,
    pub command: u8,
    pub tag: U32,
}
const _: () = assert!(size_of::<Header>() == 24);

/// AoEr11 §3.1, issue ATA command.
///
/// ```text
/// 24  flags                    1 byte
/// 25  feature, or error        1
/// 26  sector count             1
/// 27  command, or status       1
/// 28  LBA, least byte first    6
/// 34  reserved                 2
/// 36  data
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Ata {
    pub flags: u8,
    pub feature_error: u8,
    pub count: u8,
    pub command_status: u8,
    pub lba: [u8; 6],
    pub reserved: [u8; 2],
}
const _: () = assert!(size_of::<Ata>() == 12);

/// AoEr11 §3.2, query config information.
///
/// ```text
/// 24  buffer count             2 bytes
/// 26  firmware version         2
/// 28  sector count             1
/// 29  AoE version, command     4 bits each
/// 30  string length            2
/// 32  string
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Config {
    pub buffers: U16,
    pub firmware: U16,
    pub sectors: u8,
    pub version_command: u8,
    pub length: U16,
}
const _: () = assert!(size_of::<Config>() == 8);

/// AoEr11 §3.3, MAC mask list.
///
/// ```text
/// 24  reserved                 1 byte
/// 25  command                  1
/// 26  error                    1
/// 27  directive count          1
/// 28  directives               8 each
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Mask {
    pub reserved: u8,
    pub command: u8,
    pub error: u8,
    pub count: u8,
}
const _: () = assert!(size_of::<Mask>() == 4);

/// AoEr11 §3.3, one directive: reserved byte, command, address.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Directive {
    pub reserved: u8,
    pub command: u8,
    pub mac: [u8; 6],
}
const _: () = assert!(size_of::<Directive>() == 8);

/// AoEr11 §3.4, reserve and release.
///
/// ```text
/// 24  command                  1 byte
/// 25  address count            1
/// 26  addresses                6 each
/// ```
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Reserve {
    pub command: u8,
    pub count: u8,
}
const _: () = assert!(size_of::<Reserve>() == 2);
