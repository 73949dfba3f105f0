//! An interface: its packet socket, what it is like now, and the answers that wait to be sent.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nines_cli::log;
use nines_proto::aoe::statistics::Interface;
use nines_proto::aoe::{Address, ETHERTYPE, Flags, Shelf, Slot, sectors_per_frame};
use nines_sys::frames::Frames;
use nines_sys::packet::batch::{BATCH, Batch};
use nines_sys::packet::link::Link;
use nines_sys::packet::shared::ReceiveRing;
use nines_sys::packet::{Instruction, OTHER_HOST, PacketSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a full send buffer may take to drain.
const DRAIN: Duration = Duration::from_millis(100);
/// Frames that can wait to be taken, of one target and of many: eight and sixteen hosts with a full
/// window each, and not more memory than a small machine has to spare.
const SLOTS: (usize, usize) = (512, 1024);
/// Bounds of the send buffer.
const BUFFER_BYTES: (usize, usize) = (1 << 20, 64 << 20);

/// An open interface.
#[derive(Debug)]
pub struct Wire {
    name: String,
    /// None where there was no memory for it: then frames come one by one.
    ring: Option<ReceiveRing>,
    socket: PacketSocket,
    link: Option<Link>,
    slots: usize,
    /// Messages its targets say they can queue, all together, counting those that were here once.
    buffers: usize,
    batch: Batch,
    /// Answers with their lengths.
    queue: Vec<(usize, usize)>,
    /// Frames go to the driver directly.
    bypasses: bool,
    counters: Counters,
}

/// What an interface has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames it took from us.
    pub sent: u64,
    /// Frames it did not take.
    pub unsent: u64,
    /// Frames the kernel dropped because the socket's buffer was full.
    pub dropped: u64,
    /// Frames that were not AoE, not whole, or too long.
    pub malformed: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, unsent, dropped, malformed } = self;
        write!(f, "sent={sent} unsent={unsent} dropped={dropped} malformed={malformed}")
    }
}

impl Wire {
    /// Opens the interface for the frames of one target, or of any.
    ///
    /// # Errors
    /// No such interface, none for Ethernet, or no CAP_NET_RAW.
    pub fn open(name: &str, only: Option<Address>) -> anyhow::Result<Self> {
        let named = |error: io::Error| anyhow::Error::msg(format!("{name}: {}", crate::reason(&error)));
        let link = Link::named(name).map_err(named)?;
        let socket = PacketSocket::open(ETHERTYPE, &filter(only)).map_err(named)?;
        // Without it frames take the longer way.
        let bypasses = socket.bypass_queue(true).is_ok();
        let (batch, queue, counters) = (Batch::default(), Vec::with_capacity(BATCH), Counters::default());
        let mut wire = Self {
            name: name.to_owned(),
            ring: None,
            socket,
            link: Some(link),
            slots: if only.is_some() { SLOTS.0 } else { SLOTS.1 },
            buffers: 0,
            batch,
            queue,
            bypasses,
            counters,
        };
        wire.size_buffers(link.mtu).map_err(named)?;
        wire.socket.bind(link.index).map_err(named)?;
        Ok(wire)
    }

    /// One more target on it, that says it can queue so many messages.
    pub fn expect(&mut self, buffers: usize) {
        self.buffers += buffers;
        if let Some(link) = self.link {
            self.make_room(link);
        }
    }

    fn make_room(&mut self, link: Link) {
        if let Err(error) = self.size_buffers(link.mtu) {
            log(format_args!("{}: buffers: {error}", self.name));
        }
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface as it is now, if it is there.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// Room for what several hosts may have under way at once. A frame to send is charged as the
    /// memory it is in: a power of two.
    fn size_buffers(&mut self, mtu: usize) -> io::Result<()> {
        let charged = (mtu + 1024).next_power_of_two() + 1024;
        let bytes = 16 * self.buffers * charged;
        self.socket.set_buffers(bytes.clamp(BUFFER_BYTES.0, BUFFER_BYTES.1))?;
        // However many targets come later: another ring would lose what is in this one.
        if self.ring.as_ref().is_some_and(|ring| ring.fits(mtu)) {
            return Ok(());
        }
        // What is in the old one is lost, and asked for again.
        if self.ring.take().is_some() {
            self.socket.unshare()?;
        }
        match self.socket.share(self.slots, mtu) {
            Ok(ring) => self.ring = Some(ring),
            Err(error) => {
                log(format_args!("{}: no memory to share with the kernel: {error}; slower without", self.name));
            }
        }
        Ok(())
    }

    /// Follows the interface: down, up, another MTU or address, gone, back under another index.
    /// True when it is another now and there.
    pub fn look(&mut self) -> bool {
        let (name, before, now) = (&self.name, self.link, Link::named(&self.name).ok());
        if now == before {
            return false;
        }
        self.link = now;
        let Some(link) = now else {
            log(format_args!("{name}: gone"));
            return false;
        };
        if before.is_none_or(|before| before.index != link.index)
            && let Err(error) = self.socket.bind(link.index)
        {
            // Gone again already; its return will be news.
            log(format_args!("{name}: bind: {error}"));
            self.link = None;
            return false;
        }
        self.make_room(link);
        let state = if link.running { "up" } else { "down" };
        let sectors = sectors_per_frame(link.mtu);
        log(format_args!("{}: {state}, MTU {}, {sectors} sectors a frame", self.name, link.mtu));
        true
    }

    /// Takes the frames that are there, a batch at most, one into each of the last of `free`, which
    /// then lose them; `came` is given each with its length on the wire, which may be more than the
    /// frame holds.
    pub fn receive(&mut self, frames: &mut Frames, free: &mut Vec<usize>, came: &mut Vec<(usize, usize)>) {
        for _ in 0..BATCH {
            // The frame given back last is the one still in the processor's cache.
            let Some(frame) = free.last().copied() else { return };
            let bytes = frames.bytes_mut(frame);
            let taken = match &mut self.ring {
                Some(ring) => ring.take(bytes),
                None => self.socket.receive(bytes).ok(),
            };
            let Some(length) = taken else { return };
            free.pop();
            came.push((frame, length));
        }
    }

    /// Takes note of what the interface has to say against its use: it was down. Until somebody
    /// does, it is news.
    pub fn heed(&self) {
        let _ = self.socket.take_error();
    }

    /// Has an answer sent by the next [`send`](Self::send).
    pub fn queue(&mut self, frame: usize, length: usize) {
        self.queue.push((frame, length));
    }

    /// Sends what is queued and gives the frames back to `free`. What the interface does not take
    /// is dropped: the initiator asks again.
    pub fn send(&mut self, frames: &Frames, free: &mut Vec<usize>) {
        let (mut at, mut waited, mut told) = (0, false, false);
        while at < self.queue.len() {
            let these = &self.queue[at..self.queue.len().min(at + BATCH)];
            let done = match these {
                [(frame, length)] => self.socket.send(&frames.bytes(*frame)[..*length]).map(|()| 1),
                _ => self.socket.send_batch(&mut self.batch, frames, these),
            };
            let Err(error) = done.map(|taken| {
                self.counters.sent += taken as u64;
                at += taken;
            }) else {
                continue;
            };
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EINTR => {}
                // That the link was down is told once, by whatever call comes next.
                Errno::ENETDOWN if !told => told = true,
                // The driver has no room: from now on frames queue before it.
                Errno::ENOBUFS if self.bypasses && self.socket.bypass_queue(false).is_ok() => self.bypasses = false,
                // A full send buffer drains, or the interface is stuck and all of them are late.
                Errno::EAGAIN if !waited => {
                    waited = true;
                    self.wait_for_room();
                }
                Errno::EAGAIN => {
                    self.counters.unsent += (self.queue.len() - at) as u64;
                    break;
                }
                _ => {
                    self.counters.unsent += 1;
                    at += 1;
                }
            }
        }
        free.extend(self.queue.drain(..).map(|(frame, _)| frame));
    }

    /// Sends one frame that is not an answer.
    pub fn send_now(&mut self, frame: &[u8]) {
        // A link that was down is told of once, by whatever call comes next.
        match self.socket.send(frame).or_else(|_| self.socket.send(frame)) {
            Ok(()) => self.counters.sent += 1,
            Err(_) => self.counters.unsent += 1,
        }
    }

    fn wait_for_room(&self) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        let drain = PollTimeout::try_from(DRAIN).unwrap_or(PollTimeout::ZERO);
        // Ready, late or interrupted: the next offer finds out.
        let _ = poll(&mut fds, drain);
    }

    /// A frame that came over it was not one.
    pub fn malformed(&mut self) {
        self.counters.malformed += 1;
    }

    /// The same, for others to see.
    pub fn show(&mut self) -> Interface {
        let Counters { sent, unsent, dropped, malformed } = self.count();
        let (running, mtu) = self.link.map_or((false, 0), |link| (link.running, link.mtu as u64));
        Interface { interface: self.name.clone(), running, mtu, sent, unsent, dropped, malformed }
    }

    /// What it has done so far.
    pub fn count(&mut self) -> Counters {
        // Each asking clears the kernel's own count.
        self.counters.dropped += self.socket.statistics().map_or(0, |statistics| statistics.dropped.into());
        self.counters
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes AoE requests, and leaves answers and frames for other stations that a promiscuous
/// interface hears: another host may serve the same shelf.slot. One target has the kernel look at
/// the address too; for many that would cost each frame more than looking here.
fn filter(only: Option<Address>) -> Vec<Instruction> {
    use Instruction::{Accept, IfAnyBit, IfEqual, Load8, Load16, LoadPacketType, Refuse};
    let Some(Address { shelf, slot }) = only else {
        return vec![
            LoadPacketType,
            IfEqual(OTHER_HOST, 5, 0),
            Load16(12),
            IfEqual(u32::from(ETHERTYPE), 0, 3),
            Load8(14),
            IfAnyBit(u32::from(Flags::RESPONSE.0), 1, 0),
            Accept,
            Refuse,
        ];
    };
    vec![
        LoadPacketType,
        IfEqual(OTHER_HOST, 11, 0),
        Load16(12),
        IfEqual(u32::from(ETHERTYPE), 0, 9),
        Load8(14),
        IfAnyBit(u32::from(Flags::RESPONSE.0), 7, 0),
        Load16(16),
        IfEqual(u32::from(shelf.0), 1, 0),
        IfEqual(u32::from(Shelf::ALL.0), 0, 4),
        Load8(18),
        IfEqual(u32::from(slot.0), 1, 0),
        IfEqual(u32::from(Slot::ALL.0), 0, 1),
        Accept,
        Refuse,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's BPF machine does with a program; jumps are forward, so it ends.
    fn takes(program: &[Instruction], frame: &[u8], packet_type: u32) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let jump = |truth: bool, yes: u8, no: u8| usize::from(if truth { yes } else { no });
            match instruction {
                Instruction::Load8(offset) => value = u32::from(frame[offset as usize]),
                Instruction::Load16(offset) => {
                    let offset = offset as usize;
                    value = u32::from(u16::from_be_bytes([frame[offset], frame[offset + 1]]));
                }
                Instruction::LoadPacketType => value = packet_type,
                Instruction::IfEqual(wanted, yes, no) => at += jump(value == wanted, yes, no),
                Instruction::IfAnyBit(bits, yes, no) => at += jump(value & bits != 0, yes, no),
                Instruction::Accept => return true,
                Instruction::Refuse => return false,
            }
        }
    }

    #[test]
    fn the_filter_takes_requests_for_this_target_and_for_wildcards() {
        let ours = Address { shelf: Shelf(0x0102), slot: Slot(3) };
        let frame = |ethertype: u16, flags: u8, shelf: u16, slot: u8| {
            let mut frame = vec![0; 60];
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            frame[14] = flags;
            frame[16..18].copy_from_slice(&shelf.to_be_bytes());
            frame[18] = slot;
            frame
        };
        let program = filter(Some(ours));
        let many = filter(None);
        for (shelf, slot) in [(0x0102, 3), (0xffff, 3), (0x0102, 0xff), (0xffff, 0xff)] {
            assert!(takes(&program, &frame(0x88a2, 0x10, shelf, slot), 0));
            assert!(takes(&program, &frame(0x88a2, 0x10, shelf, slot), 1), "by broadcast");
            for program in [&program, &many] {
                assert!(!takes(program, &frame(0x88a2, 0x10, shelf, slot), OTHER_HOST));
                assert!(!takes(program, &frame(0x88a2, 0x18, shelf, slot), 0), "an answer");
                assert!(!takes(program, &frame(0x0800, 0x10, shelf, slot), 0));
            }
        }
        for (shelf, slot) in [(0x0103, 3), (0x0102, 4), (0xffff, 4), (0x0103, 0xff), (0x0201, 3)] {
            assert!(!takes(&program, &frame(0x88a2, 0x10, shelf, slot), 0));
            assert!(takes(&many, &frame(0x88a2, 0x10, shelf, slot), 0), "looked at later");
        }
    }
}
