//! LVM2's format on disk: label, metadata area, text, and the volume group it describes.
//!
//! Nothing here does I/O: bytes come in as slices and go out as vectors. Whatever the bytes are,
//! reading them ends in a value or an error, in memory proportional to their length.
//!
//! ```text
//! sector 0..3   label: id, size, where the data and the metadata areas are        [Label]
//! area          header: which text is committed                                   [mda::Header]
//!               ring: the committed text, and room for the next
//! text          the volume group: its physical and logical volumes                [Vg]
//! ```
#![forbid(unsafe_code)]

mod bytes;
mod crc;
mod id;
pub mod label;
pub mod mda;
pub mod name;
pub mod roles;
pub mod text;
pub mod vg;

pub use crc::{crc, crc_of_pieces};
pub use id::{BadId, Id};
pub use label::{Label, LabelError, Region};
pub use mda::MdaError;
pub use vg::{Area, Lv, Mapping, Pv, ReadError, Segment, Vg};

/// The unit of every sector count in the format.
pub const SECTOR: usize = 512;
