//! One run of a command: its settings, its locks, and the group it works on.

use std::cell::OnceCell;
use std::io;

use lvm2_format::{Lv, Vg};
use nines_proto::ctl::Mode;
use nines_sys::dm::Control;

use crate::active::{Activation, Mapper, Nodes};
use crate::commit::Writer;
use crate::conf::Conf;
use crate::dev::Filter;
use crate::groups::{Group, World};
use crate::host::Host;
use crate::lock::{Cluster, FileLock, Kind};
use crate::opts::Options;
use crate::say::{Say, error};
use crate::stop::{Result, Stop};
use crate::{archive, lock};

/// Settings and connections of one command.
#[derive(Debug)]
pub struct Session {
    pub command: &'static str,
    pub options: Options,
    pub conf: Conf,
    pub filter: Filter,
    pub say: Say,
    pub host: Host,
    pub nodes: Nodes,
    driver: OnceCell<std::result::Result<Control, String>>,
}

/// What a group is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its metadata changes.
    Change,
    /// Devices are made or removed after its metadata.
    Activate,
}

/// A group, locked and read.
#[derive(Debug)]
pub struct Opened {
    pub world: World,
    at: usize,
    pub cluster: Option<Cluster>,
    _lock: FileLock,
}

impl Opened {
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.world.groups[self.at]
    }

    #[must_use]
    pub fn vg(&self) -> &Vg {
        &self.group().vg
    }

    /// The same group after a change of ours.
    #[must_use]
    pub fn with(mut self, vg: Vg) -> Self {
        self.world.groups[self.at].vg = std::rc::Rc::new(vg);
        self
    }
}

impl Session {
    /// # Errors
    /// lvm.conf makes no sense.
    pub fn new(command: &'static str, options: Options, line: String) -> Result<Self> {
        let overrides: Vec<&str> = options.values("config").collect();
        let conf = Conf::load(&overrides)?;
        let only = options.values("devices").flat_map(|list| list.split(',')).map(str::to_owned).collect();
        let filter = Filter::new(&conf, only)?;
        let say = Say { verbose: options.count("verbose"), quiet: options.has("quiet") };
        let nodes = Nodes::new(conf.dev_dir());
        Ok(Self { command, options, filter, say, host: Host::new(line), nodes, conf, driver: OnceCell::new() })
    }

    /// Whether device-mapper may be used at all.
    ///
    /// # Errors
    /// `--driverloaded` is neither y nor n.
    pub fn activation_allowed(&self) -> Result<bool> {
        Ok(self.options.yes_no("driverloaded")?.unwrap_or(true) && self.conf.flag("global", "activation", true))
    }

    fn control(&self) -> std::result::Result<&Control, String> {
        let opened = self.driver.get_or_init(|| match self.activation_allowed() {
            Ok(true) => Control::open().map_err(|error| match error.raw_os_error() {
                Some(code) if code == nix::errno::Errno::ENODEV as i32 => {
                    format!("{}: the kernel has no device-mapper", nines_sys::dm::CONTROL)
                }
                _ => format!("{}: {error}", nines_sys::dm::CONTROL),
            }),
            Ok(false) => Err("device-mapper is switched off by --driverloaded or global/activation".into()),
            Err(stop) => Err(stop.message),
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// Device-mapper, where it is there.
    #[must_use]
    pub fn mapper(&self) -> Option<&dyn Mapper> {
        self.control().ok().map(|control| control as &dyn Mapper)
    }

    /// Device-mapper, needed.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn need_mapper(&self) -> Result<&dyn Mapper> {
        self.control()
            .map(|control| control as &dyn Mapper)
            .map_err(|cause| Stop::failed(format_args!("Cannot activate or deactivate: {cause}")))
    }

    /// Says what is wrong with the devices and, of those it is asked for, the groups.
    pub fn warn(&self, world: &World, concerned: impl Fn(&Group) -> bool) {
        for line in &world.warnings {
            error(line);
        }
        for line in world.groups.iter().filter(|group| concerned(group)).flat_map(|group| &group.warnings) {
            error(line);
        }
    }

    /// Everything there is, for a report.
    ///
    /// Nothing is locked for that: every text carries its checksum, and when all areas of all
    /// groups agree no change is under way. Where they do not, whoever changes the group is waited
    /// for and everything is read again, once; other hosts' changes cannot be waited for without
    /// the cluster, so what disagrees then is shown with a warning.
    ///
    /// # Errors
    /// A lock file cannot be made.
    pub fn look(&self) -> Result<World> {
        let world = World::scan(&self.conf, &self.filter);
        let torn = world.pvs.iter().flat_map(|pv| &pv.areas).any(|area| area.problem.is_some());
        let unsettled: Vec<String> =
            world.groups.iter().filter(|group| torn || group.unsettled).map(|group| group.vg.name.clone()).collect();
        if (unsettled.is_empty() && !torn) || self.options.has("nolocking") {
            return Ok(world);
        }
        for name in unsettled {
            // Held one at a time and let go at once: its holder has finished, that is all.
            drop(self.file_lock(&format!("V_{name}"), Kind::Shared)?);
        }
        Ok(World::scan(&self.conf, &self.filter))
    }

    /// One of LVM2's lock files.
    ///
    /// # Errors
    /// It cannot be made, or somebody has it and waiting is switched off.
    pub fn file_lock(&self, name: &str, kind: Kind) -> Result<FileLock> {
        let wait = self.conf.flag("global", "wait_for_locks", true);
        FileLock::take(&self.conf.locking_dir(), name, kind, wait)
            .map_err(|stop| stop.then(format_args!("Can't get lock for {}", name.trim_start_matches("V_"))))
    }

    /// The locks under which physical volumes and groups come and go: the cluster's where this
    /// host belongs to one, and this host's.
    ///
    /// # Errors
    /// The cluster has no quorum, or a lock cannot be had.
    pub fn lock_global(&self) -> Result<(Option<Cluster>, FileLock)> {
        let cluster = if lock::configured() {
            let mut cluster = Cluster::join()?;
            cluster.lock("P_global", Mode::Pw, self.command)?;
            Some(cluster)
        } else {
            None
        };
        Ok((cluster, self.file_lock("P_global", Kind::Exclusive)?))
    }

    /// Locks a group and reads it.
    ///
    /// # Errors
    /// It is not there, not ours to change, or not in a state to be changed.
    pub fn open(&self, name: &str, purpose: Purpose) -> Result<Opened> {
        lvm2_format::name::check(name)
            .map_err(|error| Stop::usage(format_args!("Volume group name \"{name}\" is invalid: {error}")))?;
        let mut cluster: Option<Cluster> = None;
        let lock_name = format!("V_{name}");
        loop {
            let file = self.file_lock(&lock_name, Kind::Exclusive)?;
            let world = World::scan(&self.conf, &self.filter);
            let warn = || self.warn(&world, |group| group.vg.name == name);
            let found = world.group(name);
            let group = match found {
                Ok(group) => group,
                Err(stop) => {
                    warn();
                    return Err(stop);
                }
            };
            if group.vg.is_clustered() && cluster.is_none() {
                // Other hosts may keep us waiting; this host's commands must not wait for them.
                drop(file);
                let mut joined = Cluster::join().map_err(|stop| {
                    Stop::failed(format_args!("Cannot access clustered VG {name}: {}", stop.message))
                })?;
                let mode = if purpose == Purpose::Change { Mode::Pw } else { Mode::Pr };
                joined.lock(&lock_name, mode, self.command)?;
                cluster = Some(joined);
                continue;
            }
            warn();
            self.check(group, purpose)?;
            // A group that was clustered a moment ago and is not any more needs no such lock.
            let cluster = cluster.take().filter(|_| group.vg.is_clustered());
            let at = world.groups.iter().position(|other| std::ptr::eq(other, group)).unwrap_or_default();
            return Ok(Opened { at, cluster, _lock: file, world });
        }
    }

    /// Whether this host may work on a group.
    ///
    /// # Errors
    /// Why not.
    pub fn check_access(&self, vg: &Vg) -> Result<()> {
        if !self.conf.owns(vg.system_id.as_deref()) {
            return Err(Stop::failed(self.foreign(vg)));
        }
        match vg.lock_type.as_deref() {
            None | Some("" | "none") => Ok(()),
            Some("clvm") if vg.is_clustered() => Ok(()),
            Some(kind) => Err(Stop::failed(format_args!(
                "Cannot access VG {} with lock type {kind} that requires lvmlockd.",
                vg.name
            ))),
        }
    }

    /// What there is to say about a group of another host.
    #[must_use]
    pub fn foreign(&self, vg: &Vg) -> String {
        let theirs = vg.system_id.as_deref().unwrap_or_default();
        match self.conf.system_id() {
            Some(ours) => format!("Cannot access VG {} with system ID {theirs} with local system ID {ours}.", vg.name),
            None => format!("Cannot access VG {} with system ID {theirs} with unknown local system ID.", vg.name),
        }
    }

    fn check(&self, group: &Group, purpose: Purpose) -> Result<()> {
        let vg = &group.vg;
        self.check_access(vg)?;
        if vg.is_exported() {
            return Err(Stop::failed(format_args!("Volume group {} is exported", vg.name)));
        }
        if let Some(cause) = &group.unsafe_to_change {
            return Err(Stop::failed(cause).then(format_args!("Cannot process volume group {}", vg.name)));
        }
        if purpose == Purpose::Activate {
            return Ok(());
        }
        if !vg.is_writeable() {
            return Err(Stop::failed(format_args!("Volume group {} is read-only", vg.name)));
        }
        if !group.missing().is_empty() {
            return Err(Stop::failed(format_args!("Cannot change VG {} while PVs are missing.", vg.name))
                .then("See vgreduce --removemissing and vgextend --restoremissing.")
                .then(format_args!("Cannot process volume group {}", vg.name)));
        }
        if !vg.unknown.is_empty() {
            let things = vg.unknown.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Stop::failed(format_args!(
                "Cannot change VG {}: its metadata has what this version would lose: {things}",
                vg.name
            ))
            .then(format_args!("Cannot process volume group {}", vg.name)));
        }
        Ok(())
    }

    /// Puts a changed group in place of the one that was opened: archive, commit; the backup is
    /// for the end of the command.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn commit(&self, opened: &Opened, vg: &mut Vg) -> Result<()> {
        archive::archive(&self.conf, &self.host, opened.vg())?;
        self.write(&opened.world, opened.group(), vg)
    }

    /// As [`Session::commit`], when the archive has the old state already.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn write(&self, world: &World, group: &Group, vg: &mut Vg) -> Result<()> {
        vg.seqno =
            vg.seqno.checked_add(1).ok_or_else(|| Stop::failed(format_args!("VG {}: seqno overflow", vg.name)))?;
        let mut pvs = Vec::new();
        for (index, pv) in vg.pvs.iter_mut().enumerate() {
            let Some(device) = group.devices.get(index).copied().flatten() else { continue };
            pv.device = world.pvs[device].device.name();
            // It came back, and nothing is allocated on it.
            pv.flags.set(lvm2_format::vg::PV_FLAGS, "MISSING", false);
            pvs.push(device);
        }
        let mut writer = Writer::open(world, &pvs)?;
        writer.set_used(true);
        let description = format!("Write from {}.", self.host.command);
        writer.commit(vg, &self.host, &description, self.say)
    }

    /// A second change under the same lock: what was committed is read back first, as the next
    /// text goes behind it.
    ///
    /// # Errors
    /// The change before stays.
    pub fn rewrite(&self, opened: &Opened, vg: &mut Vg) -> Result<()> {
        let world = World::scan(&self.conf, &self.filter);
        self.write(&world, world.group(&opened.vg().name)?, vg)
    }

    /// Keeps a copy of the group as it is now.
    pub fn backup(&self, vg: &Vg) {
        archive::backup(&self.conf, &self.host, vg, self.say);
    }

    /// What it takes to activate and deactivate volumes of an opened group.
    ///
    /// # Errors
    /// There is no device-mapper.
    pub fn activation<'a>(&'a self, opened: &'a mut Opened) -> Result<Activation<'a>> {
        let mapper = self.need_mapper()?;
        let Opened { world, at, cluster, .. } = opened;
        let group = &world.groups[*at];
        Ok(Activation { mapper, nodes: &self.nodes, world, group, cluster: cluster.as_mut() })
    }

    /// Whether a volume has a device on this host; no without device-mapper.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn is_active(&self, vg: &Vg, lv: &Lv) -> Result<Option<nines_sys::dm::Info>> {
        let Some(mapper) = self.mapper() else { return Ok(None) };
        let status: io::Result<_> = mapper.status(&crate::active::dm_uuid(vg, lv));
        status.map_err(|error| Stop::failed(format_args!("{}/{}: {error}", vg.name, lv.name)))
    }
}
