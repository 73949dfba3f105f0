//! Who is there, asked on the wire: every target that answers a config query, and what its disk
//! says of itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nines_cli::log;
use nines_proto::aoe::ata::{DATA, Registers, op, status};
use nines_proto::aoe::config::{Action, Config};
use nines_proto::aoe::identify::{Identified, Sector};
use nines_proto::aoe::{Address, Command, Header, sectors_per_frame};
use nines_proto::mac::Mac;

use crate::exchange::{self, PATIENCE, Port, Question, USER_TAG};

/// How often a question is sent before its target counts as silent.
const TRIES: u32 = 4;
/// More paths than a segment has; who claims more wants our memory.
const MOST: usize = 1 << 14;

/// A path: a target's address at one of its Ethernet addresses, seen from one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Shelf and slot.
    pub address: Address,
    /// Index of the interface among those asked on.
    pub port: usize,
    /// The target's side.
    pub mac: Mac,
}

/// What answered there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Messages the target can queue.
    pub buffers: u16,
    /// Most sectors of one message, as the target puts it.
    pub sectors: u8,
    /// Its label.
    pub string: Vec<u8>,
    /// What its disk says, once asked.
    pub disk: Option<Identified>,
}

impl Seen {
    /// Bytes of data a frame carries on this path.
    #[must_use]
    pub fn payload(&self, mtu: usize) -> usize {
        usize::from(self.sectors.min(sectors_per_frame(mtu))) * nines_proto::aoe::SECTOR
    }
}

/// Everybody who answered.
#[derive(Debug, Default)]
pub struct Survey {
    /// In the order of address, interface and Ethernet address.
    pub paths: BTreeMap<Path, Seen>,
    /// Interfaces nothing could be sent on, by index, and why.
    pub mute: BTreeMap<usize, String>,
}

/// Asks everybody on these interfaces, until nobody new was heard of for `quiet`.
///
/// # Errors
/// An interface failed.
pub fn everybody(ports: &[Port], quiet: Duration) -> anyhow::Result<Survey> {
    let argument = exchange::config_argument(Action::Read, b"")?;
    let tag = USER_TAG | std::process::id();
    let mut survey = Survey::default();
    let question =
        Question { to: Mac::BROADCAST, address: Address::ALL, command: Command::Config, tag, argument: &argument };
    let (mut asked, mut quiet_since) = (0, Instant::now());
    loop {
        if asked < TRIES {
            asked += 1;
            for (at, port) in ports.iter().enumerate() {
                match port.send(&question) {
                    Err(error) if !exchange::is_loss(&error) => {
                        survey.mute.insert(at, exchange::words(&error));
                    }
                    _ => {}
                }
            }
        }
        let mut until = quiet_since + quiet;
        if asked < TRIES {
            until = until.min(Instant::now() + PATIENCE.min(quiet / TRIES));
        }
        while let Some(answer) = exchange::wait(ports, until)? {
            let header = &answer.header;
            let ours = header.tag == tag && header.command == Command::Config && answer.refusal().is_none();
            // Nobody's address, although somebody claims it.
            if !ours || header.address.is_wild() {
                continue;
            }
            let Ok(config) = Config::parse(answer.argument()) else { continue };
            let path = Path { address: header.address, port: answer.port, mac: header.source };
            if survey.paths.len() < MOST && !survey.paths.contains_key(&path) {
                let seen = Seen {
                    buffers: config.buffers,
                    // AoEr11 §3.2: none is two, for targets of the protocol's first years.
                    sectors: if config.sectors == 0 { 2 } else { config.sectors },
                    string: config.string.to_vec(),
                    disk: None,
                };
                survey.paths.insert(path, seen);
                quiet_since = Instant::now();
            }
        }
        if asked == TRIES && Instant::now() >= quiet_since + quiet {
            return Ok(survey);
        }
    }
}

impl Survey {
    /// Has every disk identify itself.
    ///
    /// # Errors
    /// An interface failed.
    pub fn identify(&mut self, ports: &[Port]) -> anyhow::Result<()> {
        let request = ata(&Registers {
            flags: 0,
            feature_error: 0,
            count: 1,
            command_status: op::IDENTIFY,
            lba: [0, 0, 0, 0xa0, 0, 0],
        })?;
        let mut silent: BTreeMap<u32, Path> = (1..).map(|tag| USER_TAG | tag).zip(self.paths.keys().copied()).collect();
        for _ in 0..TRIES {
            for (tag, path) in &silent {
                let question = Question {
                    to: path.mac,
                    address: path.address,
                    command: Command::Ata,
                    tag: *tag,
                    argument: &request,
                };
                // Not sent is not answered.
                let _ = ports[path.port].send(&question);
            }
            let until = Instant::now() + PATIENCE;
            while !silent.is_empty()
                && let Some(answer) = exchange::wait(ports, until)?
            {
                let header = &answer.header;
                let from = Path { address: header.address, port: answer.port, mac: header.source };
                if header.command != Command::Ata || silent.get(&header.tag) != Some(&from) {
                    continue;
                }
                let Ok((registers, data)) = Registers::parse(answer.argument()) else { continue };
                if answer.refusal().is_some() || registers.command_status & status::ERROR != 0 {
                    silent.remove(&header.tag);
                } else if let Some(sector) = data.first_chunk::<{ size_of::<Sector>() }>()
                    && let Some(seen) = self.paths.get_mut(&from)
                {
                    silent.remove(&header.tag);
                    seen.disk = Some(Identified::parse(sector));
                }
            }
        }
        Ok(())
    }

    /// The targets: an address, and its paths.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<Address, Vec<(Path, &Seen)>> {
        let mut targets: BTreeMap<Address, Vec<(Path, &Seen)>> = BTreeMap::new();
        for (path, seen) in &self.paths {
            targets.entry(path.address).or_default().push((*path, seen));
        }
        targets
    }

    /// Says which interfaces nothing could be sent on.
    pub fn warn_of_mute(&self, ports: &[Port]) {
        for (at, why) in &self.mute {
            log(format_args!("{}: {why}", ports[*at].name));
        }
    }

    /// Says which addresses two different disks answer from: the driver would take them for one.
    pub fn warn_of_doubles(&self) {
        for (address, paths) in self.targets() {
            let mut disks = paths.iter().filter_map(|(path, seen)| Some((path.mac, seen.disk.as_ref()?)));
            let Some((mac, first)) = disks.next() else { continue };
            let other = disks.find(|(_, disk)| (&disk.serial, disk.sectors) != (&first.serial, first.sectors));
            if let Some((another, _)) = other {
                log(format_args!(
                    "{address}: two targets with this address, {mac} and {another}: give one another slot"
                ));
            }
        }
    }
}

/// The argument of an ATA message without data.
///
/// # Errors
/// None that a caller could cause.
pub fn ata(registers: &Registers) -> anyhow::Result<Vec<u8>> {
    let mut argument = vec![0; DATA - Header::LENGTH];
    registers.encode(&mut argument)?;
    Ok(argument)
}
