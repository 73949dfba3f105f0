//! What no volume group may be, whoever wrote it.

use std::collections::{HashMap, HashSet};

use super::{Mapping, Vg};
use crate::name::{self, BadName};

/// A contradiction inside a volume group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("two objects are called {0}")]
    Twice(String),
    #[error("two objects have the id {0}")]
    SameId(crate::Id),
    #[error("extents of {0} sectors")]
    ExtentSize(u64),
    #[error("{0} is larger than any device")]
    Overflow(String),
    #[error("the segments of {0} leave a gap or overlap")]
    Gap(String),
    #[error("{lv} uses extents {start}+{count} of {pv}, which has {has}")]
    Outside { lv: String, pv: String, start: u32, count: u32, has: u32 },
    #[error("{lv} refers to {on}, which is not in the group")]
    Dangling { lv: String, on: String },
    #[error("extent {extent} of {pv} is used twice")]
    UsedTwice { pv: String, extent: u32 },
    #[error("{0}: extents do not divide into its stripes")]
    Stripes(String),
}

pub(super) fn check(vg: &Vg) -> Result<(), Invalid> {
    name::check(&vg.name)?;
    if vg.extent_size == 0 || vg.extent_size > u64::from(u32::MAX) {
        return Err(Invalid::ExtentSize(vg.extent_size));
    }
    let mut counts = HashMap::new();
    let mut ids = HashSet::new();
    for pv in &vg.pvs {
        if counts.insert(pv.key.as_str(), pv.pe_count).is_some() {
            return Err(Invalid::Twice(pv.key.clone()));
        }
        if !ids.insert(pv.id) {
            return Err(Invalid::SameId(pv.id));
        }
        let end = u64::from(pv.pe_count).checked_mul(vg.extent_size).and_then(|data| data.checked_add(pv.pe_start));
        // In bytes and for a signed reader, as device offsets are.
        if end.is_none_or(|end| end > (1 << 54)) {
            return Err(Invalid::Overflow(pv.key.clone()));
        }
    }
    // A logical volume may be called pv0: the keys of physical volumes are names of their own.
    let mut lengths = HashMap::new();
    for lv in &vg.lvs {
        name::check(&lv.name)?;
        if lengths.insert(lv.name.as_str(), u32::try_from(lv.extents()).unwrap_or(u32::MAX)).is_some() {
            return Err(Invalid::Twice(lv.name.clone()));
        }
        if !ids.insert(lv.id) {
            return Err(Invalid::SameId(lv.id));
        }
    }
    for lv in &vg.lvs {
        let mut next = 0u32;
        for segment in &lv.segments {
            if segment.start != next || segment.count == 0 {
                return Err(Invalid::Gap(lv.name.clone()));
            }
            next = next.checked_add(segment.count).ok_or_else(|| Invalid::Overflow(lv.name.clone()))?;
            if let Mapping::Striped { areas, .. } = &segment.mapping
                && !u32::try_from(areas.len()).is_ok_and(|stripes| segment.count % stripes == 0)
            {
                return Err(Invalid::Stripes(lv.name.clone()));
            }
            let count = segment.area_length();
            for area in segment.areas() {
                let end = area.extent.checked_add(count);
                let has = counts.get(area.on.as_str()).or_else(|| lengths.get(area.on.as_str()));
                let Some(&has) = has else {
                    return Err(Invalid::Dangling { lv: lv.name.clone(), on: area.on.clone() });
                };
                if end.is_none_or(|end| end > has) {
                    let (start, pv) = (area.extent, area.on.clone());
                    return Err(Invalid::Outside { lv: lv.name.clone(), pv, start, count, has });
                }
            }
        }
    }
    let mut end_of_last = (0, 0);
    for (pv, start, count) in vg.used() {
        if pv == end_of_last.0 && start < end_of_last.1 {
            return Err(Invalid::UsedTwice { pv: vg.pvs[pv].key.clone(), extent: start });
        }
        end_of_last = (pv, start + count);
    }
    Ok(())
}
