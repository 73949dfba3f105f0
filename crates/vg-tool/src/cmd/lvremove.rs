//! lvremove.

use lvm2_format::roles::Roles;

use super::{Command, no_such_syntax};
use crate::active::mappable;
use crate::lock::LvMode;
use crate::opts::opt;
use crate::say::{ask, error};
use crate::session::{Opened, Purpose, Session};
use crate::stop::{Context, FAILED, OK, Result, Stop};
use crate::target::Named;

pub const LVREMOVE: Command = Command {
    name: "lvremove",
    about: "remove logical volumes",
    usage: "[-f] VG|VG/LV...",
    examples: &[
        ("lvremove pool/web-00", "asks when the volume is active"),
        ("lvremove -y pool", "all volumes of the group"),
    ],
    options: &[opt("force", Some('f'), None, "do not ask")],
    run: lvremove,
};

fn lvremove(session: &Session) -> Result<u8> {
    let options = &session.options;
    if options.args.is_empty() {
        return Err(no_such_syntax("lvremove"));
    }
    let named: Vec<Named> = options.args.iter().map(|text| Named::parse(&session.conf, text)).collect::<Result<_>>()?;
    let mut groups: Vec<&str> = Vec::new();
    for name in &named {
        if !groups.contains(&name.vg.as_str()) {
            groups.push(&name.vg);
        }
    }
    let mut failed = false;
    for group in groups {
        let wanted: Vec<&Named> = named.iter().filter(|name| name.vg == group).collect();
        match from_group(session, group, &wanted) {
            Ok(complete) => failed |= !complete,
            Err(stop) => {
                if !stop.message.is_empty() {
                    error(&stop.message);
                }
                failed = true;
            }
        }
    }
    Ok(if failed { FAILED } else { OK })
}

/// Removes what is named of one group, in one change; answers whether that was everything.
fn from_group(session: &Session, group: &str, wanted: &[&Named]) -> Result<bool> {
    let mut opened = session.open(group, Purpose::Change)?;
    let vg = opened.vg().clone();
    let roles = Roles::of(&vg);
    let mut names: Vec<String> = Vec::new();
    let mut complete = true;
    for named in wanted {
        match &named.lv {
            Some(name) if vg.lv(name).is_none() => {
                error(format_args!("Failed to find logical volume \"{group}/{name}\""));
                complete = false;
            }
            Some(name) => names.push(name.clone()),
            None => names.extend(vg.lvs.iter().filter(|lv| roles.is_visible(lv)).map(|lv| lv.name.clone())),
        }
    }
    names.dedup();
    let mut gone: Vec<String> = Vec::new();
    for name in names {
        match stop_all(session, &mut opened, std::slice::from_ref(&name)) {
            Ok(()) => gone.push(name),
            Err(stop) => {
                error(&stop.message);
                complete = false;
            }
        }
    }
    if gone.is_empty() {
        return Ok(complete);
    }
    let mut left = vg.clone();
    left.lvs.retain(|lv| !gone.contains(&lv.name));
    if let Err(stop) = session.commit(&opened, &mut left) {
        release_idle(session, &mut opened, &gone)?;
        return Err(stop);
    }
    // The volumes are gone, and with them what their locks stood for.
    release(&mut opened, &gone)?;
    session.backup(&left);
    for name in gone {
        session.say.result(format_args!("Logical volume \"{name}\" successfully removed."));
    }
    Ok(complete)
}

/// Sees that volumes may be removed: active nowhere else, not open here, and not a part of
/// something this program does not take apart. Their devices are gone after this, and in a
/// clustered group this host holds their locks.
///
/// # Errors
/// Which volume stays, and why.
pub fn stop_all(session: &Session, opened: &mut Opened, names: &[String]) -> Result<()> {
    let vg = opened.vg().clone();
    for lv in vg.lvs.iter().filter(|lv| names.contains(&lv.name)) {
        let full = format!("{}/{}", vg.name, lv.name);
        mappable(&vg, lv)?;
        let info = session.is_active(&vg, lv)?;
        if info.as_ref().is_some_and(|info| info.open_count > 0) {
            return Err(Stop::failed(format_args!("Logical volume {full} in use.")));
        }
        if info.is_some() && !session.options.has("yes") && !session.options.has("force") {
            let question = format!("Do you really want to remove active logical volume {full}?");
            if !ask(question) {
                return Err(Stop::failed(format_args!("Logical volume {full} not removed.")));
            }
        }
        if let Some(cluster) = &mut opened.cluster {
            cluster.lock_lv(&vg, lv, LvMode::Exclusive)?;
        }
        if info.is_some() {
            let mut activation = session.activation(opened)?;
            // The lock is kept until the metadata is written.
            activation.cluster = None;
            activation.off(lv)?;
        }
        // Names of a device that somebody else took away.
        session.nodes.remove(&vg.name, &lv.name).at(&full)?;
    }
    Ok(())
}

/// Gives the locks of removed volumes back.
///
/// # Errors
/// The cluster refuses.
pub fn release(opened: &mut Opened, names: &[String]) -> Result<()> {
    let vg = opened.vg().clone();
    if let Some(cluster) = &mut opened.cluster {
        for lv in vg.lvs.iter().filter(|lv| names.contains(&lv.name)) {
            cluster.unlock_lv(&vg, lv)?;
        }
    }
    Ok(())
}

/// When a removal has failed: gives back the locks it took of volumes that have no device here.
///
/// # Errors
/// The cluster refuses.
pub fn release_idle(session: &Session, opened: &mut Opened, names: &[String]) -> Result<()> {
    let vg = opened.vg().clone();
    let mut idle = Vec::new();
    for lv in vg.lvs.iter().filter(|lv| names.contains(&lv.name)) {
        if session.is_active(&vg, lv)?.is_none() {
            idle.push(lv.name.clone());
        }
    }
    release(opened, &idle)
}
