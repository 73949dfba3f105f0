//! The loop: frames in, one request at a time to the disk, answers out.
//!
//! One thread waits for the packet socket, the signals and the news of interfaces. Nothing the
//! network or the interface does ends it. Requests run in arrival order, so a retransmitted write
//! never lands after a newer one.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::log;
use nines_proto::aoe::{Address, ETHERTYPE, Flags, Shelf, Slot, ata, sectors_per_frame};
use nines_proto::mac::Mac;
use nines_sys::blk::Aligned;
use nines_sys::packet::link::{Link, LinkWatch};
use nines_sys::packet::{Instruction, OTHER_HOST, PacketSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::ata::{Extent, Failure};
use crate::stats::Counters;
use crate::store::Store;
use crate::target::{ANSWER, Step, Target};

/// How long frames have the loop to themselves before signals and interfaces are looked at again,
/// and how long the next frame is waited for with the cheaper of the two calls that can wait.
const BUSY: Duration = Duration::from_millis(50);
/// How often an answer is offered to a full interface queue before it is given up: the initiator
/// retransmits.
const OFFERS: usize = 3;
/// How long a full send buffer may take to drain.
const DRAIN: Duration = Duration::from_millis(100);
/// Bounds of the socket's buffers.
const BUFFER_BYTES: (usize, usize) = (1 << 20, 64 << 20);

/// An open interface.
#[derive(Debug)]
pub struct Wire {
    name: String,
    socket: PacketSocket,
    watch: LinkWatch,
    link: Option<Link>,
    buffers: u16,
}

impl Wire {
    /// Opens the interface for the frames of one target.
    ///
    /// # Errors
    /// No such interface, none for Ethernet, or no CAP_NET_RAW.
    pub fn open(name: &str, address: Address, buffers: u16) -> anyhow::Result<Self> {
        let named = |error: io::Error| anyhow::Error::msg(format!("{name}: {}", crate::reason(&error)));
        // The watch comes first: what changes between the two is not missed.
        let watch = LinkWatch::open().context("netlink")?;
        let link = Link::named(name).map_err(named)?;
        let socket = PacketSocket::open(ETHERTYPE, &filter(address)).map_err(named)?;
        let wire = Self { name: name.to_owned(), socket, watch, link: Some(link), buffers };
        wire.socket.set_patience(BUSY).map_err(named)?;
        wire.size_buffers(link.mtu).map_err(named)?;
        wire.socket.bind(link.index).map_err(named)?;
        Ok(wire)
    }

    /// The interface as it was when opened.
    ///
    /// # Panics
    /// It is gone, which only the loop can notice.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.expect("an interface just opened")
    }

    /// Room for what several hosts may have under way at once. A frame is charged as the memory
    /// it came in: a power of two on most drivers.
    fn size_buffers(&self, mtu: usize) -> io::Result<()> {
        let charged = (mtu + 1024).next_power_of_two() + 1024;
        let bytes = 16 * usize::from(self.buffers) * charged;
        self.socket.set_buffers(bytes.clamp(BUFFER_BYTES.0, BUFFER_BYTES.1))
    }
}

/// Takes AoE requests for this target or for a wildcard, and leaves frames for other stations
/// that a promiscuous interface hears: another host may serve the same shelf.slot.
fn filter(Address { shelf, slot }: Address) -> [Instruction; 14] {
    use Instruction::{Accept, IfAnyBit, IfEqual, Load8, Load16, LoadPacketType, Refuse};
    [
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

/// A target, its wire and its store.
#[derive(Debug)]
pub struct Server {
    wire: Wire,
    target: Target,
    store: Store,
    counters: Counters,
    frame: Aligned,
    answer: Aligned,
    last_complaint: Option<Instant>,
}

/// Whether the loop goes on.
enum Next {
    Serve,
    End,
}

impl Server {
    /// Puts the parts together; all the memory there will be is taken here.
    #[must_use]
    pub fn new(wire: Wire, target: Target, store: Store) -> Self {
        // One sector more than any command has: a longer frame is noticed by its length.
        let frame = Aligned::new(ata::DATA, ANSWER + 512);
        let answer = Aligned::new(ata::DATA, ANSWER);
        Self { wire, target, store, counters: Counters::default(), frame, answer, last_complaint: None }
    }

    /// Serves until SIGTERM or SIGINT; the request under way is finished first.
    ///
    /// # Errors
    /// The kernel refuses to wait, which it has no reason to.
    pub fn run(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        loop {
            let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
            let mut fds = [
                PollFd::new(self.wire.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wire.watch.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.context("poll")?,
            };
            let [frames, signal, news] = fds.each_ref().map(ready);
            if signal && matches!(self.signalled(signals)?, Next::End) {
                self.report();
                return Ok(());
            }
            if news {
                self.look_at_link();
            }
            if frames {
                self.busy();
            }
        }
    }

    fn signalled(&mut self, signals: &SignalFd) -> anyhow::Result<Next> {
        while let Some(info) = signals.read_signal().context("signalfd")? {
            if info.ssi_signo == Signal::SIGUSR1 as u32 {
                self.report();
            } else {
                return Ok(Next::End);
            }
        }
        Ok(Next::Serve)
    }

    fn report(&mut self) {
        self.count_drops();
        log(format_args!("{}: {}", self.target.address(), self.counters));
    }

    fn count_drops(&mut self) {
        if let Ok(statistics) = self.wire.socket.statistics() {
            self.counters.dropped += u64::from(statistics.dropped);
        }
    }

    /// Serves frames as long as they keep coming, for a while.
    fn busy(&mut self) {
        let began = Instant::now();
        while began.elapsed() < BUSY {
            match self.wire.socket.receive_soon(&mut self.frame) {
                Ok(length) => self.serve(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing came, or the interface went down, which the watch tells about.
                Err(_) => return,
            }
        }
    }

    fn serve(&mut self, length: usize) {
        let Self { target, store, counters, frame, answer, .. } = self;
        counters.frames += 1;
        let Some(frame) = frame.get(..length) else {
            counters.malformed += 1;
            return;
        };
        let length = match target.take(frame, answer) {
            Step::Ignore(why) => {
                counters.ignored(why);
                return;
            }
            Step::Answer(length) => length,
            Step::Read(extent, pending) => {
                let done = store.read(extent, pending.data(answer));
                counters.reads += 1;
                counters.sectors_read += u64::from(extent.sectors);
                let result = self.judged("read", extent, done, Failure::UNREADABLE);
                pending.finish(result, &mut self.answer)
            }
            Step::Write(extent, data, pending) => {
                let done = store.write(extent, data);
                counters.writes += 1;
                counters.sectors_written += u64::from(extent.sectors);
                let result = self.judged("write", extent, done, Failure::FAULT);
                pending.finish(result, &mut self.answer)
            }
            Step::Flush(pending) => {
                let done = store.flush();
                counters.flushes += 1;
                let all = Extent { first: 0, sectors: 0 };
                let result = self.judged("flush", all, done, Failure::FAULT);
                pending.finish(result, &mut self.answer)
            }
            Step::Trim(_, pending) => pending.finish(Err(Failure::ABORTED), answer),
        };
        self.send(length);
    }

    /// Counts a failure of the medium, and logs at most one a second.
    fn judged(&mut self, what: &str, extent: Extent, done: io::Result<()>, failure: Failure) -> Result<(), Failure> {
        let Err(error) = done else { return Ok(()) };
        self.counters.disk_errors += 1;
        if self.last_complaint.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.last_complaint = Some(Instant::now());
            let (address, Extent { first, sectors }) = (self.target.address(), extent);
            let errors = self.counters.disk_errors;
            log(format_args!("{address}: {what} of {sectors} sectors at {first}: {error} ({errors} errors so far)"));
        }
        Err(failure)
    }

    /// Sends an answer. One the interface does not take is dropped: the initiator asks again.
    fn send(&mut self, length: usize) {
        for _ in 0..OFFERS {
            match self.wire.socket.send(&self.answer[..length]) {
                Ok(()) => {
                    self.counters.answers += 1;
                    return;
                }
                Err(error) => match Errno::try_from(error).unwrap_or(Errno::UnknownErrno) {
                    Errno::EAGAIN => {
                        let mut fds = [PollFd::new(self.wire.socket.as_fd(), PollFlags::POLLOUT)];
                        let drain = PollTimeout::try_from(DRAIN).unwrap_or(PollTimeout::ZERO);
                        // Ready, late or interrupted: the next offer finds out.
                        let _ = poll(&mut fds, drain);
                    }
                    Errno::ENOBUFS | Errno::EINTR => {}
                    _ => break,
                },
            }
        }
        self.counters.unsent += 1;
    }

    /// Tells the segment that the target is there and what its frames carry; nothing while the
    /// interface is down.
    pub fn advertise(&mut self) {
        if self.wire.link.is_none_or(|link| !link.running) {
            return;
        }
        for at in 0..self.target.audience().len() {
            let to: Mac = self.target.audience()[at];
            let length = self.target.advertise(to, &mut self.answer);
            self.send(length);
        }
    }

    /// Follows the interface: down, up, another MTU or address, gone, back under another index.
    fn look_at_link(&mut self) {
        // Drained first: what happens from here on is news again.
        if let Err(error) = self.wire.watch.drain() {
            log(format_args!("netlink: {error}"));
        }
        let name = &self.wire.name;
        let now = Link::named(name).ok();
        let before = self.wire.link;
        if now == before {
            return;
        }
        self.wire.link = now;
        let Some(link) = now else {
            log(format_args!("{name}: gone"));
            return;
        };
        if before.is_none_or(|before| before.index != link.index)
            && let Err(error) = self.wire.socket.bind(link.index)
        {
            // Gone again already; its return will be news.
            log(format_args!("{name}: bind: {error}"));
            self.wire.link = None;
            return;
        }
        if let Err(error) = self.wire.size_buffers(link.mtu) {
            log(format_args!("{name}: buffers: {error}"));
        }
        self.target.set_link(Mac(link.address), link.mtu);
        let state = if link.running { "up" } else { "down" };
        let sectors = sectors_per_frame(link.mtu);
        log(format_args!("{name}: {state}, MTU {}, {sectors} sectors a frame", link.mtu));
        self.advertise();
    }
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
        let program = filter(ours);
        for (shelf, slot) in [(0x0102, 3), (0xffff, 3), (0x0102, 0xff), (0xffff, 0xff)] {
            assert!(takes(&program, &frame(0x88a2, 0x10, shelf, slot), 0));
            assert!(takes(&program, &frame(0x88a2, 0x10, shelf, slot), 1), "by broadcast");
            assert!(!takes(&program, &frame(0x88a2, 0x10, shelf, slot), OTHER_HOST));
            assert!(!takes(&program, &frame(0x88a2, 0x18, shelf, slot), 0), "an answer");
            assert!(!takes(&program, &frame(0x0800, 0x10, shelf, slot), 0));
        }
        for (shelf, slot) in [(0x0103, 3), (0x0102, 4), (0xffff, 4), (0x0103, 0xff), (0x0201, 3)] {
            assert!(!takes(&program, &frame(0x88a2, 0x10, shelf, slot), 0));
        }
    }
}
