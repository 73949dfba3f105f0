//! What a row of a report is about.

use lvm2_format::roles::Roles;
use lvm2_format::{Lv, Segment};
use nines_sys::dm::Info;

use crate::active::{Devices, Mapper, dm_uuid};
use crate::groups::{Group, World};
use crate::scan::Found;
use crate::size::Shown;

/// A group with what is computed once for all of its rows.
#[derive(Debug)]
pub struct View<'a> {
    pub group: &'a Group,
    pub roles: Roles<'a>,
    /// Extents in use on each physical volume.
    pub used: Vec<u64>,
    /// Indexes of physical volumes that count as absent.
    pub missing: Vec<usize>,
}

impl<'a> View<'a> {
    #[must_use]
    pub fn new(group: &'a Group) -> Self {
        let mut used = vec![0; group.vg.pvs.len()];
        for (pv, _, count) in group.vg.used() {
            used[pv] += u64::from(count);
        }
        Self { roles: Roles::of(&group.vg), used, missing: group.missing(), group }
    }

    /// Whether any part of a volume is on an absent physical volume.
    #[must_use]
    pub fn is_partial(&self, lv: &Lv) -> bool {
        !self.missing.is_empty() && self.partial(lv, 8)
    }

    fn partial(&self, lv: &Lv, depth: usize) -> bool {
        let vg = &self.group.vg;
        let below = |name: &str| {
            if let Some(index) = vg.pvs.iter().position(|pv| pv.key == name) {
                return self.missing.contains(&index);
            }
            depth > 0 && vg.lv(name).is_some_and(|lv| self.partial(lv, depth - 1))
        };
        lv.segments.iter().any(|segment| parts(segment).iter().any(|name| below(name)))
    }
}

/// Everything a segment is made of: physical volumes by key, logical volumes by name.
#[must_use]
pub fn parts(segment: &Segment) -> Vec<String> {
    let mut names: Vec<String> = segment.areas().into_iter().map(|area| area.on).collect();
    if let lvm2_format::Mapping::Other(keys) = &segment.mapping {
        for key in ["mirror_log", "raids", "raid0_lvs", "metadata", "pool", "thin_pool"] {
            let cells = keys.value(key).map(|value| value.as_list()).unwrap_or_default();
            names.extend(cells.iter().filter_map(|cell| cell.as_text()).map(str::to_owned));
        }
    }
    names
}

/// A physical volume in a report.
#[derive(Debug, Clone, Copy)]
pub struct PvRow<'a> {
    pub found: Option<&'a Found>,
    /// Its place in its group.
    pub index: Option<usize>,
    /// Another device with the same id was chosen.
    pub duplicate: bool,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub world: &'a World,
    pub shown: Shown,
    pub devices: &'a Devices,
    pub mapper: Option<&'a dyn Mapper>,
    /// Whether device-mapper was switched off rather than absent.
    pub switched_off: bool,
    pub dev_dir: &'a str,
    pub view: Option<&'a View<'a>>,
    pub pv: Option<PvRow<'a>>,
    pub lv: Option<&'a Lv>,
    pub segment: Option<&'a Segment>,
}

impl<'a> Row<'a> {
    #[must_use]
    pub fn vg(&self) -> Option<&'a lvm2_format::Vg> {
        self.view.map(|view| &*view.group.vg)
    }

    /// The group's record of the physical volume.
    #[must_use]
    pub fn pv_record(&self) -> Option<&'a lvm2_format::Pv> {
        self.vg()?.pvs.get(self.pv?.index?)
    }

    /// The kernel's word on the volume: `None` when it cannot be known, `Some(None)` when it has
    /// no device.
    #[must_use]
    pub fn info(&self) -> Option<Option<Info>> {
        let uuid = dm_uuid(self.vg()?, self.lv?);
        if !self.devices.is_known() {
            return None;
        }
        if !self.devices.may_have(&uuid) {
            return Some(None);
        }
        self.mapper.and_then(|mapper| mapper.status(&uuid).ok())
    }

    /// Sectors as the report shows them.
    #[must_use]
    pub fn size(&self, sectors: u64) -> super::Cell {
        super::Cell { text: self.shown.show(sectors), number: Some(sectors.into()) }
    }
}
