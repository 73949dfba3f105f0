//! The attribute columns, a character a fact.

use lvm2_format::roles::Role;
use lvm2_format::{Lv, Mapping};

use super::Row;

fn policy(name: Option<&str>, default: char, locked: bool) -> char {
    let letter = match name {
        Some("contiguous") => 'c',
        Some("cling" | "cling_by_tags") => 'l',
        Some("normal") => 'n',
        Some("anywhere") => 'a',
        _ => default,
    };
    if locked { letter.to_ascii_uppercase() } else { letter }
}

/// `a--`: allocatable or used or duplicate, exported, missing.
pub fn pv(row: &Row<'_>) -> String {
    let Some(pv) = row.pv else { return String::new() };
    let record = row.pv_record();
    let exported = record.is_some_and(|record| record.status.has("EXPORTED"));
    let first = match record {
        _ if pv.duplicate => 'd',
        Some(record) if record.status.has("ALLOCATABLE") => 'a',
        Some(_) => 'u',
        None if pv.found.is_some_and(|found| found.label.is_used()) => 'u',
        None => '-',
    };
    let missing = row.view.zip(pv.index).is_some_and(|(view, index)| view.missing.contains(&index));
    [first, if exported { 'x' } else { '-' }, if missing { 'm' } else { '-' }].iter().collect()
}

/// `wz--n-`: permissions, resizeable, exported, partial, policy, clustered or shared.
pub fn vg(row: &Row<'_>) -> String {
    let Some(view) = row.view else { return String::new() };
    let vg = &view.group.vg;
    let shared = vg.lock_type.as_deref().is_some_and(|kind| !matches!(kind, "" | "none"));
    [
        if vg.is_writeable() { 'w' } else { 'r' },
        if vg.status.has("RESIZEABLE") { 'z' } else { '-' },
        if vg.is_exported() { 'x' } else { '-' },
        if view.missing.is_empty() { '-' } else { 'p' },
        policy(vg.allocation_policy.as_deref(), 'n', false),
        match () {
            () if vg.is_clustered() => 'c',
            () if shared => 's',
            () => '-',
        },
    ]
    .iter()
    .collect()
}

/// The ten characters of a logical volume.
pub fn lv(row: &Row<'_>) -> String {
    let (Some(view), Some(lv)) = (row.view, row.lv) else { return String::new() };
    let role = view.roles.role(lv);
    let kind = lv.segments.first().map(|segment| segment.kind()).unwrap_or_default();
    let group = family(row, lv);
    let partial = view.is_partial(lv);
    let info = row.info();
    let permission = match &info {
        _ if role == Role::Pvmove => '-',
        Some(Some(info)) if lv.is_writeable() && info.read_only => 'R',
        _ if lv.is_writeable() => 'w',
        _ => 'r',
    };
    let (active, open) = match &info {
        None => ('X', 'X'),
        Some(None) => ('-', '-'),
        Some(Some(info)) => {
            let state = match () {
                () if info.suspended => 's',
                () if info.live_table => 'a',
                () if info.inactive_table => 'i',
                () => 'd',
            };
            (state, if info.open_count > 0 { 'o' } else { '-' })
        }
    };
    let zeroing = |lv: &Lv| {
        lv.segments.first().is_some_and(|segment| match &segment.mapping {
            Mapping::Other(keys) => keys.value("zero_new_blocks").and_then(|value| value.as_int()) == Some(1),
            Mapping::Striped { .. } => false,
        })
    };
    let pool = || {
        let Some(Mapping::Other(keys)) = lv.segments.first().map(|segment| &segment.mapping) else { return None };
        keys.value("thin_pool").and_then(|value| value.as_text()).and_then(|name| view.group.vg.lv(name))
    };
    let zeroes = match kind {
        "thin-pool" => zeroing(lv),
        "thin" => pool().is_some_and(zeroing),
        _ => false,
    };
    let health = match () {
        () if partial => 'p',
        // What the kernel knows of its parts is not asked here.
        () if group == 'r' && row.switched_off => 'X',
        () => '-',
    };
    [
        kind_letter(role, kind, lv),
        permission,
        policy(lv.allocation_policy.as_deref(), 'i', lv.status.has("LOCKED")),
        if lv.status.has("FIXED_MINOR") { 'm' } else { '-' },
        active,
        open,
        group,
        if zeroes { 'z' } else { '-' },
        health,
        if lv.flags.has("ACTIVATION_SKIP") { 'k' } else { '-' },
    ]
    .iter()
    .collect()
}

fn kind_letter(role: Role, kind: &str, lv: &Lv) -> char {
    let unsynced = lv.status.has("NOTSYNCED");
    match role {
        Role::Pvmove => 'p',
        Role::Image => 'I',
        Role::MirrorLog => 'l',
        Role::RaidMeta | Role::PoolMeta | Role::Spare => 'e',
        Role::PoolData => 'T',
        Role::Origin => 'o',
        Role::Snapshot => 's',
        Role::Plain | Role::Tie | Role::Component => match kind {
            "mirror" if unsynced => 'M',
            "mirror" => 'm',
            "thin-pool" => 't',
            "thin" => 'V',
            "error" | "zero" => 'v',
            kind if kind.starts_with("raid") && unsynced => 'R',
            kind if kind.starts_with("raid") => 'r',
            _ => '-',
        },
    }
}

/// What target serves it: a volume below a mirror or an array counts as one of its kind.
fn family(row: &Row<'_>, lv: &Lv) -> char {
    let Some(view) = row.view else { return '-' };
    let of = |kind: &str| match kind {
        "mirror" => 'm',
        "thin-pool" | "thin" => 't',
        kind if kind.starts_with("raid") => 'r',
        _ => '-',
    };
    match view.roles.role(lv) {
        Role::Origin | Role::Snapshot => 's',
        Role::Image | Role::MirrorLog | Role::RaidMeta => {
            let uses = |segment: &lvm2_format::Segment| super::row::parts(segment).contains(&lv.name);
            let user = view.group.vg.lvs.iter().flat_map(|lv| &lv.segments).find(|segment| uses(segment));
            user.map_or('-', |segment| of(segment.kind()))
        }
        _ => of(lv.segments.first().map(|segment| segment.kind()).unwrap_or_default()),
    }
}
