//! pvcreate, pvremove: labels on devices.

use lvm2_format::label::{EXTENSION_VERSION, Extension, SECTORS};
use lvm2_format::mda::Header;
use lvm2_format::{Id, Label, Region, SECTOR};

use super::{Command, no_such_syntax};
use crate::dev::{self, Device, Disk};
use crate::groups::World;
use crate::host::Host;
use crate::lock::Hints;
use crate::opts::{Opt, bad_value, opt};
use crate::say::{ask, error};
use crate::session::Session;
use crate::size;
use crate::stop::{Context, FAILED, OK, Result, Stop};

/// What vgcreate takes of this, for devices that have no label yet.
pub const LAYOUT: &[Opt] = &[
    opt("force", Some('f'), None, "twice: even when the device belongs to a volume group"),
    opt("metadatasize", None, Some("SIZE"), "room for metadata, 1 MiB less a page unless given"),
    opt("metadatacopies", None, Some("0|1|2"), "metadata areas on the device, 1 unless given"),
    opt("pvmetadatacopies", None, Some("0|1|2"), "the same"),
    opt("dataalignment", None, Some("SIZE"), "extents begin at a multiple of this, 1 MiB unless given"),
    opt("labelsector", None, Some("0..3"), "where the label goes, 1 unless given"),
    opt("zero", Some('Z'), Some("y|n"), "n: leave the device's first 2 KiB as they are"),
];

pub const PVCREATE: Command = Command {
    name: "pvcreate",
    about: "make devices physical volumes",
    usage: "[OPTION...] DEVICE...",
    examples: &[
        ("pvcreate /dev/etherd/e0.1 /dev/etherd/e1.1", "label two disks of other hosts"),
        ("pvcreate --metadatasize 8m /dev/md3", "room for the metadata of thousands of volumes"),
    ],
    options: &[
        LAYOUT[0],
        LAYOUT[1],
        LAYOUT[2],
        LAYOUT[3],
        LAYOUT[4],
        LAYOUT[5],
        LAYOUT[6],
        opt("uuid", Some('u'), Some("UUID"), "the physical volume's id, for one that was lost"),
        opt("norestorefile", None, None, "with --uuid: there is no backup to take the layout from"),
    ],
    run: pvcreate,
};

pub const PVREMOVE: Command = Command {
    name: "pvremove",
    about: "take the label off devices",
    usage: "[-ff] DEVICE...",
    examples: &[("pvremove /dev/etherd/e0.1", "the device is no physical volume any more")],
    options: &[opt("force", Some('f'), None, "twice: even when a volume group uses it, after a question")],
    run: pvremove,
};

const PAGE: u64 = 4096;
const ALIGNMENT: u64 = 1 << 20;
/// Smallest metadata area.
const MIN_AREA: u64 = 8 * PAGE;
/// LVM2 clears so much of a device, and of each metadata area.
const CLEARED: u64 = SECTORS * SECTOR as u64;

/// Where things go on a new physical volume.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    copies: u8,
    area: u64,
    alignment: u64,
    sector: u64,
    clear: bool,
}

impl Layout {
    /// Reads the options.
    ///
    /// # Errors
    /// One of them makes no sense.
    pub fn parse(session: &Session) -> Result<Self> {
        let options = &session.options;
        let sized = |name: &str, default: u64| match options.value(name) {
            None => Ok(default),
            Some(text) => size::parse(name, text),
        };
        let copies = options.value("metadatacopies").or(options.value("pvmetadatacopies"));
        let alignment = sized("dataalignment", ALIGNMENT)?;
        if alignment == 0 || alignment % SECTOR as u64 != 0 {
            return Err(bad_value("dataalignment", options.value("dataalignment").unwrap_or_default()));
        }
        Ok(Self {
            copies: match copies {
                None | Some("1") => 1,
                Some("0") => 0,
                Some("2") => 2,
                Some(other) => return Err(bad_value("metadatacopies", other)),
            },
            area: sized("metadatasize", ALIGNMENT - PAGE)?.max(MIN_AREA),
            alignment,
            sector: match options.value("labelsector") {
                None => 1,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|sector| *sector < SECTORS)
                    .ok_or_else(|| bad_value("labelsector", text))?,
            },
            clear: options.yes_no("zero")?.unwrap_or(true) && !options.has("uuid"),
        })
    }

    /// The label of a device of `size` bytes.
    fn label(&self, id: Id, size: u64, name: &str) -> Result<Label> {
        let mut metadata = Vec::new();
        let mut start = self.alignment.max(PAGE.next_multiple_of(self.alignment));
        if self.copies > 0 {
            start = (PAGE + self.area).next_multiple_of(self.alignment);
            metadata.push(Region { offset: PAGE, size: start - PAGE });
        }
        let mut end = size;
        if self.copies > 1 {
            end = size.saturating_sub(self.area) / self.alignment * self.alignment;
            metadata.push(Region { offset: end, size: size - end });
        }
        if end <= start {
            return Err(Stop::failed(format_args!("{name}: too small for a physical volume laid out like that")));
        }
        let extension = Extension { version: EXTENSION_VERSION, flags: 0, bootloader: Vec::new() };
        let data = vec![Region { offset: start, size: 0 }];
        Ok(Label { sector: self.sector, id, device_size: size, data, metadata, extension: Some(extension) })
    }

    /// Makes a device a physical volume. The label comes last: without it nothing else counts.
    ///
    /// # Errors
    /// The device is in use, or cannot be written.
    pub fn apply(&self, session: &Session, device: &Device, id: Id) -> Result<()> {
        let name = device.name();
        // Nothing is erased before it is certain that nobody uses the device.
        let disk = Disk::open(&device.path, true, true).map_err(|error| match error.raw_os_error() {
            Some(code) if code == nix::errno::Errno::EBUSY as i32 => {
                Stop::failed(format_args!("Can't open {name} exclusively.  Mounted filesystem?"))
            }
            _ => Stop::failed(format_args!("{name}: {error}")),
        })?;
        crate::active::wipe_signatures(&device.path, &name, session.options.has("yes"), session.say)?;
        let label = self.label(id, disk.size(), &name)?;
        let cleared = vec![0; usize::try_from(CLEARED).at(&name)?];
        if self.clear {
            disk.write(0, &cleared).at(&name)?;
        }
        for region in &label.metadata {
            disk.write(region.offset, &[0; 8 * SECTOR]).at(&name)?;
            disk.write(region.offset, &Header::empty(region.offset, region.size).encode()).at(&name)?;
        }
        disk.sync().at(&name)?;
        disk.write(label.sector * SECTOR as u64, &label.encode().at(&name)?).at(&name)?;
        disk.sync().at(&name)?;
        session.say.result(format_args!("Physical volume \"{name}\" successfully created."));
        Ok(())
    }
}

/// Why a device must not get a new label, `-ff` and a yes aside.
///
/// # Errors
/// Whose it is.
pub fn free_to_use(session: &Session, world: &World, device: &Device) -> Result<()> {
    let name = device.name();
    if world.duplicates.iter().any(|found| found.device == *device) {
        return Err(Stop::failed(format_args!("Cannot use device {name} with duplicates.")));
    }
    let Some(at) = world.pv_on(device) else { return Ok(()) };
    let owner = world.group_of(at).map(|(group, _)| group);
    let owner = owner.or_else(|| world.groups.iter().find(|group| group.outdated.contains(&at)));
    let forced = session.options.count("force") > 1;
    match owner {
        Some(group) if !forced => Err(Stop::failed(format_args!(
            "Can't initialize physical volume \"{name}\" of volume group \"{}\" without -ff",
            group.vg.name
        ))),
        None if world.pvs[at].label.is_used() && !forced => Err(Stop::failed(format_args!(
            "PV {name} is used by a VG but its metadata is missing.\n\
             Can't initialize PV '{name}' without -ff."
        ))),
        Some(group) => {
            let question =
                format!("Really INITIALIZE physical volume \"{name}\" of volume group \"{}\"?", group.vg.name);
            if session.options.has("yes") || ask(question) {
                session.say.warning(format_args!(
                    "Forcing physical volume creation on {name} of volume group \"{}\"",
                    group.vg.name
                ));
                Ok(())
            } else {
                Err(Stop::failed(format_args!("{name}: physical volume not initialized.")))
            }
        }
        None => Ok(()),
    }
}

fn pvcreate(session: &Session) -> Result<u8> {
    let options = &session.options;
    if options.args.is_empty() {
        return Err(Stop::usage("Please enter a physical volume path."));
    }
    let layout = Layout::parse(session)?;
    let id = match options.value("uuid") {
        None => None,
        Some(_) if !options.has("norestorefile") => {
            return Err(Stop::usage("--restorefile is required with --uuid, or say --norestorefile."));
        }
        Some(_) if options.args.len() != 1 => return Err(Stop::usage("Can only set uuid on one volume at once")),
        Some(text) => Some(text.parse::<Id>().map_err(|_| bad_value("uuid", text))?),
    };
    let (_cluster, _lock) = session.lock_global()?;
    let _hints = Hints::forget();
    let world = World::scan(&session.conf, &session.filter);
    session.warn(&world, |_| false);
    if let Some(found) = id.and_then(|id| world.pvs.iter().find(|found| found.label.id == id)) {
        return Err(Stop::failed(format_args!(
            "uuid {} already in use on \"{}\"",
            found.label.id,
            found.device.name()
        )));
    }
    let mut failed = false;
    for path in &options.args {
        let done = dev::find(&world.devices, path).and_then(|device| {
            free_to_use(session, &world, device)
                .and_then(|()| layout.apply(session, device, id.map_or_else(Host::new_id, Ok)?))
                .map_err(|stop| stop.then(format_args!("{path}: physical volume not initialized.")))
        });
        if let Err(stop) = done {
            error(&stop.message);
            failed = true;
        }
    }
    Ok(if failed { FAILED } else { OK })
}

fn pvremove(session: &Session) -> Result<u8> {
    let options = &session.options;
    if options.args.is_empty() {
        return Err(no_such_syntax("pvremove"));
    }
    let (_cluster, _lock) = session.lock_global()?;
    let _hints = Hints::forget();
    let world = World::scan(&session.conf, &session.filter);
    session.warn(&world, |_| false);
    let mut failed = false;
    for path in &options.args {
        if let Err(stop) = remove(session, &world, path) {
            error(&stop.message);
            failed = true;
        }
    }
    Ok(if failed { FAILED } else { OK })
}

fn remove(session: &Session, world: &World, path: &str) -> Result<()> {
    let device = dev::find(&world.devices, path)?;
    let name = device.name();
    let not_removed = format!("{name}: physical volume label not removed.");
    // A device that carries the id of another one is the same disk by another name.
    let found = world.duplicates.iter().find(|found| found.device == *device);
    let at = match found {
        Some(duplicate) => world.pvs.iter().position(|pv| pv.label.id == duplicate.label.id),
        None => world.pv_on(device),
    };
    let at = at.ok_or_else(|| Stop::failed(format_args!("No PV found on device {name}.")))?;
    let owner = world.group_of(at).map(|(group, _)| group);
    let owner = owner.or_else(|| world.groups.iter().find(|group| group.outdated.contains(&at)));
    let used = match owner {
        Some(group) => Some((
            format!("PV {name} is used by VG {} so please use vgreduce first.", group.vg.name),
            format!("of volume group \"{}\"", group.vg.name),
        )),
        None if world.pvs[at].label.is_used() => Some((
            format!("PV {name} is used by a VG but its metadata is missing."),
            "of an unknown volume group".into(),
        )),
        None => None,
    };
    if let Some((used, whose)) = used {
        if session.options.count("force") < 2 {
            return Err(Stop::failed(used)
                .then("(If you are certain you need pvremove, then confirm by using --force twice.)")
                .then(not_removed));
        }
        session.say.warning(used);
        let question = format!("Really WIPE LABELS from physical volume \"{name}\" {whose}?");
        if !session.options.has("yes") && !ask(question) {
            return Err(Stop::failed(not_removed));
        }
    }
    let disk = Disk::open(&device.path, true, true).at(&name)?;
    let start = disk.read(0, CLEARED).at(&name)?;
    for (sector, bytes) in (0..).zip(start.chunks_exact(SECTOR)) {
        if bytes.starts_with(b"LABELONE") {
            disk.write(sector * SECTOR as u64, &[0; SECTOR]).at(&name)?;
        }
    }
    disk.sync().at(&name)?;
    session.say.result(format_args!("Labels on physical volume \"{name}\" successfully wiped."));
    Ok(())
}
