//! The target under check, and what checks say to it.

use std::io;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::{DATA, Registers, flag, op};
use nines_proto::aoe::config::{self, Config};
use nines_proto::aoe::identify::Sector;
use nines_proto::aoe::mask::{self, Directive, Mask, Verb};
use nines_proto::aoe::reserve::{self, Reserve};
use nines_proto::aoe::{Address, Command, Header, SECTOR};
use nines_proto::mac::Mac;

use crate::initiator::{Initiator, message};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long a restarted target may take to be back.
const RETURN: Duration = Duration::from_secs(20);
/// How long an answer that must not come is waited for when a later one has come already.
const GRACE: Duration = Duration::from_millis(40);

/// The config string of a target that is watched.
const MARK: &[u8] = b"still the same target";

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// From the destination address on.
    pub frame: Vec<u8>,
    /// Its beginning.
    pub header: Header,
}

impl Answer {
    fn new(frame: Vec<u8>) -> Option<Self> {
        let (header, _) = Header::parse(&frame).ok()?;
        Some(Self { frame, header })
    }

    /// What follows the header.
    #[must_use]
    pub fn argument(&self) -> &[u8] {
        &self.frame[Header::LENGTH..]
    }

    /// The registers and the data of an ATA answer.
    ///
    /// # Errors
    /// It is too short for them.
    pub fn registers(&self) -> anyhow::Result<(Registers, &[u8])> {
        Registers::parse(self.argument()).context("ATA answer")
    }

    /// AoE error, ATA status and error register.
    ///
    /// # Errors
    /// It is too short for them.
    pub fn outcome(&self) -> anyhow::Result<Outcome> {
        let (registers, _) = self.registers()?;
        Ok(Outcome { aoe: self.header.error, status: registers.command_status, error: registers.feature_error })
    }
}

/// How an ATA command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The header's error byte.
    pub aoe: u8,
    /// Status register.
    pub status: u8,
    /// Error register.
    pub error: u8,
}

impl Outcome {
    /// Carried out.
    pub const DONE: Self = Self { aoe: 0, status: 0x40, error: 0 };
    /// Unknown, malformed or not allowed.
    pub const ABORTED: Self = Self { aoe: 0, status: 0x41, error: 0x04 };
    /// Beyond the last sector.
    pub const NO_SUCH_SECTOR: Self = Self { aoe: 0, status: 0x41, error: 0x10 };
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.aoe != 0 {
            return write!(f, "AoE error {}", self.aoe);
        }
        write!(f, "status {:02x}h error {:02x}h", self.status, self.error)
    }
}

/// The target and the wire to it.
#[derive(Debug)]
pub struct Subject {
    /// This end.
    pub initiator: Initiator,
    /// Its shelf and slot.
    pub address: Address,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The size of the disk.
    pub sectors: u64,
    /// Sectors a frame carries.
    pub most: u8,
    /// Messages it says it can queue.
    pub buffers: u16,
    /// IDENTIFY's answer.
    pub identify: Sector,
    /// Changes the target's end of the link: a shell command that gets `mtu N`, `up` or `down`.
    pub link: Option<String>,
    /// Ends a target that hears this end no more: a shell command.
    pub restart: Option<String>,
    /// Advertisements since the last [`advertised`](Self::advertised), the latest one first.
    advertisements: Vec<Answer>,
}

impl Subject {
    /// Finds the target.
    ///
    /// # Errors
    /// No interface, or no answer.
    pub fn find(interface: &str, address: Address) -> anyhow::Result<Self> {
        let initiator = Initiator::open(interface).with_context(|| interface.to_owned())?;
        let mut subject = Self {
            initiator,
            address,
            mac: Mac::BROADCAST,
            sectors: 0,
            most: 0,
            buffers: 0,
            identify: [0; 512],
            link: None,
            restart: None,
            advertisements: Vec::new(),
        };
        ensure!(subject.alive(RETURN)?, "{address}: no answer on {interface}");
        subject.identify = subject.identified()?;
        subject.sectors = u64::from_le_bytes(subject.identify[200..208].try_into()?);
        ensure!(subject.sectors >= 4096, "{address}: {} sectors, the checks want 4096", subject.sectors);
        Ok(subject)
    }

    /// Asks for the configuration until it comes, and takes it in.
    ///
    /// # Errors
    /// The interface's own.
    pub fn alive(&mut self, patience: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let header = self.initiator.request(self.address, Command::Config);
            self.send(&header, &[0; 36])?;
            let Some(answer) = self.answer(header.tag, Duration::from_millis(250))? else { continue };
            let config = Config::parse(answer.argument()).context("config answer")?;
            (self.mac, self.most, self.buffers) = (answer.header.source, config.sectors, config.buffers);
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the target still answers. Waits for one that does not to come back.
    ///
    /// # Errors
    /// It does not come back.
    pub fn survived(&mut self) -> anyhow::Result<bool> {
        if self.alive(PATIENCE)? {
            return Ok(true);
        }
        if let Some(command) = &self.restart {
            shell(command)?;
        }
        ensure!(self.alive(RETURN)?, "{}: gone, and not back in {} seconds", self.address, RETURN.as_secs());
        Ok(false)
    }

    /// Leaves something that a target which is started anew does not know.
    ///
    /// # Errors
    /// No answer.
    pub fn mark(&mut self) -> anyhow::Result<()> {
        self.config(config::Action::ForceSet, MARK)?.context("no answer")?;
        Ok(())
    }

    /// Whether the target is the one that was [`mark`](Self::mark)ed.
    ///
    /// # Errors
    /// It is another, or there is none.
    pub fn marked(&mut self) -> anyhow::Result<()> {
        ensure!(self.survived()?, "the target fell silent");
        let answer = self.config(config::Action::Read, b"")?.context("no answer")?;
        ensure!(Config::parse(answer.argument())?.string == MARK, "the target ended");
        Ok(())
    }

    /// The advertisements heard since this was last asked.
    pub fn advertised(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.advertisements)
    }

    /// Takes back what checks may have left behind: reservation, mask list, config string.
    ///
    /// # Errors
    /// The interface's own.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.reserve(self.initiator.mac, reserve::Action::ForceSet, &[])?;
        self.config(config::Action::ForceSet, b"")?;
        let list = self.mask(mask::Action::Read, &[])?.map(|answer| masked(&answer)).transpose()?.unwrap_or_default();
        // Whoever edits goes last: without it on the list nothing more would be answered.
        let mine = self.initiator.mac;
        let others = list.iter().filter(|mac| **mac != mine).chain(list.iter().filter(|mac| **mac == mine));
        let edits: Vec<_> = others.map(|mac| (Verb::Delete, *mac)).collect();
        if !edits.is_empty() {
            self.mask(mask::Action::Edit, &edits)?;
        }
        Ok(())
    }

    /// Has the target's end of the link changed.
    ///
    /// # Errors
    /// The command fails, or there is none to run: the check is then skipped.
    pub fn change_link(&self, change: &str) -> anyhow::Result<()> {
        let Some(command) = &self.link else { return Err(Skipped("needs --link").into()) };
        shell(&format!("{command} {change}"))
    }

    /// The header of a request to this target, by its own addresses.
    pub fn header(&mut self, command: Command) -> Header {
        Header { destination: self.mac, ..self.initiator.request(self.address, command) }
    }

    /// Sends a message; one a full queue does not take is offered again.
    ///
    /// # Errors
    /// The interface's own.
    pub fn send(&mut self, header: &Header, argument: &[u8]) -> anyhow::Result<()> {
        self.send_raw(&message(header, argument))
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// The interface's own.
    pub fn send_raw(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.initiator.socket.send(frame) {
                Ok(()) => return Ok(()),
                // The other end is down for a moment.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) => return Err(error).context("send"),
            }
        }
    }

    /// Waits for the next answer to anything; advertisements are put aside.
    ///
    /// # Errors
    /// The interface's own.
    pub fn next(&mut self, deadline: Instant) -> anyhow::Result<Option<Answer>> {
        loop {
            let frame = match self.initiator.next(deadline) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => continue,
                Err(error) => return Err(error).context("receive"),
            };
            let Some(answer) = Answer::new(frame) else { continue };
            if answer.header.address != self.address {
                continue;
            }
            if answer.header.tag == 0 && answer.header.command == Command::Config {
                self.advertisements.insert(0, answer);
                continue;
            }
            return Ok(Some(answer));
        }
    }

    /// Waits for the answer with this tag.
    ///
    /// # Errors
    /// The interface's own.
    pub fn answer(&mut self, tag: u32, wait: Duration) -> anyhow::Result<Option<Answer>> {
        let deadline = Instant::now() + wait;
        while let Some(answer) = self.next(deadline)? {
            if answer.header.tag == tag {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Sends a message and waits for its answer, if one comes.
    ///
    /// # Errors
    /// The interface's own.
    pub fn ask(&mut self, header: &Header, argument: &[u8]) -> anyhow::Result<Option<Answer>> {
        self.send(header, argument)?;
        self.answer(header.tag, PATIENCE)
    }

    /// The same where none coming is a failure.
    ///
    /// # Errors
    /// No answer.
    pub fn told(&mut self, header: &Header, argument: &[u8]) -> anyhow::Result<Answer> {
        self.ask(header, argument)?.context("no answer")
    }

    /// Sends a message that must not be answered: not before another one is, nor in a moment
    /// after.
    ///
    /// # Errors
    /// It is answered.
    pub fn silence(&mut self, what: &str, header: &Header, argument: &[u8]) -> anyhow::Result<()> {
        self.send(header, argument)?;
        let probe = self.header(Command::Config);
        self.send(&probe, &[0; 36])?;
        let mut deadline = Instant::now() + PATIENCE;
        let mut probed = false;
        while let Some(answer) = self.next(deadline)? {
            ensure!(answer.header.tag != header.tag, "{what} is answered");
            if answer.header.tag == probe.tag {
                probed = true;
                deadline = Instant::now() + GRACE;
            }
        }
        ensure!(probed, "{what}: the target fell silent");
        Ok(())
    }

    /// The registers of a 48-bit command.
    #[must_use]
    pub fn registers(code: u8, sector: u64, count: u8) -> Registers {
        let flags = flag::EXTENDED | if code == op::WRITE_EXT { flag::WRITE } else { 0 };
        Registers { flags, feature_error: 0, count, command_status: code, lba: Registers::lba_bytes(sector) }
    }

    /// Carries out an ATA command.
    ///
    /// # Errors
    /// No answer.
    pub fn ata(&mut self, registers: Registers, data: &[u8]) -> anyhow::Result<Answer> {
        let header = self.header(Command::Ata);
        self.told(&header, &ata(&registers, data))
    }

    /// Reads sectors.
    ///
    /// # Errors
    /// Anything but success with exactly their bytes.
    pub fn read(&mut self, sector: u64, count: u8) -> anyhow::Result<Vec<u8>> {
        let answer = self.ata(Self::registers(op::READ_EXT, sector, count), &[])?;
        ensure!(answer.outcome()? == Outcome::DONE, "read of {count} at {sector}: {}", answer.outcome()?);
        let (_, data) = answer.registers()?;
        ensure!(data.len() == usize::from(count) * SECTOR, "read of {count} at {sector}: {} bytes", data.len());
        Ok(data.to_vec())
    }

    /// Writes whole sectors.
    ///
    /// # Errors
    /// Anything but success.
    pub fn write(&mut self, sector: u64, data: &[u8]) -> anyhow::Result<()> {
        let count = u8::try_from(data.len() / SECTOR)?;
        let answer = self.ata(Self::registers(op::WRITE_EXT, sector, count), data)?;
        ensure!(answer.outcome()? == Outcome::DONE, "write of {count} at {sector}: {}", answer.outcome()?);
        Ok(())
    }

    /// IDENTIFY's answer.
    ///
    /// # Errors
    /// There is none.
    pub fn identified(&mut self) -> anyhow::Result<Sector> {
        let registers = Registers { lba: [0, 0, 0, 0xa0, 0, 0], flags: 0, ..Self::registers(op::IDENTIFY, 0, 1) };
        let answer = self.ata(registers, &[0; 24])?;
        let sector = answer.frame.get(DATA..DATA + SECTOR).context("IDENTIFY: a short answer")?;
        Ok(sector.try_into()?)
    }

    /// A word of IDENTIFY.
    #[must_use]
    pub fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.identify[2 * at], self.identify[2 * at + 1]])
    }

    /// A config query.
    ///
    /// # Errors
    /// The interface's own.
    pub fn config(&mut self, action: config::Action, string: &[u8]) -> anyhow::Result<Option<Answer>> {
        let header = self.header(Command::Config);
        self.ask(&header, &config_argument(action, string))
    }

    /// A mask message from this end.
    ///
    /// # Errors
    /// The interface's own.
    pub fn mask(&mut self, action: mask::Action, edits: &[(Verb, Mac)]) -> anyhow::Result<Option<Answer>> {
        let header = self.header(Command::Mask);
        self.ask(&header, &mask_argument(action, edits))
    }

    /// A reserve message from any host.
    ///
    /// # Errors
    /// The interface's own.
    pub fn reserve(&mut self, from: Mac, action: reserve::Action, macs: &[Mac]) -> anyhow::Result<Option<Answer>> {
        let header = Header { source: from, ..self.header(Command::Reserve) };
        let mut argument = vec![0; Reserve::LENGTH + macs.len() * Reserve::ENTRY];
        Reserve::encode(action, macs, &mut argument).context("reserve list")?;
        self.ask(&header, &argument)
    }
}

fn shell(command: &str) -> anyhow::Result<()> {
    let status = Process::new("sh").arg("-c").arg(command).status().context("sh")?;
    ensure!(status.success(), "`{command}' failed");
    Ok(())
}

/// An ATA message's argument.
///
/// # Panics
/// Never: the room is there.
#[must_use]
pub fn ata(registers: &Registers, data: &[u8]) -> Vec<u8> {
    let mut argument = vec![0; DATA - Header::LENGTH];
    registers.encode(&mut argument).expect("room for registers");
    argument.extend_from_slice(data);
    argument
}

/// A config message's argument.
///
/// # Panics
/// The string is longer than any may be.
#[must_use]
pub fn config_argument(action: config::Action, string: &[u8]) -> Vec<u8> {
    let mut argument = vec![0; Config::LENGTH + string.len()];
    let config = Config { buffers: 0, firmware: 0, sectors: 0, version: 0, action, string };
    config.encode(&mut argument).expect("room for a string of that length");
    argument
}

/// A mask message's argument.
///
/// # Panics
/// More edits than a count byte can say.
#[must_use]
pub fn mask_argument(action: mask::Action, edits: &[(Verb, Mac)]) -> Vec<u8> {
    let mut argument = vec![0; Mask::LENGTH + edits.len() * Mask::DIRECTIVE];
    let list = edits.iter().map(|(verb, mac)| Directive { verb: *verb, mac: *mac });
    Mask::encode(action, list, &mut argument).expect("a list that can be counted");
    argument
}

/// The addresses a mask answer lists.
///
/// # Errors
/// It is not one, or does not hold them.
pub fn masked(answer: &Answer) -> anyhow::Result<Vec<Mac>> {
    let mask = Mask::parse(answer.argument()).context("mask answer")?;
    ensure!(mask.error == 0, "MError {} after {} directives", mask.error, mask.count);
    Ok(mask.directives().context("mask answer")?.map(|directive| directive.mac).collect())
}

/// Why a check could not be made.
#[derive(Debug)]
pub struct Skipped(pub &'static str);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Skipped {}
