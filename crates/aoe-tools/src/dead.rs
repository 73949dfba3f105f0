//! aoe-flush --dead: have the driver give up on targets that are dead, although devices of theirs
//! are in use.
//!
//! The driver fails a device when a frame to it was not answered for `aoe_deadsecs`, a parameter
//! that is for all devices and that it looks at whenever it sends a frame again. Lowered to a
//! second, it fails the dead target's device at once, and any other whose target is silent at that
//! moment: so all others are asked for signs of life before and meanwhile.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nines_cli::{Exit, log};
use nines_proto::aoe::config::Action;
use nines_proto::aoe::{Address, Command as Ask, Flags, SECTOR};
use nines_proto::mac::Mac;
use nines_sys::blk::{Aligned, PAGE};
use nix::fcntl::OFlag;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::exchange::{self, Port, Question, USER_TAG};
use crate::signals::{Signals, end_by};
use crate::sysfs::{self, Device, Load};
use crate::{deadsecs, paths};

/// How long a target must have been silent to be called dead.
const DEAD: Duration = Duration::from_millis(700);
/// How long another may be without a sign of life. The driver would fail its device after two
/// seconds.
const WORRY: Duration = Duration::from_millis(1000);
/// How long none of its requests may have ended when the parameter is lowered.
const LATE: Duration = Duration::from_millis(300);
/// How often everybody is asked.
const ROUND: Duration = Duration::from_millis(100);
/// How often the devices are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A device whose target must be alive.
#[derive(Debug)]
struct Other {
    name: String,
    address: Address,
    answered: Option<Instant>,
    /// Requests under way, none of which has ended since.
    stuck: Option<(Load, Instant)>,
}

impl Other {
    fn new(name: String, address: Address) -> Self {
        Self { name, address, answered: None, stuck: None }
    }

    fn saw(&mut self, load: Load, now: Instant) {
        self.stuck = match self.stuck {
            _ if load.under_way == 0 => None,
            Some((before, since)) if before.ended == load.ended => Some((before, since)),
            _ => Some((load, now)),
        };
    }

    /// Whether it gave a sign of life, and none of its requests is late.
    fn is_well(&self, now: Instant) -> bool {
        let late = |since: Instant| now.saturating_duration_since(since) >= LATE;
        self.answered.is_some() && !self.stuck.is_some_and(|(_, since)| late(since))
    }

    /// What is wrong with it, if anything, having been asked since `start`.
    fn trouble(&self, start: Instant, now: Instant) -> Option<String> {
        let name = &self.name;
        let silent = now.saturating_duration_since(self.answered.unwrap_or(start));
        let stuck = self.stuck.map(|(_, since)| now.saturating_duration_since(since)).unwrap_or_default();
        if silent >= WORRY {
            Some(format!("{name}: does not answer either: name it as well if it is dead, or wait until it answers"))
        } else if stuck >= WORRY {
            Some(format!("{name}: has requests under way that do not end: it would be failed as well"))
        } else {
            None
        }
    }
}

/// How a wait ended.
enum End {
    Done,
    No(String),
    Told(nix::sys::signal::Signal),
}

struct Scene {
    ports: Vec<Port>,
    dead: Vec<(String, Address)>,
    others: Vec<Other>,
    signals: Signals,
    query: Vec<u8>,
    asked: Option<Instant>,
    start: Instant,
}

/// Fails these devices. `known` is every device of the driver.
///
/// # Errors
/// No CAP_NET_RAW, no driver, or the parameter cannot be written.
pub fn fail(names: &[String], known: &[Device], timeout: Duration) -> anyhow::Result<Exit> {
    let names: Vec<&String> = names.iter().filter(|name| sysfs::is_up(name)).collect();
    if names.is_empty() {
        // Down is what was wanted.
        return Ok(Exit::Ok);
    }
    let signals = Signals::hold()?;
    let addressed = |name: &str| sysfs::address(name).ok_or_else(|| anyhow::anyhow!("{name}: not a shelf and a slot"));
    let mut dead = Vec::new();
    for name in &names {
        dead.push(((*name).clone(), addressed(name)?));
    }
    let mut others = Vec::new();
    for device in known.iter().filter(|device| !names.contains(&&device.name) && sysfs::is_up(&device.name)) {
        others.push(Other::new(device.name.clone(), addressed(&device.name)?));
    }
    let ports = ports(known)?;
    let query = exchange::config_argument(Action::Read, b"")?;
    let mut scene = Scene { ports, dead, others, signals, query, asked: None, start: Instant::now() };
    // The driver counts by requests: a device without one would never be failed.
    for (name, _) in &scene.dead {
        if sysfs::load(name).under_way == 0 {
            provoke(name)?;
        }
    }
    let deadline = scene.start + timeout;
    let end = scene.fail(deadline)?;
    match end {
        End::Done => Ok(Exit::Ok),
        End::No(why) => {
            log(format_args!("{why}"));
            Ok(Exit::No)
        }
        End::Told(signal) => {
            end_by(signal);
            Ok(Exit::Code(u8::try_from(128 + signal as i32).unwrap_or(1)))
        }
    }
}

/// The interfaces the driver reaches devices by, or all there are when it names none.
fn ports(known: &[Device]) -> anyhow::Result<Vec<Port>> {
    let mut names: Vec<String> = Vec::new();
    for netif in known.iter().filter_map(|device| device.netif.as_deref()).flat_map(|list| list.split(',')) {
        if netif != "none" && !names.iter().any(|name| name == netif) {
            names.push(netif.to_owned());
        }
    }
    if names.is_empty() {
        for found in getifaddrs().map_err(|error| anyhow::anyhow!("interfaces: {}", error.desc()))? {
            let usable = found.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST);
            if usable && !names.contains(&found.interface_name) {
                names.push(found.interface_name);
            }
        }
    }
    let mut ports = Vec::new();
    for name in &names {
        match Port::open(name) {
            Ok(port) => ports.push(port),
            // Nobody is reached by it, which is for each device's own silence to show.
            Err(error) => log(format_args!("{error:#}")),
        }
    }
    anyhow::ensure!(!ports.is_empty(), "{}: no interface to ask on", names.join(" "));
    Ok(ports)
}

/// What this program calls itself with to read one device: see [`provoke`].
pub const READ: &str = "--read-one";

/// Starts a read of the device. A process of its own, since nothing ends it before the driver
/// does, and ours, since not every dd(1) gets past the page cache.
fn provoke(name: &str) -> anyhow::Result<()> {
    let mut read = Command::new("/proc/self/exe");
    read.arg(READ).arg(paths::etherd().join(name));
    read.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    nines_sys::proc::unblock_signals(&mut read).spawn().map_err(|error| anyhow::anyhow!("/proc/self/exe: {error}"))?;
    Ok(())
}

/// That read. Whether it fails is of no interest, only that the driver has a request.
#[must_use]
pub fn read_one(node: &OsStr) -> Exit {
    let device = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(node);
    let mut buffer = Aligned::new(0, PAGE);
    match device.and_then(|device| device.read_at(&mut buffer[..SECTOR], 0)) {
        Ok(_) => Exit::Ok,
        Err(_) => Exit::No,
    }
}

impl Scene {
    fn fail(&mut self, deadline: Instant) -> anyhow::Result<End> {
        // Silence first: it takes no other run's end.
        loop {
            if let Some(end) = self.look()? {
                return Ok(end);
            }
            let now = Instant::now();
            if self.others.iter().all(|other| other.is_well(now)) && self.start.elapsed() >= DEAD {
                break;
            }
        }
        let mut told = None;
        let note = deadsecs::lock_by(deadline, || {
            told = self.signals.wait(LOOK);
            told.is_some()
        })?;
        let Some(note) = note else { return Ok(told.map_or(End::Done, End::Told)) };
        // That may have taken a while, and the other run may have failed it.
        if let Some(end) = self.look()? {
            return Ok(end);
        }
        if self.is_done() {
            return Ok(End::Done);
        }
        let lowered = note.lower()?;
        let end = loop {
            if self.is_done() {
                break End::Done;
            }
            if let Some(end) = self.look()? {
                break end;
            }
            if Instant::now() >= deadline {
                let left = self.dead.iter().find(|(name, _)| sysfs::is_up(name)).map(|(name, _)| name.as_str());
                break End::No(format!("{}: not failed by the driver in the time given", left.unwrap_or_default()));
            }
        };
        lowered.put_back()?;
        Ok(end)
    }

    fn is_done(&self) -> bool {
        self.dead.iter().all(|(name, _)| !sysfs::is_up(name))
    }

    /// Asks everybody when it is time, takes what answers come, and says what ends the run.
    fn look(&mut self) -> anyhow::Result<Option<End>> {
        let now = Instant::now();
        let tag = USER_TAG | std::process::id();
        if self.asked.is_none_or(|asked| now >= asked + ROUND) {
            self.asked = Some(now);
            let addresses: Vec<Address> = self.dead.iter().map(|(_, address)| *address).collect();
            for address in addresses.into_iter().chain(self.others.iter().map(|other| other.address)) {
                let question =
                    Question { to: Mac::BROADCAST, address, command: Ask::Config, tag, argument: &self.query };
                for port in &self.ports {
                    // An interface that is down reaches nobody, which the silence shows.
                    let _ = port.send(&question);
                }
            }
        }
        while let Some(answer) = exchange::wait(&self.ports, now + LOOK)? {
            let header = &answer.header;
            if header.tag != tag || header.command != Ask::Config || !header.flags.has(Flags::RESPONSE) {
                continue;
            }
            if let Some((name, _)) = self.dead.iter().find(|(_, address)| *address == header.address) {
                let (netif, mac) = (&self.ports[answer.port].name, header.source);
                return Ok(Some(End::No(format!("{name}: {mac} on {netif} answers: it is not dead"))));
            }
            for other in self.others.iter_mut().filter(|other| other.address == header.address) {
                other.answered = Some(Instant::now());
            }
        }
        for other in &mut self.others {
            other.saw(sysfs::load(&other.name), Instant::now());
        }
        if let Some(signal) = self.signals.take() {
            return Ok(Some(End::Told(signal)));
        }
        let now = Instant::now();
        Ok(self.others.iter().find_map(|other| other.trouble(self.start, now)).map(End::No))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(start: Instant) -> Other {
        let mut other = Other::new("e1.1".into(), sysfs::address("e1.1").unwrap());
        other.answered = Some(start);
        other
    }

    #[test]
    fn silence_of_another_is_trouble_after_a_second() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut quiet = other(start);
        assert_eq!(quiet.trouble(start, ms(999)), None);
        assert!(quiet.trouble(start, ms(1000)).unwrap().starts_with("e1.1: does not answer either"));
        quiet.answered = Some(ms(900));
        assert_eq!(quiet.trouble(start, ms(1800)), None);
        quiet.answered = None;
        assert!(quiet.trouble(start, ms(1000)).is_some());
    }

    #[test]
    fn requests_of_another_that_do_not_end_are_trouble_although_it_answers() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut busy = other(start);
        busy.saw(Load { under_way: 3, ended: 10 }, ms(0));
        busy.saw(Load { under_way: 2, ended: 11 }, ms(800));
        busy.answered = Some(ms(1700));
        assert!(busy.is_well(ms(1099)) && !busy.is_well(ms(1100)));
        assert_eq!(busy.trouble(start, ms(1700)), None);
        busy.saw(Load { under_way: 9, ended: 11 }, ms(1750));
        assert!(busy.trouble(start, ms(1800)).unwrap().contains("do not end"));
        busy.saw(Load { under_way: 0, ended: 20 }, ms(1801));
        assert_eq!(busy.trouble(start, ms(1900)), None);
    }
}
