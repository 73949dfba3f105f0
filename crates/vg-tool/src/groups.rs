//! Devices to volume groups, by LVM2's rules for what counts: the highest sequence number wins,
//! a physical volume the winner does not name is outdated, one it names that is not there is
//! missing. Where LVM2 warns and writes on, a group here says why it must not be changed.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use lvm2_format::{Id, Vg};

use crate::conf::Conf;
use crate::dev::{self, Device, Filter};
use crate::scan::{Found, Texts};
use crate::stop::{Result, Stop};

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub devices: Vec<Device>,
    pub pvs: Vec<Found>,
    /// Ordered by name.
    pub groups: Vec<Group>,
    /// Devices that carry the id of another one, which was chosen.
    pub duplicates: Vec<Found>,
    /// Lines for stderr that belong to no group.
    pub warnings: Vec<String>,
}

/// A volume group.
#[derive(Debug)]
pub struct Group {
    pub vg: Rc<Vg>,
    /// For each of its physical volumes the index in [`World::pvs`], where the device is there.
    pub devices: Vec<Option<usize>>,
    /// Devices with metadata of the group that the group no longer names.
    pub outdated: Vec<usize>,
    pub warnings: Vec<String>,
    /// Why the group must not be changed, beyond what its metadata says.
    pub unsafe_to_change: Option<String>,
    /// Whether the areas disagree, as they do for a moment while somebody commits.
    pub unsettled: bool,
}

impl World {
    /// Looks at every device the configuration allows.
    #[must_use]
    pub fn scan(conf: &Conf, filter: &Filter) -> Self {
        let devices = dev::candidates(conf, filter);
        let mut texts = Texts::default();
        let mut warnings = Vec::new();
        let mut found = Vec::new();
        for device in &devices {
            match texts.scan(device) {
                Ok(Some(pv)) => found.push(pv),
                Ok(None) => {}
                Err(problem) => warnings.push(problem),
            }
        }
        let mut world = assemble(found);
        world.devices = devices;
        world.warnings.splice(0..0, warnings);
        world
    }

    /// The group of that name.
    ///
    /// # Errors
    /// There is none, or there are two.
    pub fn group(&self, name: &str) -> Result<&Group> {
        let mut groups = self.groups.iter().filter(|group| group.vg.name == name);
        let cannot = format!("Cannot process volume group {name}");
        match (groups.next(), groups.next()) {
            (Some(group), None) => Ok(group),
            (None, _) => Err(Stop::failed(format_args!("Volume group \"{name}\" not found")).then(cannot)),
            (Some(_), Some(_)) => Err(Stop::failed(format_args!(
                "Multiple VGs found with the same name: skipping {name}\nUse --select vg_uuid=<uuid> in place of the VG name."
            ))),
        }
    }

    /// The group a device belongs to, and its place in it.
    #[must_use]
    pub fn group_of(&self, pv: usize) -> Option<(&Group, usize)> {
        self.groups
            .iter()
            .find_map(|group| group.devices.iter().position(|device| *device == Some(pv)).map(|at| (group, at)))
    }

    /// The index of the physical volume on a device.
    #[must_use]
    pub fn pv_on(&self, device: &Device) -> Option<usize> {
        self.pvs.iter().position(|pv| pv.device == *device)
    }
}

impl Group {
    /// Physical volumes that are not there, or count as if they were not: one that was away while
    /// the group changed is marked, and stays so as long as something is allocated on it.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        let used = self.vg.used();
        let marked = |index: usize| self.vg.pvs[index].flags.has("MISSING") || self.vg.pvs[index].status.has("MISSING");
        (0..self.devices.len())
            .filter(|index| {
                self.devices[*index].is_none() || (marked(*index) && used.iter().any(|(pv, _, _)| pv == index))
            })
            .collect()
    }

    /// What device a physical volume is on, for people.
    #[must_use]
    pub fn device_name(&self, world: &World, index: usize) -> String {
        self.devices[index].map_or_else(|| "[unknown]".into(), |pv| world.pvs[pv].device.name())
    }
}

fn assemble(found: Vec<Found>) -> World {
    let mut warnings = Vec::new();
    let newest = newest(&found);
    let (pvs, duplicates) = choose(found, &newest, &mut warnings);
    let by_id: HashMap<Id, usize> = pvs.iter().enumerate().map(|(index, pv)| (pv.label.id, index)).collect();
    // Without the duplicates another text may be the newest.
    let mut groups: Vec<Group> = self::newest(&pvs).values().map(|vg| group(vg, &pvs, &by_id, &duplicates)).collect();
    groups.sort_by(|a, b| (&a.vg.name, a.vg.id).cmp(&(&b.vg.name, b.vg.id)));
    for pair in groups.windows(2).filter(|pair| pair[0].vg.name == pair[1].vg.name) {
        let [a, b] = [&pair[0].vg, &pair[1].vg];
        warnings.push(format!("WARNING: VG name {} is used by VGs {} and {}.", a.name, a.id, b.id));
        warnings.push("Fix duplicate VG names with vgrename uuid, a device filter, or system IDs.".into());
    }
    for pv in &pvs {
        for (number, area) in pv.areas.iter().enumerate() {
            if let Some(problem) = &area.problem {
                let (name, number) = (pv.device.name(), number + 1);
                warnings.push(format!("WARNING: bad metadata on {name} in mda{number}: {problem}"));
                warnings.push(format!("WARNING: repair VG metadata on {name} with vgck --updatemetadata."));
            }
        }
    }
    World { devices: Vec::new(), pvs, groups, duplicates, warnings }
}

/// The text with the highest sequence number of each group, by the group's id.
fn newest(found: &[Found]) -> BTreeMap<Id, Rc<Vg>> {
    let mut newest: BTreeMap<Id, Rc<Vg>> = BTreeMap::new();
    for text in found.iter().flat_map(|pv| &pv.areas).filter_map(|area| area.text.as_ref()) {
        let best = newest.entry(text.id).or_insert_with(|| Rc::clone(text));
        if text.seqno > best.seqno {
            *best = Rc::clone(text);
        }
    }
    newest
}

/// Of several devices with one id, takes the one the metadata describes best; devices come
/// ordered by name, so the choice is the same every time.
fn choose(found: Vec<Found>, newest: &BTreeMap<Id, Rc<Vg>>, warnings: &mut Vec<String>) -> (Vec<Found>, Vec<Found>) {
    let mut chosen: Vec<Found> = Vec::new();
    let mut others = Vec::new();
    for pv in found {
        let Some(at) = chosen.iter().position(|other| other.label.id == pv.label.id) else {
            chosen.push(pv);
            continue;
        };
        let described = newest.values().flat_map(|vg| &vg.pvs).find(|described| described.id == pv.label.id);
        let rank = |pv: &Found| {
            described.map_or((false, false), |described| {
                (described.dev_size == pv.size / 512, described.device == pv.device.name())
            })
        };
        let (mine, theirs) = (rank(&pv), rank(&chosen[at]));
        let reason = match () {
            () if mine.0 != theirs.0 => "device size is correct",
            () if mine.1 != theirs.1 => "device name matches previous",
            () => "device was seen first",
        };
        let loser = if mine > theirs { std::mem::replace(&mut chosen[at], pv) } else { pv };
        let id = loser.label.id;
        warnings.push(format!("WARNING: Not using device {} for PV {id}.", loser.device.name()));
        warnings.push(format!("WARNING: PV {id} prefers device {} because {reason}.", chosen[at].device.name()));
        others.push(loser);
    }
    (chosen, others)
}

fn group(vg: &Rc<Vg>, pvs: &[Found], by_id: &HashMap<Id, usize>, duplicates: &[Found]) -> Group {
    let name = vg.name.clone();
    let devices: Vec<Option<usize>> = vg.pvs.iter().map(|pv| by_id.get(&pv.id).copied()).collect();
    let mut group = Group {
        devices,
        outdated: Vec::new(),
        warnings: Vec::new(),
        unsafe_to_change: None,
        unsettled: false,
        vg: Rc::clone(vg),
    };
    let mut newest_on = None;
    for (index, pv) in pvs.iter().enumerate() {
        for text in pv.areas.iter().filter_map(|area| area.text.as_ref()).filter(|text| text.id == vg.id) {
            let device = pv.device.name();
            if !group.devices.contains(&Some(index)) {
                group.outdated.push(index);
                group.warnings.push(format!(
                    "WARNING: outdated PV {device} seqno {} has been removed in current VG {name} seqno {}.",
                    text.seqno, vg.seqno
                ));
            } else if text.seqno < vg.seqno {
                group.unsettled = true;
                group.warnings.push(format!(
                    "WARNING: ignoring metadata seqno {} on {device} for seqno {} on {} for VG {name}.",
                    text.seqno,
                    vg.seqno,
                    newest_on.clone().unwrap_or_else(|| "another device".into())
                ));
            } else if !Rc::ptr_eq(text, vg) && text.as_ref() != vg.as_ref() {
                // Two hosts changed the group without knowing of each other. Whatever is written
                // next destroys one half.
                group.unsettled = true;
                let cause = format!(
                    "VG {name} seqno {} on {device} differs from the one on {}",
                    vg.seqno,
                    newest_on.clone().unwrap_or_else(|| "another device".into())
                );
                group.warnings.push(format!("WARNING: {cause}."));
                group.unsafe_to_change = Some(cause);
            } else {
                newest_on.get_or_insert(device);
            }
        }
    }
    group.outdated.dedup();
    if group.unsettled {
        group.warnings.push(format!("WARNING: Inconsistent metadata found for VG {name}."));
    }
    for (pv, _) in vg.pvs.iter().zip(&group.devices).filter(|(_, device)| device.is_none()) {
        group.warnings.push(format!("WARNING: Couldn't find device with uuid {}.", pv.id));
        group.warnings.push(format!("WARNING: VG {name} is missing PV {} (last written to {}).", pv.id, pv.device));
    }
    for index in group.missing().into_iter().filter(|index| group.devices[*index].is_some()) {
        let id = vg.pvs[index].id;
        group.warnings.push(format!("WARNING: VG {name} was previously updated while PV {id} was missing."));
    }
    if duplicates.iter().any(|other| vg.pvs.iter().any(|pv| pv.id == other.label.id)) {
        let cause = format!("Cannot update volume group {name} with duplicate PV devices.");
        group.unsafe_to_change.get_or_insert(cause);
    }
    group
}
