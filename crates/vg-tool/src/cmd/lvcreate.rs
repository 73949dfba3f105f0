//! lvcreate: a new linear volume.

use lvm2_format::vg::{Flags, LV_FLAGS, LV_STATUS};
use lvm2_format::{Lv, Vg, name};

use super::vg::tag;
use super::{Command, no_such_syntax};
use crate::active::{clear_start, wipe_signatures};
use crate::alloc::{self, Allowed};
use crate::dev;
use crate::groups::{Group, World};
use crate::host::Host;
use crate::lock::LvMode;
use crate::opts::{bad_value, opt};
use crate::session::{Opened, Purpose, Session};
use crate::size::{self, Extents};
use crate::stop::{OK, Result, Stop};
use crate::target::{Named, default_group};

pub const LVCREATE: Command = Command {
    name: "lvcreate",
    about: "make a logical volume",
    usage: "-L SIZE|-l EXTENTS [-n NAME] [OPTION...] VG [DEVICE[:EXTENTS]...]",
    examples: &[
        ("lvcreate -L 10g -n web-00 pool /dev/etherd/e0.1", "10 GiB on one of the group's disks, active here alone"),
        ("lvcreate -l 100%FREE -n rest pool", "all that is left"),
        ("lvcreate -an -L 1g -n later pool", "without making a device for it"),
    ],
    options: &[
        opt("size", Some('L'), Some("SIZE"), "in MiB, or with a unit: 10g; rounded up to whole extents"),
        opt("extents", Some('l'), Some("N"), "in extents, or a share: 50%VG, 100%FREE, 100%PVS"),
        opt("name", Some('n'), Some("NAME"), "the volume's name; lvol0, lvol1.. unless given"),
        opt("activate", Some('a'), Some("y|n|ey|sy"), "make its device: ey for this host alone, sy shared, n not"),
        opt("zero", Some('Z'), Some("y|n"), "clear its first 4 KiB; y when it is activated"),
        opt("wipesignatures", Some('W'), Some("y|n"), "erase what looks like a file system; y with --zero y"),
        opt("permission", Some('p'), Some("r|rw"), "r: read-only"),
        opt("contiguous", Some('C'), Some("y|n"), "y: in one run of extents or not at all"),
        opt("alloc", None, Some("POLICY"), "contiguous, normal or inherit"),
        opt("addtag", None, Some("TAG"), "a tag (may be repeated)"),
        opt("setactivationskip", Some('k'), Some("y|n"), "y: left alone by vgchange -ay"),
        opt("setautoactivation", None, Some("y|n"), "n: left alone by vgchange -aay"),
        opt("type", None, Some("linear"), "the only one there is"),
    ],
    run: lvcreate,
};

/// How a new volume is to be.
struct Plan {
    name: Option<String>,
    activate: Option<LvMode>,
    zero: bool,
    wipe: bool,
    contiguous: bool,
}

/// Reads `--activate`: `None` is not at all.
///
/// # Errors
/// Not a way to activate.
pub fn mode(options: &crate::opts::Options, default: &str) -> Result<Option<LvMode>> {
    match options.value("activate").unwrap_or(default) {
        "y" | "ey" | "ly" | "ay" | "aly" | "aey" => Ok(Some(LvMode::Exclusive)),
        "sy" => Ok(Some(LvMode::Shared)),
        "n" | "en" | "ln" => Ok(None),
        other => Err(bad_value("activate", other)),
    }
}

fn lvcreate(session: &Session) -> Result<u8> {
    let options = &session.options;
    let (group, devices) = group_and_devices(session)?;
    let (size, extents) = (options.value("size"), options.value("extents"));
    let wanted = match (size, extents) {
        (Some(text), None) => Wanted::Bytes(size::parse("size", text)?),
        (None, Some(text)) => Wanted::Extents(size::parse_extents(text)?),
        _ => return Err(no_such_syntax("lvcreate")),
    };
    if matches!(wanted, Wanted::Bytes(0) | Wanted::Extents(Extents::Count(0))) {
        let option = if size.is_some() { "size" } else { "extents" };
        return Err(Stop::usage(format_args!(
            "--{option} may not be zero.\nRun `lvcreate --help' for more information."
        )));
    }
    if options.value("type").is_some_and(|kind| !matches!(kind, "linear" | "striped")) {
        return Err(Stop::usage("vg-tool makes linear volumes only; for other types use LVM2's lvcreate."));
    }
    let allowed = session.activation_allowed()?;
    let activate = mode(options, "y")?.filter(|_| allowed);
    if !allowed {
        session.say.warning("Activation disabled. No device-mapper interaction will be attempted.");
    }
    let zero = options.yes_no("zero")?;
    let wipe = options.yes_no("wipesignatures")?;
    if activate.is_none() && (zero == Some(true) || wipe == Some(true)) {
        return Err(Stop::failed("Cannot zero or wipe inactive logical volume with option -Zy or -Wy."));
    }
    let contiguous = options.yes_no("contiguous")? == Some(true);
    let plan = Plan {
        name: new_name(session, &group)?,
        zero: activate.is_some() && zero.unwrap_or(true),
        wipe: activate.is_some() && wipe.unwrap_or(zero.unwrap_or(true)),
        activate,
        contiguous: match options.value("alloc") {
            None | Some("normal" | "inherit" | "anywhere" | "cling") => contiguous,
            Some("contiguous") => true,
            Some(other) => return Err(bad_value("alloc", other)),
        },
    };
    if plan.activate.is_some() {
        // Better now than with half a volume.
        session.need_mapper().map_err(|stop| stop.then("Use -an to make the volume without its device."))?;
    }
    let mut opened = session.open(&group.vg, Purpose::Change)?;
    let mut vg = opened.vg().clone();
    let lv = new_lv(session, &opened, &mut vg, &plan, &wanted, &devices)?;
    session.commit(&opened, &mut vg)?;
    let created = lv.name.clone();
    if let Some(mode) = plan.activate {
        opened = start(session, opened, &vg, &lv, mode, &plan)?;
    } else {
        session.say.warning(format_args!("Logical volume {}/{created} not zeroed.", vg.name));
    }
    drop(opened);
    session.backup(&vg);
    session.say.result(format_args!("Logical volume \"{created}\" created."));
    Ok(OK)
}

/// The group, by argument, by `-n vg/name` or by `$LVM_VG_NAME`, and the devices behind it.
fn group_and_devices(session: &Session) -> Result<(Named, Vec<String>)> {
    let options = &session.options;
    let from_name = options.value("name").filter(|name| name.contains('/'));
    let from_name = from_name.map(|name| Named::parse(&session.conf, name)).transpose()?;
    let Some((first, rest)) = options.args.split_first() else {
        let group = from_name.or_else(|| default_group().map(|vg| Named { vg, lv: None }));
        return group.map(|group| (group, Vec::new())).ok_or_else(|| no_such_syntax("lvcreate"));
    };
    let named = Named::parse(&session.conf, first)?;
    if let Some(other) = from_name.filter(|other| other.vg != named.vg) {
        return Err(Stop::usage(format_args!(
            "Inconsistent volume group names given: \"{}\" and \"{}\"",
            other.vg, named.vg
        ))
        .then("Run `lvcreate --help' for more information."));
    }
    Ok((Named { vg: named.vg, lv: named.lv }, rest.to_vec()))
}

fn new_name(session: &Session, group: &Named) -> Result<Option<String>> {
    let given = session.options.value("name").map(|name| name.rsplit('/').next().unwrap_or(name).to_owned());
    let Some(name) = given.or_else(|| group.lv.clone()) else { return Ok(None) };
    name::check_new_lv(&name).map_err(|error| {
        let text = match &error {
            name::BadName::ReservedStart(_) | name::BadName::ReservedPart(_) => error.to_string(),
            _ => format!("Logical volume name \"{name}\" is invalid: {error}"),
        };
        Stop::usage(text).then("Run `lvcreate --help' for more information.")
    })?;
    if name::dm_name(&group.vg, &name).len() > name::MAX_NAME {
        return Err(Stop::usage(format_args!("Names of {}/{name} are too long together for device-mapper.", group.vg)));
    }
    Ok(Some(name))
}

enum Wanted {
    Bytes(u64),
    Extents(Extents),
}

fn new_lv(
    session: &Session,
    opened: &Opened,
    vg: &mut Vg,
    plan: &Plan,
    wanted: &Wanted,
    devices: &[String],
) -> Result<Lv> {
    let options = &session.options;
    let name = match &plan.name {
        Some(name) if vg.lv(name).is_some() => {
            return Err(Stop::failed(format_args!(
                "Logical Volume \"{name}\" already exists in volume group \"{}\"",
                vg.name
            )));
        }
        Some(name) => name.clone(),
        None => (0u32..).map(|number| format!("lvol{number}")).find(|name| vg.lv(name).is_none()).unwrap_or_default(),
    };
    let roles = lvm2_format::roles::Roles::of(vg);
    let count = vg.lvs.iter().filter(|lv| roles.is_visible(lv)).count();
    if vg.max_lv > 0 && count >= usize::try_from(vg.max_lv).unwrap_or(usize::MAX) {
        return Err(Stop::failed(format_args!(
            "Maximum number of logical volumes ({}) reached in volume group {}",
            vg.max_lv, vg.name
        )));
    }
    let allowed = allowed(&opened.world, opened.group(), devices)?;
    let runs = alloc::free(vg, &allowed);
    let free: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
    let all_free: u64 = alloc::free(vg, &self::allowed(&opened.world, opened.group(), &[])?)
        .iter()
        .map(|run| u64::from(run.count))
        .sum();
    let share = |percent: u64, of: u64| u64::try_from(u128::from(of) * u128::from(percent) / 100).unwrap_or(u64::MAX);
    let needed = match *wanted {
        Wanted::Bytes(bytes) => {
            let extent = vg.extent_size * 512;
            if bytes % extent != 0 {
                let rounded = bytes.div_ceil(extent).saturating_mul(vg.extent_size);
                session
                    .say
                    .result(format_args!("Rounding up size to full physical extent {}", size::in_words(rounded)));
            }
            bytes.div_ceil(extent)
        }
        Wanted::Extents(Extents::Count(count)) => count,
        Wanted::Extents(Extents::OfGroup(percent)) => share(percent, vg.extent_count()).min(all_free),
        Wanted::Extents(Extents::OfFree(percent)) => share(percent, if devices.is_empty() { all_free } else { free }),
        Wanted::Extents(Extents::OfPvs(percent)) => {
            let of = allowed.iter().map(|item| u64::from(vg.pvs[item.pv].pe_count)).sum();
            share(percent, of).min(free)
        }
    };
    if needed == 0 || needed > all_free {
        return Err(Stop::failed(format_args!(
            "Volume group \"{}\" has insufficient free space ({all_free} extents): {} required.",
            vg.name,
            needed.max(1)
        )));
    }
    let count =
        u32::try_from(needed).map_err(|_| Stop::failed(format_args!("{needed} extents are too many for a volume")))?;
    let segments = alloc::linear(vg, &runs, count, plan.contiguous).ok_or_else(|| {
        Stop::failed(format_args!(
            "Insufficient suitable {}allocatable extents for logical volume {name}: {} more required",
            if plan.contiguous { "contiguous " } else { "" },
            needed.saturating_sub(if plan.contiguous {
                u64::from(runs.iter().map(|run| run.count).max().unwrap_or(0))
            } else {
                free
            })
        ))
    })?;
    let mut status = Flags::of(LV_STATUS, &["READ", "WRITE", "VISIBLE"]);
    match options.value("permission") {
        None | Some("rw") => {}
        Some("r") => status.set(LV_STATUS, "WRITE", false),
        Some(other) => return Err(bad_value("permission", other)),
    }
    let mut flags = Flags::default();
    flags.set(LV_FLAGS, "ACTIVATION_SKIP", options.yes_no("setactivationskip")? == Some(true));
    flags.set(LV_FLAGS, "NOAUTOACTIVATE", options.yes_no("setautoactivation")? == Some(false));
    let lv = Lv {
        name,
        id: Host::new_id()?,
        status,
        flags,
        tags: options.values("addtag").map(tag).collect::<Result<_>>()?,
        creation: Some((Host::now(), session.host.name.clone())),
        lock_args: None,
        allocation_policy: plan.contiguous.then(|| "contiguous".to_owned()),
        profile: None,
        read_ahead: None,
        major: None,
        minor: None,
        segments,
    };
    vg.insert_lv(lv.clone());
    Ok(lv)
}

/// The physical volumes that may be used: those named, in that order, or all.
fn allowed(world: &World, group: &Group, devices: &[String]) -> Result<Vec<Allowed>> {
    let vg = &group.vg;
    let usable = |index: &usize| vg.pvs[*index].status.has("ALLOCATABLE") && group.devices[*index].is_some();
    if devices.is_empty() {
        return Ok((0..vg.pvs.len()).filter(usable).map(|pv| Allowed { pv, ranges: Vec::new() }).collect());
    }
    let mut allowed = Vec::new();
    for text in devices {
        // Device names may have colons; ranges begin behind the last name that is a device.
        let (path, ranges) = match text.split_once(':') {
            Some((path, ranges)) if !std::path::Path::new(text).exists() => (path, ranges),
            _ => (text.as_str(), ""),
        };
        let not_here =
            || Stop::failed(format_args!("Physical Volume \"{path}\" not found in Volume Group \"{}\".", vg.name));
        let device = dev::find(&world.devices, path).map_err(|_| not_here())?;
        let at = world.pv_on(device).ok_or_else(not_here)?;
        let pv = group.devices.iter().position(|member| *member == Some(at)).ok_or_else(not_here)?;
        if !usable(&pv) {
            return Err(Stop::failed(format_args!("Physical Volume \"{path}\" is not allocatable.")));
        }
        let ranges = ranges
            .split(':')
            .filter(|range| !range.is_empty())
            .map(|range| {
                self::range(range).ok_or_else(|| Stop::usage(format_args!("Physical extent parsing error at {range}")))
            })
            .collect::<Result<Vec<_>>>()?;
        allowed.push(Allowed { pv, ranges });
    }
    Ok(allowed)
}

/// `10-20`, `30-`, `-5`, `7`, `10+4`.
fn range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str, default: u32| if text.is_empty() { Some(default) } else { text.parse().ok() };
    if let Some((start, count)) = text.split_once('+') {
        let start: u32 = number(start, 0)?;
        let count = count.parse::<u32>().ok().filter(|count| *count > 0)?;
        return Some((start, start.checked_add(count - 1)?));
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first, 0)?, number(last, u32::MAX)?),
        None => (text.parse().ok()?, text.parse().ok()?),
    };
    (first <= last).then_some((first, last))
}

/// Makes the device and clears its beginning. When that fails the volume goes again: nobody gets
/// one with somebody else's data in sight.
fn start(session: &Session, opened: Opened, vg: &Vg, lv: &Lv, mode: LvMode, plan: &Plan) -> Result<Opened> {
    let mut opened = opened.with(vg.clone());
    let path = session.nodes.path(&vg.name, &lv.name);
    let name = format!("logical volume {}/{}", vg.name, lv.name);
    // A read-only volume is cleared while it is not that yet.
    let mut writeable = lv.clone();
    writeable.status.set(LV_STATUS, "WRITE", true);
    let prepared = session.activation(&mut opened).and_then(|mut activation| {
        if plan.wipe || plan.zero {
            activation.on(&writeable, mode)?;
        }
        if plan.wipe {
            wipe_signatures(&path, &name, session.options.has("yes"), session.say)?;
        }
        if plan.zero {
            clear_start(&path)?;
        }
        if (plan.wipe || plan.zero) && !lv.is_writeable() {
            activation.off(&writeable)?;
        }
        activation.on(lv, mode)
    });
    if !plan.zero && prepared.is_ok() {
        session.say.warning(format_args!("Logical volume {}/{} not zeroed.", vg.name, lv.name));
    }
    let Err(stop) = prepared else { return Ok(opened) };
    let stop = stop.then("Aborting. Failed to activate or wipe start of new LV.");
    let undone = session.activation(&mut opened).and_then(|mut activation| activation.off(lv)).and_then(|()| {
        let mut without = vg.clone();
        without.lvs.retain(|other| other.id != lv.id);
        session.rewrite(&opened, &mut without)
    });
    Err(match undone {
        Ok(()) => stop,
        Err(undo) => stop.then(format_args!("Logical volume {}/{} stays: {}", vg.name, lv.name, undo.message)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_extents_are_read_as_lvm2_reads_them() {
        for (text, wanted) in [
            ("10-20", Some((10, 20))),
            ("30-", Some((30, u32::MAX))),
            ("-5", Some((0, 5))),
            ("7", Some((7, 7))),
            ("10+4", Some((10, 13))),
            ("20-10", None),
            ("x", None),
            ("1+0", None),
        ] {
            assert_eq!(range(text), wanted, "{text}");
        }
    }
}
