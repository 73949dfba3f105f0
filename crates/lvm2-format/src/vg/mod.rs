//! A volume group as its metadata describes it.
//!
//! What is read is kept so that it can be written back unchanged; what cannot be kept is named in
//! [`Vg::unknown`], and such a group must not be written.

mod check;
mod flags;
mod read;
mod write;

pub use check::Invalid;
pub use flags::{Flags, LV_FLAGS, LV_STATUS, PV_FLAGS, PV_STATUS, VG_FLAGS, VG_STATUS};
pub use read::ReadError;
pub use write::{Origin, to_disk, to_file};

use crate::Id;
use crate::text::Section;

/// A volume group.
#[derive(Debug, Clone, PartialEq)]
pub struct Vg {
    pub name: String,
    pub id: Id,
    /// Grows with every change.
    pub seqno: u32,
    pub status: Flags,
    pub flags: Flags,
    pub tags: Vec<String>,
    pub system_id: Option<String>,
    pub lock_type: Option<String>,
    pub lock_args: Option<String>,
    /// In sectors.
    pub extent_size: u64,
    pub max_lv: u32,
    pub max_pv: u32,
    pub allocation_policy: Option<String>,
    pub profile: Option<String>,
    /// 0: every area not set aside by hand; `u32::MAX`: all.
    pub metadata_copies: u32,
    pub pvs: Vec<Pv>,
    pub lvs: Vec<Lv>,
    /// Removed thin volumes LVM2 remembers; carried along.
    pub historical: Option<Section<'static>>,
    /// Things in the text this library cannot write back.
    pub unknown: Vec<String>,
}

/// A physical volume of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Pv {
    /// What segments call it: `pv0`.
    pub key: String,
    pub id: Id,
    /// Where it was seen last. A hint for people, never trusted.
    pub device: String,
    pub device_id_type: Option<String>,
    pub device_id: Option<String>,
    pub status: Flags,
    pub flags: Flags,
    pub tags: Vec<String>,
    /// In sectors; 0 in texts of old LVM2.
    pub dev_size: u64,
    /// In sectors.
    pub pe_start: u64,
    pub pe_count: u32,
    /// In sectors: where, how much.
    pub bootloader: Option<(u64, u64)>,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Lv {
    pub name: String,
    pub id: Id,
    pub status: Flags,
    pub flags: Flags,
    pub tags: Vec<String>,
    /// When (seconds since 1970) and on which host.
    pub creation: Option<(u64, String)>,
    pub lock_args: Option<String>,
    pub allocation_policy: Option<String>,
    pub profile: Option<String>,
    /// In sectors; -1 for none, absent for automatic.
    pub read_ahead: Option<i64>,
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub segments: Vec<Segment>,
}

/// A run of logical extents mapped one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub start: u32,
    pub count: u32,
    pub reshape_count: Option<u32>,
    /// As written, suffixes included: `striped`, `raid1`, `thin-pool`.
    pub kind: String,
    pub tags: Vec<String>,
    pub mapping: Mapping,
}

/// How a segment is mapped.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapping {
    /// `striped`; one stripe is linear.
    Striped { stripe_size: Option<u64>, areas: Vec<Area> },
    /// Any other type: its own keys, in the order of the text.
    Other(Section<'static>),
}

/// A run of extents on a physical volume, or on another logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// The key of a [`Pv`] or the name of an [`Lv`].
    pub on: String,
    pub extent: u32,
}

impl Vg {
    /// Reads the committed text of a metadata area, or a backup file.
    ///
    /// # Errors
    /// The text cannot be read, is no volume group, or contradicts itself.
    pub fn parse(text: &[u8]) -> Result<Self, ReadError> {
        read::parse(text)
    }

    /// Looks for what a written text may never contain: extents used twice, segments with gaps,
    /// names that are not names.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), Invalid> {
        check::check(self)
    }

    #[must_use]
    pub fn is_clustered(&self) -> bool {
        self.status.has("CLUSTERED")
    }

    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.status.has("EXPORTED")
    }

    /// Whether LVM2 may change it: the flag is kept apart in groups with a lock type.
    #[must_use]
    pub fn is_writeable(&self) -> bool {
        self.status.has("WRITE") || self.flags.has("WRITE_LOCKED")
    }

    #[must_use]
    pub fn lv(&self, name: &str) -> Option<&Lv> {
        self.lvs.iter().find(|lv| lv.name == name)
    }

    #[must_use]
    pub fn pv(&self, key: &str) -> Option<&Pv> {
        self.pvs.iter().find(|pv| pv.key == key)
    }

    /// All extents of the group.
    #[must_use]
    pub fn extent_count(&self) -> u64 {
        self.pvs.iter().map(|pv| u64::from(pv.pe_count)).sum()
    }

    /// Every run of extents in use: index of the physical volume, first extent, how many; in
    /// order.
    #[must_use]
    pub fn used(&self) -> Vec<(usize, u32, u32)> {
        let keys: std::collections::HashMap<&str, usize> =
            self.pvs.iter().enumerate().map(|(index, pv)| (pv.key.as_str(), index)).collect();
        let mut used = Vec::new();
        for segment in self.lvs.iter().flat_map(|lv| &lv.segments) {
            let length = segment.area_length();
            for area in segment.areas() {
                if let Some(index) = keys.get(area.on.as_str()) {
                    used.push((*index, area.extent, length));
                }
            }
        }
        used.sort_unstable();
        used
    }

    /// Inserts a logical volume where LVM2 lists a new visible one: behind the visible ones and
    /// before the hidden ones.
    pub fn insert_lv(&mut self, lv: Lv) {
        let at = self.lvs.iter().rposition(|lv| lv.is_visible()).map_or(0, |last| last + 1);
        self.lvs.insert(at, lv);
    }
}

impl Lv {
    /// Its length in extents.
    #[must_use]
    pub fn extents(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.count)).sum()
    }

    /// Whether its status says so. A snapshot's store is shown to people without this flag, and
    /// the hidden volume that ties it to its origin has it: reports use
    /// [`Roles`](crate::roles::Roles).
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.status.has("VISIBLE") && !self.segments.iter().any(|segment| segment.kind() == "snapshot")
    }

    #[must_use]
    pub fn is_writeable(&self) -> bool {
        self.status.has("WRITE") || self.flags.has("WRITE_LOCKED")
    }
}

impl Segment {
    /// The type without the flags LVM2 appends behind `+`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind.split('+').next().unwrap_or_default()
    }

    /// The areas that name a physical volume or another logical volume with an extent.
    #[must_use]
    pub fn areas(&self) -> Vec<Area> {
        match &self.mapping {
            Mapping::Striped { areas, .. } => areas.clone(),
            Mapping::Other(keys) => keys.value("mirrors").map_or_else(Vec::new, |list| {
                list.as_list()
                    .chunks_exact(2)
                    .filter_map(|pair| {
                        let extent = u32::try_from(pair[1].as_int()?).ok()?;
                        Some(Area { on: pair[0].as_text()?.to_owned(), extent })
                    })
                    .collect()
            }),
        }
    }

    /// How many extents each area takes.
    #[must_use]
    pub fn area_length(&self) -> u32 {
        match &self.mapping {
            Mapping::Striped { areas, .. } => self.count / u32::try_from(areas.len().max(1)).unwrap_or(u32::MAX),
            Mapping::Other(_) => self.count,
        }
    }

    /// A single stripe: the area.
    #[must_use]
    pub fn linear_area(&self) -> Option<&Area> {
        match &self.mapping {
            Mapping::Striped { areas, .. } if areas.len() == 1 => areas.first(),
            _ => None,
        }
    }
}
