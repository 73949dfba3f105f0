//! One shelf.slot: what to answer to each frame. No I/O: what concerns the disk comes out as a
//! [`Step`] to carry out, with a [`Pending`] answer that takes the result.
//!
//! Nothing here allocates after [`Target::new`]: the lists have their full capacity from the
//! start, and answers are written into the caller's buffer.

use nines_proto::aoe::ata::{self, Registers, op, smart, status};
use nines_proto::aoe::config::{self, Config};
use nines_proto::aoe::mask::{self, Directive, EditError, Mask, Verb};
use nines_proto::aoe::reserve::{self, Reserve};
use nines_proto::aoe::trim::Ranges;
use nines_proto::aoe::{
    Address, Code, Command, Flags, Header, MAX_CONFIG, Malformed, SECTOR, VERSION, pad, sectors_per_frame,
};
use nines_proto::mac::Mac;

use crate::ata::{Disk, Extent, Failure, Order};

mod kept;

pub use kept::{Kept, Unfit};

/// Bytes an answer buffer needs: the longest message of any command is an ATA answer of 255
/// sectors.
pub const ANSWER: usize = ata::DATA + 255 * 512;

/// The firmware version of config answers: this program's, major in the high byte.
pub const FIRMWARE: u16 = 0x0001;

/// The most addresses a mask or reserve list holds, which its count byte can say.
const LIST: usize = 255;

/// A target's fixed side, and where it starts from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its shelf and slot.
    pub address: Address,
    /// The interface's address and MTU.
    pub mac: Mac,
    /// The interface's MTU.
    pub mtu: usize,
    /// Messages it says it can queue.
    pub buffers: u16,
    /// The disk behind it.
    pub disk: Disk,
    /// Who is served; nobody named means everybody.
    pub mask: Vec<Mac>,
    /// The mask list may be edited by frames; otherwise they can only read it.
    pub wire_edits: bool,
}

/// More addresses in a mask than a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{given} addresses, at most {most} fit an answer at this MTU")]
pub struct MaskTooLong {
    /// How many were given.
    pub given: usize,
    /// How many there may be.
    pub most: usize,
}

/// Why a frame gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Not a whole AoE frame, or from an address no host can have.
    Malformed,
    /// Somebody's answer, or for another target.
    NotOurs,
    /// Its sender is not on the mask list.
    Masked,
    /// Its sender has been denied everything.
    Denied,
    /// A config test that failed: the protocol asks for silence.
    TestFailed,
    /// The answer is longer than the interface's MTU, which was lowered.
    TooLong,
}

/// What a frame comes to.
#[derive(Debug)]
pub enum Step<'f> {
    /// Nothing to send.
    Ignore(Ignored),
    /// An answer of so many bytes is in the buffer.
    Answer(usize),
    /// Read the extent into [`Pending::data`], then [`Pending::finish`].
    Read(Extent, Pending),
    /// Put these bytes on stable storage, then [`Pending::finish`].
    Write(Extent, &'f [u8], Pending),
    /// Put everything on stable storage, then [`Pending::finish`].
    Flush(Pending),
    /// Discard these sectors durably, then [`Pending::finish`]. They may be any on the disk, in any
    /// order and overlapping.
    Trim(Ranges<'f>, Pending),
}

/// An answer that waits for the disk.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    header: Header,
    registers: Registers,
    data: usize,
}

impl Pending {
    /// Where a read's data goes in the answer buffer.
    #[must_use]
    pub fn data<'a>(&self, answer: &'a mut [u8]) -> &'a mut [u8] {
        &mut answer[ata::DATA..ata::DATA + self.data]
    }

    /// Whose request it is.
    #[must_use]
    pub fn client(&self) -> Mac {
        self.header.destination
    }

    /// The request's count register.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.registers.count
    }

    /// Completes the answer with what the disk did and returns its length.
    ///
    /// # Panics
    /// `answer` is shorter than [`ANSWER`].
    #[must_use]
    pub fn finish(self, result: Result<(), Failure>, answer: &mut [u8]) -> usize {
        // What aoeping needs of a SMART answer it needs of a refusal too.
        let smart = self.registers.command_status == op::SMART;
        let data = if result.is_ok() || smart { self.data } else { 0 };
        let registers = match result {
            Ok(()) => Registers { feature_error: 0, count: 0, command_status: status::READY, ..self.registers },
            Err(Failure { status, error }) => {
                Registers { feature_error: error, command_status: status, ..self.registers }
            }
        };
        written(encode_ata(&self.header, &registers, answer));
        pad(answer, ata::DATA + data)
    }
}

/// One exported disk.
#[derive(Debug)]
pub struct Target {
    address: Address,
    mac: Mac,
    mtu: usize,
    buffers: u16,
    disk: Disk,
    config: Vec<u8>,
    mask: Vec<Mac>,
    reserved: Vec<Mac>,
    /// In order, so that a frame is judged in a few steps however many there are.
    denied: Vec<Mac>,
    wire_edits: bool,
    failing: bool,
    changed: bool,
}

impl Target {
    /// A target with an empty config string and no reservation.
    ///
    /// # Errors
    /// The mask is longer than the answer that shows it may be.
    pub fn new(settings: Settings) -> Result<Self, MaskTooLong> {
        let Settings { address, mac, mtu, buffers, disk, mask: initial, wire_edits } = settings;
        let mut mask = Vec::with_capacity(LIST);
        for mac in initial {
            if !mask.contains(&mac) {
                mask.push(mac);
            }
        }
        let most = most_masked(mtu);
        if mask.len() > most {
            return Err(MaskTooLong { given: mask.len(), most });
        }
        let (config, reserved) = (Vec::with_capacity(MAX_CONFIG), Vec::with_capacity(LIST));
        let (denied, failing, changed) = (Vec::new(), false, false);
        Ok(Self { address, mac, mtu, buffers, disk, config, mask, reserved, denied, wire_edits, failing, changed })
    }

    /// Its shelf and slot.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The current config string.
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// The interface is another now.
    pub fn set_link(&mut self, mac: Mac, mtu: usize) {
        (self.mac, self.mtu) = (mac, mtu);
    }

    /// What [`disk`](Settings::disk) is now: a device may grow.
    pub fn set_disk(&mut self, disk: Disk) {
        self.disk = disk;
    }

    /// Whether SMART RETURN STATUS says that the medium is failing.
    pub fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
    }

    /// From here on no frame of this host is answered or carried out, whatever the mask list says
    /// and whatever other hosts ask for.
    pub fn deny(&mut self, mac: Mac) {
        if let Err(at) = self.denied.binary_search(&mac) {
            self.denied.insert(at, mac);
            self.changed = true;
        }
    }

    /// Takes [`deny`](Self::deny) back.
    pub fn admit(&mut self, mac: Mac) {
        if let Ok(at) = self.denied.binary_search(&mac) {
            self.denied.remove(at);
            self.changed = true;
        }
    }

    /// Who is denied, in order.
    #[must_use]
    pub fn denied(&self) -> &[Mac] {
        &self.denied
    }

    /// Whom an advertisement goes to, one frame each.
    #[must_use]
    pub fn audience(&self) -> &[Mac] {
        if self.mask.is_empty() { &[Mac::BROADCAST] } else { &self.mask }
    }

    /// Writes an unsolicited config answer and returns its length. Its tag is 0: Linux's driver
    /// ignores tags with bit 31 set.
    pub fn advertise(&self, to: Mac, answer: &mut [u8]) -> usize {
        let header = Header {
            destination: to,
            source: self.mac,
            version: VERSION,
            flags: Flags::RESPONSE,
            error: 0,
            address: self.address,
            command: Command::Config,
            tag: 0,
        };
        self.answer_config(&header, config::Action::Read, answer)
    }

    /// Takes a frame. Answers go to the front of `answer`.
    ///
    /// # Panics
    /// `answer` is shorter than [`ANSWER`].
    pub fn take<'f>(&mut self, frame: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        let step = self.decide(frame, answer);
        match step {
            Step::Answer(length) if length > self.longest() => Step::Ignore(Ignored::TooLong),
            step => step,
        }
    }

    /// The longest frame the interface sends.
    fn longest(&self) -> usize {
        (self.mtu + 14).max(nines_proto::aoe::MIN_FRAME)
    }

    fn decide<'f>(&mut self, frame: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        let Ok((request, argument)) = Header::parse(frame) else {
            return Step::Ignore(Ignored::Malformed);
        };
        if request.flags.has(Flags::RESPONSE) || !request.address.reaches(self.address) {
            return Step::Ignore(Ignored::NotOurs);
        }
        // A group address as sender would turn the answer into a broadcast.
        if request.source.0[0] & 1 != 0 {
            return Step::Ignore(Ignored::Malformed);
        }
        if self.denied.binary_search(&request.source).is_ok() {
            return Step::Ignore(Ignored::Denied);
        }
        if !self.mask.is_empty() && !self.mask.contains(&request.source) {
            return Step::Ignore(Ignored::Masked);
        }
        let header = request.answer(self.mac, self.address);
        if request.version != VERSION {
            return refuse(header, Code::UnsupportedVersion, answer);
        }
        // Bits 0 and 1 are reserved and aoeping sets them; an error is no request.
        if request.flags.has(Flags::ERROR) {
            return refuse(header, Code::BadArgument, answer);
        }
        match request.command {
            Command::Ata => self.ata(&request, header, argument, answer),
            Command::Config => self.config_query(header, argument, answer),
            Command::Mask => self.mask_list(header, argument, answer),
            Command::Reserve => self.reserve(&request, header, argument, answer),
            Command::Other(_) => refuse(header, Code::UnrecognizedCommand, answer),
        }
    }

    fn ata<'f>(&self, request: &Header, header: Header, argument: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        let Ok((registers, data)) = Registers::parse(argument) else {
            return refuse(header, Code::BadArgument, answer);
        };
        let mut pending = Pending { header, registers, data: 0 };
        let harmless = [op::IDENTIFY, op::CHECK_POWER_MODE, op::SMART].contains(&registers.command_status);
        if !self.reserved.is_empty()
            && !self.reserved.contains(&request.source)
            && registers.command_status != op::IDENTIFY
        {
            return refuse(header, Code::Reserved, answer);
        }
        // A wildcard reaches every disk of the segment, a group address every host with this
        // shelf.slot: neither can mean to change this one.
        let reads = [op::READ, op::READ_DMA, op::READ_EXT, op::READ_DMA_EXT, op::FLUSH, op::FLUSH_EXT];
        let group = request.destination.0[0] & 1 != 0 && !reads.contains(&registers.command_status);
        if !harmless && (request.address.is_wild() || group) {
            return Step::Answer(pending.finish(Err(Failure::ABORTED), answer));
        }
        if registers.command_status == op::SMART {
            // aoeping takes no SMART answer without a sector of data, whatever it asked for.
            pending.data = SECTOR;
            pending.data(answer).fill(0);
        }
        match self.disk.order(&registers, data, sectors_per_frame(self.mtu)) {
            Err(failure) => Step::Answer(pending.finish(Err(failure), answer)),
            Ok(Order::Identify) => {
                pending.data = self.disk.identify.len();
                pending.data(answer).copy_from_slice(&*self.disk.identify);
                Step::Answer(pending.finish(Ok(()), answer))
            }
            Ok(Order::PowerMode) => {
                // Count FFh: active.
                let active = Registers { feature_error: 0, count: 0xff, command_status: status::READY, ..registers };
                written(encode_ata(&header, &active, answer));
                Step::Answer(pad(answer, ata::DATA))
            }
            Ok(Order::Read(extent)) => {
                pending.data = extent.length();
                Step::Read(extent, pending)
            }
            Ok(Order::Write(extent)) => Step::Write(extent, &data[..extent.length()], pending),
            Ok(Order::Flush) => Step::Flush(pending),
            Ok(Order::Trim(ranges)) => Step::Trim(ranges, pending),
            Ok(Order::Health) => {
                [pending.registers.lba[1], pending.registers.lba[2]] =
                    if self.failing { smart::FAILING } else { smart::KEY };
                Step::Answer(pending.finish(Ok(()), answer))
            }
            Ok(Order::Nothing) => Step::Answer(pending.finish(Ok(()), answer)),
        }
    }

    fn config_query<'f>(&mut self, header: Header, argument: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        use config::Action;
        let Ok(query) = Config::parse(argument) else {
            return refuse(header, Code::BadArgument, answer);
        };
        let refusal = match query.action {
            Action::Read => None,
            Action::Test if query.string != self.config => return Step::Ignore(Ignored::TestFailed),
            Action::TestPrefix if !self.config.starts_with(query.string) => {
                return Step::Ignore(Ignored::TestFailed);
            }
            Action::Test | Action::TestPrefix => None,
            // The identical string again is a set whose answer was lost.
            Action::Set if !self.config.is_empty() && query.string != self.config => Some(Code::ConfigPresent),
            Action::Set | Action::ForceSet if self.config_length(query.string.len()) > self.longest() => {
                Some(Code::BadArgument)
            }
            Action::Set | Action::ForceSet => {
                self.changed |= self.config != query.string;
                self.config.clear();
                self.config.extend_from_slice(query.string);
                None
            }
            Action::Other(_) => Some(Code::BadArgument),
        };
        let header = refusal.map_or(header, |code| header.refused(code));
        Step::Answer(self.answer_config(&header, query.action, answer))
    }

    fn config_length(&self, string: usize) -> usize {
        Header::LENGTH + Config::LENGTH + string
    }

    fn answer_config(&self, header: &Header, action: config::Action, answer: &mut [u8]) -> usize {
        let config = Config {
            buffers: self.buffers,
            firmware: FIRMWARE,
            // 0 would mean 2.
            sectors: sectors_per_frame(self.mtu).max(1),
            version: VERSION,
            action,
            string: &self.config,
        };
        let length = written(header.encode(answer).and_then(|rest| config.encode(rest)));
        pad(answer, Header::LENGTH + length)
    }

    fn mask_list<'f>(&mut self, header: Header, argument: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        let Ok(request) = Mask::parse(argument) else {
            return refuse(header, Code::BadArgument, answer);
        };
        let (mut done, mut stopped) = (0, None);
        match request.action {
            mask::Action::Read => {}
            mask::Action::Edit => {
                let Ok(directives) = request.directives() else {
                    return refuse(header, Code::BadArgument, answer);
                };
                for directive in directives {
                    if !self.wire_edits {
                        stopped = Some(EditError::Unspecified);
                        break;
                    }
                    if let Err(error) = self.edit_mask(directive) {
                        stopped = Some(error);
                        break;
                    }
                    done += 1;
                }
            }
            mask::Action::Other(_) => return refuse(header, Code::BadArgument, answer),
        }
        let rest = written(header.encode(answer));
        let length = written(match stopped {
            Some(error) => Mask::encode_error(error, done, rest),
            None => {
                let list = self.mask.iter().map(|mac| Directive { verb: Verb::None, mac: *mac });
                Mask::encode(request.action, list, rest)
            }
        });
        Step::Answer(pad(answer, Header::LENGTH + length))
    }

    /// Changes the mask list as an administrator wants it: first what is added.
    ///
    /// # Errors
    /// The list would be longer than it may be; what fitted has been added.
    pub fn change_mask(&mut self, add: &[Mac], delete: &[Mac]) -> Result<(), MaskTooLong> {
        for (verb, list) in [(Verb::Add, add), (Verb::Delete, delete)] {
            for mac in list {
                let given = self.mask.len() + 1;
                self.edit_mask(Directive { verb, mac: *mac })
                    .map_err(|_| MaskTooLong { given, most: most_masked(self.mtu) })?;
            }
        }
        Ok(())
    }

    fn edit_mask(&mut self, directive: Directive) -> Result<(), EditError> {
        let listed = self.mask.iter().position(|mac| *mac == directive.mac);
        match (directive.verb, listed) {
            (Verb::None, _) | (Verb::Add, Some(_)) | (Verb::Delete, None) => Ok(()),
            (Verb::Add, None) if self.mask.len() >= most_masked(self.mtu) => Err(EditError::Full),
            (Verb::Add, None) => {
                self.mask.push(directive.mac);
                self.changed = true;
                Ok(())
            }
            (Verb::Delete, Some(at)) => {
                self.mask.remove(at);
                self.changed = true;
                Ok(())
            }
            (Verb::Other(_), _) => Err(EditError::BadDirective),
        }
    }

    fn reserve<'f>(&mut self, request: &Header, header: Header, argument: &'f [u8], answer: &mut [u8]) -> Step<'f> {
        let Ok(asked) = Reserve::parse(argument) else {
            return refuse(header, Code::BadArgument, answer);
        };
        let holder = self.reserved.is_empty() || self.reserved.contains(&request.source);
        let fits = Header::LENGTH + Reserve::LENGTH + asked.macs().len() * Reserve::ENTRY <= self.longest();
        let refusal = match asked.action {
            reserve::Action::Read => None,
            reserve::Action::Set if !holder => Some(Code::Reserved),
            reserve::Action::Set | reserve::Action::ForceSet if !fits => Some(Code::BadArgument),
            reserve::Action::Set | reserve::Action::ForceSet => {
                self.changed |= !asked.macs().eq(self.reserved.iter().copied());
                self.reserved.clear();
                self.reserved.extend(asked.macs());
                None
            }
            reserve::Action::Other(_) => Some(Code::BadArgument),
        };
        let header = refusal.map_or(header, |code| header.refused(code));
        let rest = written(header.encode(answer));
        let length = written(Reserve::encode(asked.action, &self.reserved, rest));
        Step::Answer(pad(answer, Header::LENGTH + length))
    }
}

/// The addresses whose list an answer can show, counted as Linux and vblade count a frame.
fn most_masked(mtu: usize) -> usize {
    (mtu.saturating_sub(ata::DATA) / Mask::DIRECTIVE).min(LIST)
}

fn refuse<'f>(header: Header, code: Code, answer: &mut [u8]) -> Step<'f> {
    written(header.refused(code).encode(answer));
    Step::Answer(pad(answer, Header::LENGTH))
}

fn encode_ata<'a>(header: &Header, registers: &Registers, answer: &'a mut [u8]) -> Result<&'a mut [u8], Malformed> {
    registers.encode(header.encode(answer)?)
}

/// Everything a target writes fits [`ANSWER`]: lists and strings are bounded where they grow.
fn written<T>(result: Result<T, Malformed>) -> T {
    result.expect("an answer buffer of ANSWER bytes")
}

#[cfg(test)]
mod tests;
