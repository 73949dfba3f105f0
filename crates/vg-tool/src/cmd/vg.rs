//! vgcreate, vgremove.

use std::rc::Rc;

use lvm2_format::vg::{Flags, PV_STATUS, VG_FLAGS, VG_STATUS};
use lvm2_format::{Pv, Vg};

use super::pv::{LAYOUT, Layout, free_to_use};
use super::{Command, lvremove, no_such_syntax};
use crate::commit::Writer;
use crate::dev;
use crate::groups::{Group, World};
use crate::host::Host;
use crate::lock::{self, Hints, Kind};
use crate::opts::{bad_value, opt};
use crate::say::{ask, error};
use crate::session::{Purpose, Session};
use crate::stop::{FAILED, OK, Result, Stop};
use crate::target::Named;
use crate::{archive, size};

pub const VGCREATE: Command = Command {
    name: "vgcreate",
    about: "make a volume group out of physical volumes",
    usage: "[OPTION...] VG DEVICE...",
    examples: &[
        ("vgcreate pool /dev/etherd/e0.1 /dev/etherd/e1.1", "a group over two disks; clustered on a cluster's host"),
        ("vgcreate -c n local /dev/md4", "a group for this host alone"),
        ("vgcreate -s 32m big /dev/md5", "extents of 32 MiB"),
    ],
    options: &[
        opt("clustered", Some('c'), Some("y|n"), "guard it with cluster locks; y where cluster.conf is"),
        opt("physicalextentsize", Some('s'), Some("SIZE"), "extent size, 4 MiB unless given"),
        opt("maxlogicalvolumes", Some('l'), Some("N"), "at most so many volumes, 0 for any number"),
        opt("maxphysicalvolumes", Some('p'), Some("N"), "at most so many devices, 0 for any number"),
        opt("addtag", None, Some("TAG"), "a tag (may be repeated)"),
        opt("setautoactivation", None, Some("y|n"), "n: nobody activates it without being told"),
        LAYOUT[0],
        LAYOUT[1],
        LAYOUT[2],
        LAYOUT[3],
        LAYOUT[4],
        LAYOUT[5],
        LAYOUT[6],
    ],
    run: vgcreate,
};

pub const VGREMOVE: Command = Command {
    name: "vgremove",
    about: "remove a volume group; its devices stay physical volumes",
    usage: "[-f] VG...",
    examples: &[("vgremove -y old", "and its volumes, without a question")],
    options: &[opt("force", Some('f'), None, "do not ask about volumes that are not active")],
    run: vgremove,
};

const EXTENT: u64 = 4 << 20;

/// Checks a tag's characters.
///
/// # Errors
/// It is not a tag.
pub fn tag(text: &str) -> Result<String> {
    let tag = text.trim_start_matches('@');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:#&".contains(c);
    if tag.is_empty() || tag.len() > 1024 || tag.starts_with('-') || !tag.chars().all(allowed) {
        return Err(bad_value("addtag", text));
    }
    Ok(tag.to_owned())
}

fn vgcreate(session: &Session) -> Result<u8> {
    let options = &session.options;
    let [name, devices @ ..] = options.args.as_slice() else {
        return Err(no_such_syntax("vgcreate"));
    };
    if devices.is_empty() {
        return Err(no_such_syntax("vgcreate"));
    }
    let name = Named::parse(&session.conf, name)?.vg;
    let dev = session.conf.dev_dir().join(&name);
    let invalid = |why: &str| Stop::usage(format_args!("{why}\nNew volume group name \"{name}\" is invalid."));
    lvm2_format::name::check(&name).map_err(|error| invalid(&error.to_string()))?;
    let extent = match options.value("physicalextentsize") {
        None => EXTENT,
        Some(text) => size::parse("physicalextentsize", text)?,
    } / 512;
    if extent == 0 || extent > u64::from(u32::MAX) || !(extent.is_power_of_two() || extent % 256 == 0) {
        return Err(Stop::usage("Physical extent size must be a multiple of 128.00 KiB when it is not a power of 2."));
    }
    let number = |option: &str| match options.value(option) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| bad_value(option, text)),
    };
    let (max_lv, max_pv): (u32, u32) = (number("maxlogicalvolumes")?, number("maxphysicalvolumes")?);
    let clustered = options.yes_no("clustered")?.unwrap_or_else(lock::configured);
    let tags = options.values("addtag").map(tag).collect::<Result<Vec<_>>>()?;
    let auto = options.yes_no("setautoactivation")?.unwrap_or(true);
    let layout = Layout::parse(session)?;

    let (cluster, _lock) = session.lock_global()?;
    if clustered && cluster.is_none() {
        // Asked for on a host without cluster.conf: there must be a cluster all the same.
        drop(lock::Cluster::join()?);
    }
    let _file = session.file_lock(&format!("V_{name}"), Kind::Exclusive)?;
    let hints = Hints::forget();
    let world = World::scan(&session.conf, &session.filter);
    session.warn(&world, |_| false);
    if world.groups.iter().any(|group| group.vg.name == name) {
        return Err(Stop::failed(format_args!("A volume group called {name} already exists.")));
    }
    if dev.exists() && !dev.is_dir() {
        return Err(Stop::failed(format_args!("{}: already exists in filesystem", dev.display()))
            .then(format_args!("New volume group name \"{name}\" is invalid.")));
    }
    let chosen = label_all(session, &world, devices, &layout)?;
    // Now with the new labels.
    let world = World::scan(&session.conf, &session.filter);
    let mut vg = Vg {
        name,
        id: Host::new_id()?,
        seqno: 0,
        status: Flags::of(VG_STATUS, &["RESIZEABLE", "READ", "WRITE"]),
        flags: Flags::default(),
        tags,
        system_id: session.conf.system_id().filter(|_| !clustered),
        lock_type: None,
        lock_args: None,
        extent_size: extent,
        max_lv,
        max_pv,
        allocation_policy: None,
        profile: None,
        metadata_copies: 0,
        pvs: Vec::new(),
        lvs: Vec::new(),
        historical: None,
        unknown: Vec::new(),
    };
    vg.status.set(VG_STATUS, "CLUSTERED", clustered);
    vg.flags.set(VG_FLAGS, "NOAUTOACTIVATE", !auto);
    let mut members = Vec::new();
    for path in &chosen {
        let at = world.pvs.iter().position(|found| found.device.path == *path);
        let at = at.ok_or_else(|| Stop::failed(format_args!("{}: its new label is not there", path.display())))?;
        vg.pvs.push(member(&world, at, vg.pvs.len(), extent)?);
        members.push(Some(at));
    }
    if max_pv > 0 && vg.pvs.len() > usize::try_from(max_pv).unwrap_or(usize::MAX) {
        return Err(Stop::failed(format_args!("No space for another device: maximum physical volumes is {max_pv}")));
    }
    let group = Group {
        vg: Rc::new(vg.clone()),
        devices: members,
        outdated: Vec::new(),
        warnings: Vec::new(),
        unsafe_to_change: None,
        unsettled: false,
    };
    session.write(&world, &group, &mut vg)?;
    session.backup(&vg);
    drop(hints);
    let kind = if clustered { "Clustered volume group" } else { "Volume group" };
    session.say.result(format_args!("{kind} \"{}\" successfully created", vg.name));
    Ok(OK)
}

/// Sees that every device is a physical volume in no group, making those that are none.
fn label_all(session: &Session, world: &World, devices: &[String], layout: &Layout) -> Result<Vec<std::path::PathBuf>> {
    let mut chosen = Vec::new();
    let mut new = Vec::new();
    for path in devices {
        let device = dev::find(&world.devices, path)
            .map_err(|stop| stop.then(format_args!("{path}: physical volume not initialized.")))?;
        let name = device.name();
        if chosen.contains(&device.path) {
            return Err(Stop::failed(format_args!("Physical volume '{name}' is named twice")));
        }
        match world.pv_on(device) {
            Some(at) => {
                if let Some((group, _)) = world.group_of(at) {
                    let vg = &group.vg.name;
                    return Err(Stop::failed(format_args!(
                        "Physical volume '{name}' is already in volume group '{vg}'"
                    ))
                    .then(format_args!("Unable to add physical volume '{name}' to volume group '{vg}'"))
                    .then(format_args!("{name}: physical volume not initialized.")));
                }
                free_to_use(session, world, device)?;
            }
            None => {
                free_to_use(session, world, device)?;
                new.push(device);
            }
        }
        chosen.push(device.path.clone());
    }
    for device in new {
        layout.apply(session, device, Host::new_id()?)?;
    }
    Ok(chosen)
}

/// A device as a member of a new group.
fn member(world: &World, at: usize, number: usize, extent: u64) -> Result<Pv> {
    let found = &world.pvs[at];
    let label = &found.label;
    let start = label.data_start() / 512;
    let dev_size = found.size / 512;
    // The second metadata area lies at the end, behind the extents.
    let behind: u64 = label.metadata.iter().filter(|area| area.offset / 512 >= start).map(|area| area.size / 512).sum();
    let extents = dev_size.saturating_sub(start).saturating_sub(behind) / extent;
    let pe_count = u32::try_from(extents).ok().filter(|count| *count > 0).ok_or_else(|| {
        Stop::failed(format_args!("{}: has no room for an extent, or for too many", found.device.name()))
    })?;
    let bootloader = label.extension.as_ref().and_then(|extension| extension.bootloader.first());
    Ok(Pv {
        key: format!("pv{number}"),
        id: label.id,
        device: found.device.name(),
        device_id_type: None,
        device_id: None,
        status: Flags::of(PV_STATUS, &["ALLOCATABLE"]),
        flags: Flags::default(),
        tags: Vec::new(),
        dev_size,
        pe_start: start,
        pe_count,
        bootloader: bootloader.map(|region| (region.offset / 512, region.size / 512)),
    })
}

fn vgremove(session: &Session) -> Result<u8> {
    if session.options.args.is_empty() {
        return Err(no_such_syntax("vgremove"));
    }
    let (_cluster, _lock) = session.lock_global()?;
    let mut failed = false;
    for text in &session.options.args {
        let done = Named::parse(&session.conf, text).and_then(|named| remove(session, &named.vg));
        if let Err(stop) = done {
            error(&stop.message);
            failed = true;
        }
    }
    Ok(if failed { FAILED } else { OK })
}

fn remove(session: &Session, name: &str) -> Result<()> {
    let mut opened = session.open(name, Purpose::Change)?;
    let _hints = Hints::forget();
    let roles = lvm2_format::roles::Roles::of(opened.vg());
    let count = opened.vg().lvs.iter().filter(|lv| roles.is_visible(lv)).count();
    // Before anything is stopped: a full disk must not leave a group whose locks are all taken.
    archive::archive(&session.conf, &session.host, opened.vg())?;
    if count > 0 {
        let question =
            format!("Do you really want to remove volume group \"{name}\" containing {count} logical volumes?");
        if !session.options.has("yes") && !session.options.has("force") && !ask(question) {
            return Err(Stop::failed(format_args!("Volume group \"{name}\" not removed")));
        }
        let names: Vec<String> = opened.vg().lvs.iter().map(|lv| lv.name.clone()).collect();
        if let Err(stop) = lvremove::stop_all(session, &mut opened, &names) {
            lvremove::release_idle(session, &mut opened, &names)?;
            return Err(stop);
        }
    }
    let visible: Vec<String> = {
        let roles = lvm2_format::roles::Roles::of(opened.vg());
        opened.vg().lvs.iter().filter(|lv| roles.is_visible(lv)).map(|lv| lv.name.clone()).collect()
    };
    let pvs: Vec<usize> = opened.group().devices.iter().flatten().copied().collect();
    let names: Vec<String> = opened.vg().lvs.iter().map(|lv| lv.name.clone()).collect();
    if let Err(stop) = Writer::open(&opened.world, &pvs).and_then(|mut writer| writer.remove()) {
        lvremove::release_idle(session, &mut opened, &names)?;
        return Err(stop);
    }
    lvremove::release(&mut opened, &names)?;
    archive::forget(&session.conf, opened.vg());
    for lv in visible {
        session.say.result(format_args!("Logical volume \"{lv}\" successfully removed."));
    }
    session.say.result(format_args!("Volume group \"{name}\" successfully removed"));
    Ok(())
}
