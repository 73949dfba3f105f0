//! The columns there are: LVM2's names, headings, widths and meanings.

use lvm2_format::{Mapping, Segment};

use super::{Cell, Row, attr};

/// What a field is about, and so which reports may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Pv,
    Vg,
    Lv,
    Segment,
}

/// A column.
pub struct Field {
    pub name: &'static str,
    pub heading: &'static str,
    /// Narrowest with headings.
    pub width: usize,
    /// Narrowest without.
    pub floor: usize,
    pub right: bool,
    pub scope: Scope,
    pub cell: fn(&Row<'_>) -> Cell,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn left(
    name: &'static str,
    heading: &'static str,
    width: usize,
    scope: Scope,
    cell: fn(&Row<'_>) -> Cell,
) -> Field {
    Field { name, heading, width, floor: usize::MAX, right: false, scope, cell }
}

const fn right(
    name: &'static str,
    heading: &'static str,
    width: usize,
    scope: Scope,
    cell: fn(&Row<'_>) -> Cell,
) -> Field {
    Field { name, heading, width, floor: usize::MAX, right: true, scope, cell }
}

fn empty() -> Cell {
    Cell::text("")
}

/// A word that is shown when something holds.
fn word(holds: bool, word: &str) -> Cell {
    Cell::text(if holds { word } else { "" })
}

fn of_vg(row: &Row<'_>, cell: impl FnOnce(&lvm2_format::Vg) -> Cell) -> Cell {
    row.vg().map_or_else(empty, cell)
}

fn of_lv(row: &Row<'_>, cell: impl FnOnce(&lvm2_format::Lv) -> Cell) -> Cell {
    row.lv.map_or_else(empty, cell)
}

fn optional(text: Option<&String>) -> Cell {
    Cell::text(text.map(String::as_str).unwrap_or_default())
}

fn extents(row: &Row<'_>, count: u64) -> Cell {
    row.size(count.saturating_mul(row.vg().map_or(0, |vg| vg.extent_size)))
}

fn vg_used(row: &Row<'_>) -> u64 {
    row.view.map_or(0, |view| view.used.iter().sum())
}

fn visible(row: &Row<'_>) -> u64 {
    row.view.map_or(0, |view| view.group.vg.lvs.iter().filter(|lv| view.roles.is_visible(lv)).count() as u64)
}

fn snapshots(row: &Row<'_>) -> u64 {
    use lvm2_format::roles::Role;
    row.view
        .map_or(0, |view| view.group.vg.lvs.iter().filter(|lv| view.roles.role(lv) == Role::Snapshot).count() as u64)
}

/// Free and total sectors of the metadata areas of a device, and whether each is in use.
fn areas<'a>(row: &Row<'a>) -> Vec<(u64, u64, bool)> {
    row.pv.and_then(|pv| pv.found).map(areas_of).unwrap_or_default()
}

fn areas_of(found: &crate::scan::Found) -> Vec<(u64, u64, bool)> {
    let area = |area: &crate::scan::Area| {
        // One that cannot be read does not count.
        let header = area.header.filter(|_| area.problem.is_none())?;
        let text = header.committed().map_or(0, |slot| slot.size);
        let in_use = !header.is_ignored();
        let free = if in_use { header.max_text().saturating_sub(text) / 512 } else { 0 };
        Some((free, header.size / 512, in_use))
    };
    found.areas.iter().filter_map(area).collect()
}

fn vg_areas(row: &Row<'_>) -> Vec<(u64, u64, bool)> {
    let Some(view) = row.view else { return Vec::new() };
    view.group.devices.iter().flatten().flat_map(|pv| areas_of(&row.world.pvs[*pv])).collect()
}

fn lv_name(row: &Row<'_>) -> Cell {
    of_lv(row, |lv| {
        let shown = row.view.is_none_or(|view| view.roles.is_visible(lv));
        Cell::text(if shown { lv.name.clone() } else { format!("[{}]", lv.name) })
    })
}

fn pv_name(row: &Row<'_>) -> Cell {
    row.pv.map_or_else(empty, |pv| Cell::text(pv.found.map_or_else(|| "[unknown]".into(), |found| found.device.name())))
}

fn pv_size(row: &Row<'_>) -> Cell {
    match row.pv_record() {
        Some(record) => extents(row, record.pe_count.into()),
        None => row.size(row.pv.and_then(|pv| pv.found).map_or(0, |found| found.size / 512)),
    }
}

fn pv_used(row: &Row<'_>) -> u64 {
    let index = row.pv.and_then(|pv| pv.index);
    row.view.zip(index).map_or(0, |(view, index)| view.used[index])
}

fn pv_free(row: &Row<'_>) -> Cell {
    match row.pv_record() {
        Some(record) => extents(row, u64::from(record.pe_count) - pv_used(row).min(record.pe_count.into())),
        None => pv_size(row),
    }
}

fn bootloader(row: &Row<'_>) -> lvm2_format::Region {
    let found = row.pv.and_then(|pv| pv.found);
    found.and_then(|found| found.label.extension.as_ref()?.bootloader.first().copied()).unwrap_or_default()
}

fn own(segment: &Segment, key: &str) -> Option<String> {
    let Mapping::Other(keys) = &segment.mapping else { return None };
    keys.value(key).and_then(|value| value.as_text()).map(str::to_owned)
}

fn of_first(row: &Row<'_>, key: &str) -> Option<String> {
    row.lv.and_then(|lv| own(lv.segments.first()?, key))
}

/// The name of a volume, in brackets when it is hidden.
fn named(row: &Row<'_>, name: &str) -> String {
    let hidden = row.view.is_some_and(|view| view.group.vg.lv(name).is_some_and(|lv| !view.roles.is_visible(lv)));
    if hidden { format!("[{name}]") } else { name.to_owned() }
}

/// The areas of a segment: device or volume, first extent, how many.
fn places(row: &Row<'_>) -> Vec<(String, u32, u32)> {
    let (Some(view), Some(segment)) = (row.view, row.segment) else { return Vec::new() };
    let vg = &view.group.vg;
    let mut places: Vec<(String, u32, u32)> = segment
        .areas()
        .into_iter()
        .map(|area| {
            let device = vg.pvs.iter().position(|pv| pv.key == area.on);
            let name = device.map_or(area.on.clone(), |index| view.group.device_name(row.world, index));
            (name, area.extent, segment.area_length())
        })
        .collect();
    if let Mapping::Other(keys) = &segment.mapping {
        for key in ["raids", "raid0_lvs", "pool"] {
            let cells = keys.value(key).map(|value| value.as_list()).unwrap_or_default();
            let names = cells.iter().filter_map(|cell| cell.as_text());
            let data = names.filter(|name| !name.contains("_rmeta_"));
            let legs: Vec<&str> = data.collect();
            let length = match segment.kind() {
                "raid0" | "raid0_meta" => segment.count / u32::try_from(legs.len().max(1)).unwrap_or(1),
                _ => segment.count,
            };
            places.extend(legs.into_iter().map(|name| (name.to_owned(), 0, length)));
        }
    }
    places
}

fn ranges(row: &Row<'_>, separator: &str, brackets: bool) -> Cell {
    let text: Vec<String> = places(row)
        .into_iter()
        .map(|(name, start, length)| {
            let name = if brackets { named(row, &name) } else { name };
            format!("{name}:{start}-{}", (start + length).saturating_sub(1))
        })
        .collect();
    Cell::text(text.join(separator))
}

fn devices(row: &Row<'_>) -> Cell {
    let text: Vec<String> = places(row).into_iter().map(|(name, start, _)| format!("{name}({start})")).collect();
    Cell::text(text.join(","))
}

fn stripes(row: &Row<'_>) -> Cell {
    Cell::number(match row.segment.map(|segment| &segment.mapping) {
        Some(Mapping::Striped { areas, .. }) => i128::try_from(areas.len()).unwrap_or_default(),
        Some(Mapping::Other(_)) => i128::try_from(places(row).len()).unwrap_or_default(),
        None => 0,
    })
}

fn own_number(row: &Row<'_>, key: &str) -> u64 {
    match row.segment.map(|segment| &segment.mapping) {
        Some(Mapping::Striped { stripe_size, .. }) if key == "stripe_size" => stripe_size.unwrap_or_default(),
        Some(Mapping::Other(keys)) => {
            keys.value(key).and_then(|value| value.as_int()).and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
        }
        _ => 0,
    }
}

/// A snapshot's is kept by the hidden volume that ties it to its origin.
fn chunk_size(row: &Row<'_>) -> Cell {
    let tied = row.vg().zip(row.lv).and_then(|(vg, lv)| {
        let stores = |segment: &&Segment| {
            ["cow_store", "merging_store"].iter().any(|key| own(segment, key).as_deref() == Some(lv.name.as_str()))
        };
        vg.lvs.iter().flat_map(|lv| &lv.segments).find(stores)
    });
    row.size(match tied {
        Some(segment) => own_number(&Row { segment: Some(segment), ..*row }, "chunk_size"),
        None => own_number(row, "chunk_size"),
    })
}

fn lv_path(row: &Row<'_>) -> Cell {
    match (row.vg(), row.lv, row.view) {
        // A pool is used through its volumes alone.
        _ if row.lv.and_then(|lv| lv.segments.first()).is_some_and(|segment| segment.kind() == "thin-pool") => empty(),
        (Some(vg), Some(lv), Some(view)) if view.roles.is_visible(lv) => {
            Cell::text(format!("{}/{}/{}", row.dev_dir, vg.name, lv.name))
        }
        _ => empty(),
    }
}

fn lv_active(row: &Row<'_>) -> Cell {
    Cell::text(match row.info() {
        None if row.switched_off => "unknown",
        None | Some(None) => "",
        Some(Some(_)) => "active",
    })
}

fn kernel_number(row: &Row<'_>, part: fn(&nines_sys::dm::Info) -> u32) -> Cell {
    Cell::number(row.info().flatten().map_or(-1, |info| i128::from(part(&info))))
}

fn policy(name: Option<&str>, default: &'static str) -> Cell {
    Cell::text(name.unwrap_or(default))
}

use Scope::{Lv, Pv, Segment as Seg, Vg};

/// Every field, in no order that matters.
pub const FIELDS: &[Field] = &[
    left("pv_fmt", "Fmt", 3, Pv, |_| Cell::text("lvm2")),
    left("pv_uuid", "PV UUID", 38, Pv, |row| {
        let found = row.pv.and_then(|pv| pv.found).map(|found| found.label.id);
        found.or(row.pv_record().map(|record| record.id)).map_or_else(empty, |id| Cell::text(id.to_string()))
    }),
    right("dev_size", "DevSize", 7, Pv, |row| {
        row.size(row.pv.and_then(|pv| pv.found).map_or(0, |found| found.size / 512))
    }),
    left("pv_name", "PV", 10, Pv, pv_name),
    left("pv_major", "Maj", 3, Pv, |row| {
        Cell::number(row.pv.and_then(|pv| pv.found).map_or(0, |found| found.device.major))
    }),
    left("pv_minor", "Min", 3, Pv, |row| {
        Cell::number(row.pv.and_then(|pv| pv.found).map_or(0, |found| found.device.minor))
    }),
    right("pv_mda_free", "PMdaFree", 9, Pv, |row| row.size(areas(row).iter().map(|area| area.0).min().unwrap_or(0))),
    right("pv_mda_size", "PMdaSize", 9, Pv, |row| row.size(areas(row).iter().map(|area| area.1).min().unwrap_or(0))),
    right("pv_ext_vsn", "PExtVsn", 7, Pv, |row| match row.pv.and_then(|pv| pv.found) {
        Some(found) => Cell::number(found.label.extension.as_ref().map_or(0, |extension| extension.version)),
        None => empty(),
    }),
    right("pe_start", "1st PE", 7, Pv, |row| {
        let label = row.pv.and_then(|pv| pv.found).map_or(0, |found| found.label.data_start() / 512);
        row.size(row.pv_record().map_or(label, |record| record.pe_start))
    }),
    right("pv_size", "PSize", 5, Pv, pv_size),
    right("pv_free", "PFree", 5, Pv, pv_free),
    right("pv_used", "Used", 4, Pv, |row| extents(row, pv_used(row))),
    left("pv_attr", "Attr", 4, Pv, |row| Cell::text(attr::pv(row))),
    right("pv_allocatable", "Allocatable", 11, Pv, |row| {
        word(row.pv_record().is_some_and(|record| record.status.has("ALLOCATABLE")), "allocatable")
    }),
    right("pv_exported", "Exported", 10, Pv, |row| {
        word(row.pv_record().is_some_and(|record| record.status.has("EXPORTED")), "exported")
    }),
    right("pv_missing", "Missing", 10, Pv, |row| word(attr::pv(row).ends_with('m'), "missing")),
    right("pv_pe_count", "PE", 3, Pv, |row| Cell::number(row.pv_record().map_or(0, |record| record.pe_count))),
    right("pv_pe_alloc_count", "Alloc", 5, Pv, |row| Cell::number(pv_used(row))),
    left("pv_tags", "PV Tags", 7, Pv, |row| {
        row.pv_record().map_or_else(empty, |record| Cell::text(record.tags.join(",")))
    }),
    right("pv_mda_count", "#PMda", 5, Pv, |row| Cell::number(areas(row).len() as u64)),
    right("pv_mda_used_count", "#PMdaUse", 8, Pv, |row| {
        Cell::number(areas(row).iter().filter(|area| area.2).count() as u64)
    }),
    right("pv_ba_start", "BA Start", 8, Pv, |row| row.size(bootloader(row).offset / 512)),
    right("pv_ba_size", "BA Size", 7, Pv, |row| row.size(bootloader(row).size / 512)),
    right("pv_in_use", "PInUse", 6, Pv, |row| {
        let used = row.pv.and_then(|pv| pv.found).is_some_and(|found| found.label.is_used());
        word(used || row.pv_record().is_some(), "used")
    }),
    right("pv_duplicate", "Duplicate", 10, Pv, |row| word(row.pv.is_some_and(|pv| pv.duplicate), "duplicate")),
    left("pv_device_id", "DeviceID", 8, Pv, |row| {
        optional(row.pv_record().and_then(|record| record.device_id.as_ref()))
    }),
    left("pv_device_id_type", "DeviceIDType", 12, Pv, |row| {
        optional(row.pv_record().and_then(|record| record.device_id_type.as_ref()))
    }),
    left("vg_fmt", "Fmt", 3, Vg, |row| of_vg(row, |_| Cell::text("lvm2"))),
    left("vg_uuid", "VG UUID", 38, Vg, |row| of_vg(row, |vg| Cell::text(vg.id.to_string()))),
    left("vg_name", "VG", 2, Vg, |row| of_vg(row, |vg| Cell::text(&vg.name))),
    left("vg_attr", "Attr", 5, Vg, |row| Cell::text(attr::vg(row))),
    left("vg_permissions", "VPerms", 10, Vg, |row| {
        of_vg(row, |vg| Cell::text(if vg.is_writeable() { "writeable" } else { "read-only" }))
    }),
    right("vg_extendable", "Extendable", 10, Vg, |row| {
        of_vg(row, |vg| word(vg.status.has("RESIZEABLE"), "extendable"))
    }),
    right("vg_exported", "Exported", 10, Vg, |row| of_vg(row, |vg| word(vg.is_exported(), "exported"))),
    right("vg_autoactivation", "AutoAct", 7, Vg, |row| {
        of_vg(row, |vg| word(!vg.flags.has("NOAUTOACTIVATE"), "enabled"))
    }),
    right("vg_partial", "Partial", 10, Vg, |row| {
        word(row.view.is_some_and(|view| !view.missing.is_empty()), "partial")
    }),
    left("vg_allocation_policy", "AllocPol", 10, Vg, |row| {
        of_vg(row, |vg| policy(vg.allocation_policy.as_deref(), "normal"))
    }),
    right("vg_clustered", "Clustered", 10, Vg, |row| of_vg(row, |vg| word(vg.is_clustered(), "clustered"))),
    right("vg_shared", "Shared", 7, Vg, |row| word(attr::vg(row).ends_with('s'), "shared")),
    right("vg_size", "VSize", 5, Vg, |row| of_vg(row, |vg| extents(row, vg.extent_count()))),
    right("vg_free", "VFree", 5, Vg, |row| of_vg(row, |vg| extents(row, vg.extent_count() - vg_used(row)))),
    left("vg_sysid", "SYS ID", 6, Vg, |row| of_vg(row, |vg| optional(vg.system_id.as_ref()))),
    left("vg_systemid", "System ID", 9, Vg, |row| of_vg(row, |vg| optional(vg.system_id.as_ref()))),
    left("vg_lock_type", "LockType", 8, Vg, |row| of_vg(row, |vg| optional(vg.lock_type.as_ref()))),
    left("vg_lock_args", "VLockArgs", 9, Vg, |row| of_vg(row, |vg| optional(vg.lock_args.as_ref()))),
    right("vg_extent_size", "Ext", 3, Vg, |row| of_vg(row, |vg| row.size(vg.extent_size))),
    right("vg_extent_count", "#Ext", 4, Vg, |row| of_vg(row, |vg| Cell::number(vg.extent_count()))),
    right("vg_free_count", "Free", 4, Vg, |row| of_vg(row, |vg| Cell::number(vg.extent_count() - vg_used(row)))),
    right("max_lv", "MaxLV", 5, Vg, |row| of_vg(row, |vg| Cell::number(vg.max_lv))),
    right("max_pv", "MaxPV", 5, Vg, |row| of_vg(row, |vg| Cell::number(vg.max_pv))),
    right("pv_count", "#PV", 3, Vg, |row| of_vg(row, |vg| Cell::number(vg.pvs.len() as u64))),
    right("vg_missing_pv_count", "#PV Missing", 11, Vg, |row| {
        Cell::number(row.view.map_or(0, |view| view.missing.len() as u64))
    }),
    right("lv_count", "#LV", 3, Vg, |row| Cell::number(visible(row))),
    right("snap_count", "#SN", 3, Vg, |row| Cell::number(snapshots(row))),
    right("vg_seqno", "Seq", 3, Vg, |row| of_vg(row, |vg| Cell::number(vg.seqno))),
    left("vg_tags", "VG Tags", 7, Vg, |row| of_vg(row, |vg| Cell::text(vg.tags.join(",")))),
    left("vg_profile", "VProfile", 8, Vg, |row| of_vg(row, |vg| optional(vg.profile.as_ref()))),
    right("vg_mda_count", "#VMda", 5, Vg, |row| Cell::number(vg_areas(row).len() as u64)),
    right("vg_mda_used_count", "#VMdaUse", 8, Vg, |row| {
        Cell::number(vg_areas(row).iter().filter(|area| area.2).count() as u64)
    }),
    right("vg_mda_free", "VMdaFree", 9, Vg, |row| {
        row.size(vg_areas(row).iter().filter(|area| area.2).map(|area| area.0).min().unwrap_or(0))
    }),
    right("vg_mda_size", "VMdaSize", 9, Vg, |row| {
        row.size(vg_areas(row).iter().filter(|area| area.2).map(|area| area.1).min().unwrap_or(0))
    }),
    right("vg_mda_copies", "#VMdaCps", 8, Vg, |row| {
        of_vg(row, |vg| match vg.metadata_copies {
            0 => Cell::text("unmanaged"),
            u32::MAX => Cell::text("all"),
            copies => Cell::number(copies),
        })
    }),
    left("lv_uuid", "LV UUID", 38, Lv, |row| of_lv(row, |lv| Cell::text(lv.id.to_string()))),
    left("lv_name", "LV", 4, Lv, lv_name),
    left("lv_full_name", "LV", 4, Lv, |row| {
        of_lv(row, |lv| Cell::text(format!("{}/{}", row.vg().map_or("", |vg| &vg.name), lv.name)))
    }),
    left("lv_path", "Path", 4, Lv, lv_path),
    left("lv_dm_path", "DMPath", 6, Lv, |row| {
        let name = |vg: &lvm2_format::Vg, lv: &lvm2_format::Lv| lvm2_format::name::dm_name(&vg.name, &lv.name);
        row.vg()
            .zip(row.lv)
            .map_or_else(empty, |(vg, lv)| Cell::text(format!("{}/mapper/{}", row.dev_dir, name(vg, lv))))
    }),
    left("lv_attr", "Attr", 4, Lv, |row| Cell::text(attr::lv(row))),
    right("lv_size", "LSize", 5, Lv, |row| of_lv(row, |lv| extents(row, lv.extents()))),
    right("seg_count", "#Seg", 4, Lv, |row| of_lv(row, |lv| Cell::number(lv.segments.len() as u64))),
    left("lv_allocation_policy", "AllocPol", 10, Lv, |row| {
        of_lv(row, |lv| policy(lv.allocation_policy.as_deref(), "inherit"))
    }),
    right("lv_fixed_minor", "FixMin", 10, Lv, |row| of_lv(row, |lv| word(lv.status.has("FIXED_MINOR"), "fixed minor"))),
    right("lv_skip_activation", "SkipAct", 15, Lv, |row| {
        of_lv(row, |lv| word(lv.flags.has("ACTIVATION_SKIP"), "skip activation"))
    }),
    right("lv_autoactivation", "AutoAct", 7, Lv, |row| {
        of_lv(row, |lv| word(!lv.flags.has("NOAUTOACTIVATE"), "enabled"))
    }),
    left("lv_active", "Active", 6, Lv, lv_active),
    left("lv_permissions", "LPerms", 8, Lv, |row| {
        of_lv(row, |lv| match row.info() {
            None => Cell::text("unknown"),
            Some(Some(info)) if lv.is_writeable() && info.read_only => Cell::text("read-only-override"),
            _ => Cell::text(if lv.is_writeable() { "writeable" } else { "read-only" }),
        })
    }),
    right("lv_suspended", "Suspended", 10, Lv, |row| match row.info() {
        None => Cell::text("unknown"),
        Some(info) => word(info.is_some_and(|info| info.suspended), "suspended"),
    }),
    right("lv_device_open", "DevOpen", 10, Lv, |row| match row.info() {
        None => Cell::text("unknown"),
        Some(info) => word(info.is_some_and(|info| info.open_count > 0), "open"),
    }),
    right("lv_major", "Maj", 3, Lv, |row| of_lv(row, |lv| Cell::number(lv.major.unwrap_or(-1)))),
    right("lv_minor", "Min", 3, Lv, |row| of_lv(row, |lv| Cell::number(lv.minor.unwrap_or(-1)))),
    right("lv_kernel_major", "KMaj", 4, Lv, |row| kernel_number(row, |info| info.major)),
    right("lv_kernel_minor", "KMin", 4, Lv, |row| kernel_number(row, |info| info.minor)),
    right("lv_read_ahead", "Rahead", 6, Lv, |row| {
        of_lv(row, |lv| match lv.read_ahead {
            None => Cell::text("auto"),
            Some(sectors) => row.size(u64::try_from(sectors).unwrap_or(0)),
        })
    }),
    left("pool_lv", "Pool", 4, Lv, |row| {
        of_first(row, "thin_pool").map_or_else(empty, |pool| Cell::text(named(row, &pool)))
    }),
    left("origin", "Origin", 6, Lv, |row| {
        let origin = row.view.zip(row.lv).and_then(|(view, lv)| view.roles.origin(lv));
        origin.map_or_else(empty, |origin| Cell::text(named(row, origin)))
    }),
    left("data_percent", "Data%", 6, Lv, |_| empty()),
    left("metadata_percent", "Meta%", 6, Lv, |_| empty()),
    left("move_pv", "Move", 4, Lv, |row| match (row.lv, row.view) {
        (Some(lv), Some(view)) if lv.status.has("PVMOVE") => {
            let source = lv.segments.first().and_then(|segment| segment.areas().into_iter().next());
            let index = source.and_then(|area| view.group.vg.pvs.iter().position(|pv| pv.key == area.on));
            index.map_or_else(empty, |index| Cell::text(view.group.device_name(row.world, index)))
        }
        _ => empty(),
    }),
    left("mirror_log", "Log", 3, Lv, |row| {
        of_first(row, "mirror_log").map_or_else(empty, |log| Cell::text(named(row, &log)))
    }),
    left("copy_percent", "Cpy%Sync", 8, Lv, |_| empty()),
    left("convert_lv", "Convert", 7, Lv, |_| empty()),
    left("lv_tags", "LV Tags", 7, Lv, |row| of_lv(row, |lv| Cell::text(lv.tags.join(",")))),
    left("lv_profile", "LProfile", 8, Lv, |row| of_lv(row, |lv| optional(lv.profile.as_ref()))),
    left("lv_lockargs", "LLockArgs", 9, Lv, |row| of_lv(row, |lv| optional(lv.lock_args.as_ref()))),
    left("lv_time", "CTime", 26, Lv, |row| {
        of_lv(row, |lv| {
            lv.creation.as_ref().map_or_else(empty, |(time, _)| Cell::text(lvm2_format::text::timestamp(*time, true)))
        })
    }),
    left("lv_host", "Host", 10, Lv, |row| of_lv(row, |lv| optional(lv.creation.as_ref().map(|(_, host)| host)))),
    left("segtype", "Type", 4, Seg, |row| {
        row.segment.map_or_else(empty, |segment| match segment.linear_area() {
            Some(_) => Cell::text("linear"),
            None => Cell::text(segment.kind()),
        })
    }),
    right("stripes", "#Str", 4, Seg, stripes),
    right("data_stripes", "#DStr", 5, Seg, stripes),
    right("stripe_size", "Stripe", 6, Seg, |row| row.size(own_number(row, "stripe_size"))),
    right("region_size", "Region", 6, Seg, |row| row.size(own_number(row, "region_size"))),
    right("chunk_size", "Chunk", 5, Seg, chunk_size),
    right("seg_start", "Start", 5, Seg, |row| extents(row, row.segment.map_or(0, |segment| segment.start.into()))),
    right("seg_start_pe", "Start", 5, Seg, |row| Cell::number(row.segment.map_or(0, |segment| segment.start))),
    right("seg_size", "SSize", 5, Seg, |row| extents(row, row.segment.map_or(0, |segment| segment.count.into()))),
    right("seg_size_pe", "SSize", 5, Seg, |row| Cell::number(row.segment.map_or(0, |segment| segment.count))),
    left("seg_tags", "Seg Tags", 8, Seg, |row| {
        row.segment.map_or_else(empty, |segment| Cell::text(segment.tags.join(",")))
    }),
    left("seg_pe_ranges", "PE Ranges", 9, Seg, |row| ranges(row, " ", false)),
    left("seg_le_ranges", "LE Ranges", 9, Seg, |row| ranges(row, ",", true)),
    left("devices", "Devices", 7, Seg, devices),
];
