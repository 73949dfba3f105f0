//! Logical volumes as device-mapper devices: making them, taking them away, and what state they
//! are in. In a clustered group the cluster's lock comes before the device and goes after it.

mod flush;
mod nodes;
mod signature;
mod table;
mod wipe;

pub use nodes::Nodes;
pub use table::targets;
pub use wipe::{clear_start, wipe_signatures};

use std::collections::HashMap;
use std::io;

use lvm2_format::name::dm_name;
use lvm2_format::roles::{Role, Roles};
use lvm2_format::{Lv, Mapping, Vg};
use nines_sys::dm::{By, Control, Info, Listed, Target};

use crate::groups::{Group, World};
use crate::lock::{Cluster, LvMode};
use crate::stop::{Context, Result, Stop};

/// What of device-mapper activation needs. The kernel's has it, and so has a record in memory for
/// tests of the order of steps.
pub trait Mapper {
    /// # Errors
    /// As the ioctl.
    fn list(&self) -> io::Result<Vec<Listed>>;
    /// # Errors
    /// As the ioctl.
    fn status(&self, uuid: &str) -> io::Result<Option<Info>>;
    /// # Errors
    /// As the ioctl.
    fn create(&self, name: &str, uuid: &str) -> io::Result<()>;
    /// # Errors
    /// As the ioctl.
    fn load(&self, uuid: &str, targets: &[Target], read_only: bool) -> io::Result<()>;
    /// # Errors
    /// As the ioctl.
    fn resume(&self, uuid: &str) -> io::Result<Info>;
    /// # Errors
    /// As the ioctl.
    fn remove(&self, uuid: &str) -> io::Result<()>;
}

impl Mapper for Control {
    fn list(&self) -> io::Result<Vec<Listed>> {
        Control::list(self)
    }

    fn status(&self, uuid: &str) -> io::Result<Option<Info>> {
        Control::status(self, By::Uuid(uuid))
    }

    fn create(&self, name: &str, uuid: &str) -> io::Result<()> {
        Control::create(self, name, uuid).map(drop)
    }

    fn load(&self, uuid: &str, targets: &[Target], read_only: bool) -> io::Result<()> {
        Control::load(self, By::Uuid(uuid), targets, read_only)
    }

    fn resume(&self, uuid: &str) -> io::Result<Info> {
        Control::resume(self, By::Uuid(uuid))
    }

    fn remove(&self, uuid: &str) -> io::Result<()> {
        Control::remove(self, By::Uuid(uuid))
    }
}

/// What device-mapper calls a logical volume.
#[must_use]
pub fn dm_uuid(vg: &Vg, lv: &Lv) -> String {
    format!("LVM-{}{}", vg.id.compact(), lv.id.compact())
}

/// Which logical volumes have devices; asked once for all of them.
#[derive(Debug)]
pub struct Devices {
    /// Absent where device-mapper is.
    by_uuid: Option<HashMap<String, Listed>>,
    /// Whether a uuid that is not listed has no device: older kernels list names only.
    complete: bool,
}

impl Devices {
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn list(mapper: Option<&dyn Mapper>) -> io::Result<Self> {
        let Some(mapper) = mapper else { return Ok(Self { by_uuid: None, complete: false }) };
        let listed = mapper.list()?;
        let complete = listed.iter().all(|device| device.uuid.is_some());
        let named = listed.into_iter().filter_map(|device| Some((device.uuid.clone()?, device)));
        Ok(Self { by_uuid: Some(named.collect()), complete })
    }

    #[must_use]
    pub fn is_known(&self) -> bool {
        self.by_uuid.is_some()
    }

    /// Whether it is worth asking the kernel for the device of that uuid.
    #[must_use]
    pub fn may_have(&self, uuid: &str) -> bool {
        self.by_uuid.as_ref().is_some_and(|devices| !self.complete || devices.contains_key(uuid))
    }
}

/// Everything activation needs around one group.
pub struct Activation<'a> {
    pub mapper: &'a dyn Mapper,
    pub nodes: &'a Nodes,
    pub world: &'a World,
    pub group: &'a Group,
    /// In a clustered group.
    pub cluster: Option<&'a mut Cluster>,
}

impl Activation<'_> {
    /// Makes the volume's device, unless it is there.
    ///
    /// # Errors
    /// The volume is of a kind this program does not map, another host holds it, or the kernel
    /// refuses; the device and the lock are gone then.
    pub fn on(&mut self, lv: &Lv, mode: LvMode) -> Result<()> {
        let vg = &self.group.vg;
        mappable(vg, lv)?;
        let targets = targets(self.world, self.group, lv, flush::sink)?;
        if let Some(cluster) = self.cluster.as_deref_mut() {
            cluster.lock_lv(vg, lv, mode)?;
        }
        let read_only = !lv.is_writeable() || !vg.is_writeable();
        let made = make(self.mapper, self.nodes, vg, lv, &targets, read_only);
        let Err(stop) = made else { return Ok(()) };
        // A device that is there, whoever made it, must keep its lock.
        let gone = matches!(self.mapper.status(&dm_uuid(vg, lv)), Ok(None));
        if let Some(cluster) = self.cluster.as_deref_mut().filter(|_| gone) {
            cluster.unlock_lv(vg, lv).map_err(|unlock| stop.clone().then(unlock.message))?;
        }
        Err(stop)
    }

    /// Takes the volume's device away, and the lock with it.
    ///
    /// # Errors
    /// Somebody has it open.
    pub fn off(&mut self, lv: &Lv) -> Result<()> {
        let vg = &self.group.vg;
        let name = format!("{}/{}", vg.name, lv.name);
        let uuid = dm_uuid(vg, lv);
        if let Some(info) = self.mapper.status(&uuid).at(&name)? {
            if info.open_count > 0 {
                return Err(Stop::failed(format_args!("Logical volume {name} in use.")));
            }
            self.mapper.remove(&uuid).map_err(|error| {
                match nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                    nix::errno::Errno::EBUSY => Stop::failed(format_args!("Logical volume {name} in use.")),
                    _ => Stop::failed(format_args!("{name}: cannot remove its device: {error}")),
                }
            })?;
        }
        self.nodes.remove(&vg.name, &lv.name).at(&name)?;
        match self.cluster.as_deref_mut() {
            Some(cluster) => cluster.unlock_lv(vg, lv),
            None => Ok(()),
        }
    }
}

/// Whether this program knows how to map the volume by itself.
///
/// # Errors
/// Why not.
pub fn mappable(vg: &Vg, lv: &Lv) -> Result<()> {
    let name = format!("{}/{}", vg.name, lv.name);
    let role = Roles::of(vg).role(lv);
    let other = lv.segments.iter().find(|segment| !matches!(segment.mapping, Mapping::Striped { .. }));
    let kind = match (role, other) {
        (Role::Plain, None) => return Ok(()),
        (Role::Plain, Some(segment)) => segment.kind.clone(),
        (Role::Origin, _) => "snapshot origin".into(),
        (Role::Snapshot, _) => "snapshot".into(),
        _ => return Err(Stop::failed(format_args!("Logical volume {name} is a part of another one."))),
    };
    Err(Stop::failed(format_args!("Logical volume {name} is of type {kind}, which vg-tool does not map; LVM2 does.")))
}

fn make(mapper: &dyn Mapper, nodes: &Nodes, vg: &Vg, lv: &Lv, targets: &[Target], read_only: bool) -> Result<()> {
    let name = format!("{}/{}", vg.name, lv.name);
    let uuid = dm_uuid(vg, lv);
    let info = match mapper.status(&uuid).at(&name)? {
        Some(info) if info.live_table && !info.suspended => info,
        found => {
            if found.is_none() {
                let created = mapper.create(&dm_name(&vg.name, &lv.name), &uuid);
                created.at(format_args!("{name}: cannot make its device"))?;
            }
            let live = found.is_some_and(|info| info.live_table);
            let loaded = mapper.load(&uuid, targets, read_only).and_then(|()| mapper.resume(&uuid));
            match loaded {
                Ok(info) => info,
                Err(error) => {
                    let stop = Stop::failed(format_args!("{name}: the kernel refuses its table: {error}"));
                    // One that was serving somebody is left to serve.
                    if live {
                        return Err(stop);
                    }
                    return Err(match mapper.remove(&uuid) {
                        Ok(()) => stop,
                        Err(undo) => stop.then(format_args!("{name}: cannot remove its device: {undo}")),
                    });
                }
            }
        }
    };
    nodes.add(&vg.name, &lv.name, info.major, info.minor).at(&name)
}

#[cfg(test)]
mod tests;
