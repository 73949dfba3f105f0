//! lvchange and vgchange: making devices for volumes, and taking them away.

use lvm2_format::Lv;
use lvm2_format::roles::Roles;

use super::lvcreate::mode;
use super::{Command, no_such_syntax};
use crate::active::mappable;
use crate::lock::LvMode;
use crate::opts::{Opt, opt};
use crate::say::error;
use crate::session::{Opened, Purpose, Session};
use crate::stop::{FAILED, OK, Result};
use crate::target::Named;

const OPTIONS: &[Opt] = &[
    opt("activate", Some('a'), Some("y|n|ey|sy"), "y, ey: for this host alone; sy: shared; n: not at all"),
    opt("ignoreactivationskip", Some('K'), None, "also volumes made with --setactivationskip y"),
    opt("sysinit", None, None, "accepted, for init scripts"),
    opt("noudevsync", None, None, "accepted; there is nothing to wait for"),
    opt("ignorelockingfailure", None, None, "accepted, and without effect"),
];

pub const LVCHANGE: Command = Command {
    name: "lvchange",
    about: "activate and deactivate logical volumes",
    usage: "-a y|n|ey|sy VG|VG/LV...",
    examples: &[
        ("lvchange -aey pool/web-00", "/dev/pool/web-00, for this host alone; from shared, when no other host has it"),
        ("lvchange -asy pool/web-00", "shared, as two hosts need it while a domain moves"),
        ("lvchange -an pool/web-00", "no device, free for other hosts"),
    ],
    options: OPTIONS,
    run: lvchange,
};

pub const VGCHANGE: Command = Command {
    name: "vgchange",
    about: "activate and deactivate all volumes of groups",
    usage: "-a y|n|ey|sy [VG...]",
    examples: &[
        ("vgchange -ay local", "every volume of a group"),
        ("vgchange -an", "everything that is active on this host"),
    ],
    options: OPTIONS,
    run: vgchange,
};

fn lvchange(session: &Session) -> Result<u8> {
    let options = &session.options;
    if options.args.is_empty() || !options.has("activate") {
        return Err(no_such_syntax("lvchange"));
    }
    let wanted = mode(options, "y")?;
    let named: Vec<Named> = options.args.iter().map(|text| Named::parse(&session.conf, text)).collect::<Result<_>>()?;
    let mut groups: Vec<&str> = Vec::new();
    for name in &named {
        if !groups.contains(&name.vg.as_str()) {
            groups.push(&name.vg);
        }
    }
    let mut failed = false;
    for group in groups {
        let here: Vec<&Named> = named.iter().filter(|name| name.vg == group).collect();
        match session.open(group, Purpose::Activate) {
            Ok(mut opened) => failed |= !volumes(session, &mut opened, &here, wanted)?,
            Err(stop) => {
                error(&stop.message);
                failed = true;
            }
        }
    }
    Ok(if failed { FAILED } else { OK })
}

fn volumes(session: &Session, opened: &mut Opened, named: &[&Named], wanted: Option<LvMode>) -> Result<bool> {
    let vg = opened.vg().clone();
    let roles = Roles::of(&vg);
    let mut complete = true;
    for named in named {
        let chosen: Vec<&Lv> = match &named.lv {
            Some(name) => match vg.lv(name) {
                Some(lv) => vec![lv],
                None => {
                    error(format_args!("Failed to find logical volume \"{}/{name}\"", vg.name));
                    complete = false;
                    continue;
                }
            },
            None => vg.lvs.iter().filter(|lv| roles.is_visible(lv)).collect(),
        };
        for lv in chosen {
            if let Err(stop) = switch(session, opened, lv, wanted) {
                error(&stop.message);
                complete = false;
            }
        }
    }
    Ok(complete)
}

fn switch(session: &Session, opened: &mut Opened, lv: &Lv, wanted: Option<LvMode>) -> Result<()> {
    match wanted {
        Some(_) if skipped(session, lv) => {
            session.say.detail(format_args!("Skipping {}, which has its activation skip flag set.", lv.name));
            Ok(())
        }
        Some(mode) => session.activation(opened)?.on(lv, mode),
        None => session.activation(opened)?.off(lv),
    }
}

/// Whether a volume is left out unless somebody insists.
fn skipped(session: &Session, lv: &Lv) -> bool {
    let options = &session.options;
    let by_itself = options.value("activate").is_some_and(|how| how.starts_with('a'));
    (lv.flags.has("ACTIVATION_SKIP") && !options.has("ignoreactivationskip"))
        || (by_itself && lv.flags.has("NOAUTOACTIVATE"))
}

fn vgchange(session: &Session) -> Result<u8> {
    let options = &session.options;
    if !options.has("activate") {
        return Err(no_such_syntax("vgchange"));
    }
    let wanted = mode(options, "y")?;
    let mut failed = false;
    let groups: Vec<String> = if options.args.is_empty() {
        let world = session.look()?;
        let ours =
            world.groups.iter().filter(|group| session.check_access(&group.vg).is_ok() && !group.vg.is_exported());
        ours.map(|group| group.vg.name.clone()).collect()
    } else {
        options
            .args
            .iter()
            .map(|text| Named::parse(&session.conf, text).map(|named| named.vg))
            .collect::<Result<_>>()?
    };
    for name in groups {
        match session.open(&name, Purpose::Activate).and_then(|mut opened| group(session, &mut opened, wanted)) {
            Ok(complete) => failed |= !complete,
            Err(stop) => {
                error(&stop.message);
                failed = true;
            }
        }
    }
    Ok(if failed { FAILED } else { OK })
}

fn group(session: &Session, opened: &mut Opened, wanted: Option<LvMode>) -> Result<bool> {
    // Without device-mapper nothing is active, and nothing can be.
    if wanted.is_some() || session.mapper().is_some() {
        session.need_mapper()?;
    }
    let vg = opened.vg().clone();
    let roles = Roles::of(&vg);
    let by_itself = session.options.value("activate").is_some_and(|how| how.starts_with('a'));
    let mut complete = true;
    let mut open = 0;
    let mut active = 0;
    let visible = vg.lvs.iter().filter(|lv| roles.is_visible(lv));
    for lv in visible {
        let is_active = session.is_active(&vg, lv)?;
        let leave = match wanted {
            // Volumes of other types are LVM2's to stop as they are its to start.
            None => is_active.is_none() && (opened.cluster.is_none() || mappable(&vg, lv).is_err()),
            Some(_) => by_itself && vg.flags.has("NOAUTOACTIVATE"),
        };
        if !leave && (wanted.is_some() || session.mapper().is_some() || opened.cluster.is_some()) {
            open += usize::from(is_active.is_some_and(|info| info.open_count > 0));
            if let Err(stop) = switch(session, opened, lv, wanted) {
                error(&stop.message);
                complete = false;
            }
        }
        active += usize::from(session.is_active(&vg, lv)?.is_some());
    }
    if wanted.is_none() && open > 0 {
        error(format_args!("Can't deactivate volume group \"{}\" with {open} open logical volume(s)", vg.name));
        return Ok(false);
    }
    session.say.result(format_args!("{active} logical volume(s) in volume group \"{}\" now active", vg.name));
    Ok(complete)
}
