//! The loop: frames in, requests to the disks, answers out.
//!
//! One thread waits for the packet sockets, the disks, the signals and the news of interfaces.
//! Nothing the network or an interface does ends it. Every request owns the frame it came in,
//! from its arrival to the sending of its answer, and is known by that frame's number.

mod intake;
mod work;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::log;
use nines_proto::aoe::ata;
use nines_proto::mac::Mac;
use nines_sys::disk::{Done, Engine, Kind};
use nines_sys::frames::Frames;
use nines_sys::packet::ETHERNET_HEADER;
use nines_sys::packet::batch::Patience;
use nines_sys::packet::link::LinkWatch;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::export::Export;
use crate::target::ANSWER;
use crate::wire::Wire;
use work::Request;

/// How long frames and disks have the loop to themselves before signals and interfaces are looked
/// at again.
const BUSY: Duration = Duration::from_millis(50);
/// Frames under way at once, for all targets together: four hosts with a full window each, but
/// not more memory than a small machine has to spare.
const FRAMES: (usize, usize) = (256, 1024);
/// A frame holds what an interface with jumbo frames sends, so that an MTU set later changes
/// nothing here.
const JUMBO: usize = 9000;

/// Targets, their wires and their stores.
#[derive(Debug)]
pub struct Server {
    wires: Vec<Wire>,
    watch: LinkWatch,
    /// By address.
    exports: Vec<Export>,
    engine: Engine,
    /// By frame.
    requests: Box<[Option<Request>]>,
    /// Frames without a request.
    free: Vec<usize>,
    /// Frames that have just come, with their lengths.
    came: Vec<(usize, usize)>,
    done: Vec<Done>,
    /// Requests that need wait no longer.
    ready: Vec<u32>,
    /// Exports that may have to start a flush.
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    /// An interface's frames are longer than ours: ours are made anew when none is in use.
    outgrown: bool,
    ending: bool,
}

/// What the loop found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Something,
    Nothing,
}

impl Server {
    /// Puts the parts together; all the memory there will be is taken here. The watch was opened
    /// before the wires, so that what changed in between is news.
    ///
    /// # Errors
    /// No memory, or neither io_uring nor threads.
    pub fn new(
        wires: Vec<Wire>,
        watch: LinkWatch,
        mut exports: Vec<Export>,
        kind: Option<Kind>,
        frames: usize,
    ) -> anyhow::Result<Self> {
        exports.sort_by_key(|export| export.target.address());
        let tokens = frames + exports.len();
        let engine = engine(kind, frames, frame_length(&wires), tokens)?;
        Ok(Self {
            watch,
            engine,
            requests: vec![None; frames].into(),
            free: (0..frames).rev().collect(),
            came: Vec::with_capacity(frames),
            done: Vec::with_capacity(tokens),
            ready: Vec::with_capacity(frames),
            dirty: Vec::with_capacity(2 * exports.len()),
            scratch: vec![0; ANSWER].into(),
            outgrown: false,
            ending: false,
            wires,
            exports,
        })
    }

    /// How many frames targets that queue so many messages, all together, should have.
    #[must_use]
    pub fn frames_for(buffers: usize) -> usize {
        (4 * buffers).clamp(FRAMES.0, FRAMES.1)
    }

    /// Serves until SIGTERM or SIGINT; the requests under way are finished first.
    ///
    /// # Errors
    /// The kernel refuses to wait, which it has no reason to.
    pub fn run(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        while !self.ending {
            let [frames, signal, news] = self.wait(signals)?;
            if signal {
                self.signalled(signals)?;
            }
            if news {
                self.look_at_links();
            }
            self.busy(frames)?;
        }
        self.finish()?;
        self.report();
        Ok(())
    }

    /// Waits for anything: frames or disks, signals, interfaces.
    fn wait(&self, signals: &SignalFd) -> anyhow::Result<[bool; 3]> {
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let mut fds = Vec::with_capacity(self.wires.len() + 3);
        fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.watch.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.engine.as_fd(), PollFlags::POLLIN));
        if self.takes_frames() {
            fds.extend(self.wires.iter().map(|wire| PollFd::new(wire.as_fd(), PollFlags::POLLIN)));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => Ok([fds[2..].iter().any(ready), ready(&fds[0]), ready(&fds[1])]),
            Err(Errno::EINTR) => Ok([false; 3]),
            Err(errno) => Err(errno).context("poll"),
        }
    }

    fn takes_frames(&self) -> bool {
        !self.free.is_empty() && !self.outgrown
    }

    /// Serves as long as there is something to do at once, for a while.
    fn busy(&mut self, frames: bool) -> anyhow::Result<()> {
        if !frames {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let patience = if self.engine.flying() == 0 && self.wires.len() == 1 {
                // One call that waits instead of two.
                Patience::FirstFrame
            } else {
                Patience::None
            };
            if self.turn(patience)? == Found::Nothing || began.elapsed() >= BUSY {
                return Ok(());
            }
        }
    }

    /// Takes what has come, and sends what is finished.
    fn turn(&mut self, patience: Patience) -> anyhow::Result<Found> {
        let mut found = Found::Nothing;
        for wire in 0..self.wires.len() {
            if self.takes_frames() && self.receive(wire, patience) == Found::Something {
                found = Found::Something;
            }
        }
        self.flush_where_due();
        self.engine.submit().context(self.engine.kind())?;
        if self.complete() == Found::Something {
            found = Found::Something;
            // What waited for them goes to the disks now.
            self.flush_where_due();
            self.engine.submit().context(self.engine.kind())?;
        }
        self.send();
        if self.outgrown && self.free.len() == self.requests.len() {
            self.grow()?;
        }
        Ok(found)
    }

    fn send(&mut self) {
        for wire in &mut self.wires {
            let sent = wire.send(self.engine.frames(), &mut self.free);
            // Which target's they were is not known any more; with one it is.
            if let Some(export) = self.exports.first_mut() {
                export.counters.answers += sent.taken;
                export.counters.unsent += sent.dropped;
            }
        }
    }

    /// Finishes the requests that are under way and answers them.
    fn finish(&mut self) -> anyhow::Result<()> {
        while self.free.len() < self.requests.len() {
            self.flush_where_due();
            self.engine.submit().context(self.engine.kind())?;
            if self.engine.flying() > 0 {
                self.engine.wait().context(self.engine.kind())?;
            }
            self.complete();
            self.send();
        }
        Ok(())
    }

    /// Makes the frames anew, as long as the interfaces' are now. None is in use.
    fn grow(&mut self) -> anyhow::Result<()> {
        let (kind, frames) = (self.engine.kind(), self.requests.len());
        self.engine = engine(Some(kind), frames, frame_length(&self.wires), frames + self.exports.len())?;
        self.outgrown = false;
        Ok(())
    }

    fn signalled(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        while let Some(info) = signals.read_signal().context("signalfd")? {
            if info.ssi_signo == Signal::SIGUSR1 as u32 {
                self.report();
            } else {
                self.ending = true;
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        let drops: u64 = self.wires.iter().map(Wire::drops).sum();
        if let Some(export) = self.exports.first_mut() {
            export.counters.dropped += drops;
        }
        for export in &self.exports {
            log(format_args!("{}: {}", export.target.address(), export.counters));
        }
    }

    /// Tells the segments that the targets are there and what their frames carry; nothing where
    /// the interface is down.
    pub fn advertise(&mut self) {
        for wire in 0..self.wires.len() {
            self.advertise_on(wire);
        }
    }

    fn advertise_on(&mut self, number: usize) {
        let wire = &self.wires[number];
        let Some(link) = wire.link().filter(|link| link.running) else { return };
        for export in self.exports.iter_mut().filter(|export| export.wires.contains(&number)) {
            export.target.set_link(Mac(link.address), link.mtu);
            for at in 0..export.target.audience().len() {
                let to: Mac = export.target.audience()[at];
                let length = export.target.advertise(to, &mut self.scratch);
                // One that is lost is made up for by the initiators, which ask every minute.
                match wire.send_now(&self.scratch[..length]) {
                    Ok(()) => export.counters.answers += 1,
                    Err(_) => export.counters.unsent += 1,
                }
            }
        }
    }

    fn look_at_links(&mut self) {
        // Drained first: what happens from here on is news again.
        if let Err(error) = self.watch.drain() {
            log(format_args!("netlink: {error}"));
        }
        for number in 0..self.wires.len() {
            if self.wires[number].look() {
                self.advertise_on(number);
            }
        }
        self.outgrown = frame_length(&self.wires) > self.engine.frames().length();
    }
}

/// The longest frame any of the interfaces carries, jumbo frames at least.
fn frame_length(wires: &[Wire]) -> usize {
    let longest = wires.iter().filter_map(Wire::link).map(|link| link.mtu).max();
    ETHERNET_HEADER + longest.unwrap_or(0).max(JUMBO)
}

fn engine(kind: Option<Kind>, count: usize, length: usize, tokens: usize) -> anyhow::Result<Engine> {
    // A sector more than an interface carries: a longer frame is noticed by its length.
    let frames = || Frames::new(count, ata::DATA, length + 512).context("memory for frames");
    let kinds = [Kind::Ring, Kind::Threads];
    let kinds = kind.as_ref().map_or(&kinds[..], std::slice::from_ref);
    let mut refused = None;
    for kind in kinds {
        match Engine::new(*kind, frames()?, tokens) {
            Ok(engine) => {
                if let Some(refused) = refused {
                    log(format_args!("{refused}; using {kind}"));
                }
                return Ok(engine);
            }
            Err(error) => refused = Some(format!("{kind}: {}", crate::reason(&error))),
        }
    }
    Err(anyhow::Error::msg(refused.unwrap_or_default()))
}
