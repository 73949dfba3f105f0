//! The loop: frames in, requests to the disks, answers out.
//!
//! One thread waits for the packet sockets, the disks, the signals, the news of interfaces and
//! the control socket. Nothing the network or an interface does ends it. Every request owns the
//! frame it came in, from its arrival to the sending of its answer, and is known by that frame's
//! number.

mod disks;
mod intake;
mod start;
mod steer;
mod table;
mod waiting;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::log;
use nines_proto::aoe::Address;
use nines_sys::disk::{Done, Engine, Kind, PARTS, Part};
use nines_sys::packet::ETHERNET_HEADER;
use nines_sys::packet::link::LinkWatch;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::args::ExportOptions;
use crate::args::table::MOST as EXPORTS;
use crate::control::Control;
use crate::everywhere::Everywhere;
use crate::export::Export;
use crate::memory::{Memory, Page};
use crate::slots::Slots;
use crate::target::ANSWER;
use crate::wire::Wire;
use disks::{engine, frames};
use steer::Denial;
use waiting::{Found, Waiting};
use work::{Answered, Request};

/// How long frames and disks have the loop to themselves before anything else is looked at again.
const BUSY: Duration = Duration::from_millis(50);
/// Frames under way at once, for all targets together: four hosts with a full window each, but
/// not more memory than a small machine has to spare.
const FRAMES: (usize, usize) = (256, 1024);
/// A frame holds what an interface with jumbo frames sends, so that an MTU set later changes
/// nothing here.
const JUMBO: usize = 9000;

/// What a server is besides its exports.
#[derive(Debug, Default)]
pub struct Setup {
    /// Who uses the disks; whatever is possible when not given.
    pub engine: Option<Kind>,
    /// Where the control socket is.
    pub control: Option<Control>,
    /// What is kept over a restart.
    pub memory: Option<Memory>,
    /// The file the exports are listed in, if they are.
    pub table: Option<PathBuf>,
    /// Messages the targets say they can queue, all together.
    pub buffers: usize,
}

/// Targets, their wires and their stores.
#[derive(Debug)]
pub struct Server {
    wires: Slots<Wire>,
    watch: LinkWatch,
    exports: Slots<Export>,
    /// The exports that take requests, by address.
    directory: Vec<(Address, usize)>,
    /// Exports that wait for one to leave that has their address.
    arriving: Vec<ExportOptions>,
    /// Exports that wait for an interface of theirs.
    absent: Vec<ExportOptions>,
    /// What those that left have for their successors: who is denied above all.
    legacies: Vec<(Address, Page)>,
    /// Who is denied exports that are yet to come.
    everywhere: Everywhere,
    engine: Engine,
    /// By frame.
    requests: Box<[Option<Request>]>,
    /// Frames without a request.
    free: Vec<usize>,
    /// Frames that have just come, with their lengths.
    came: Vec<(usize, usize)>,
    done: Vec<Done>,
    /// Requests that need wait no longer, by frame.
    ready: Vec<usize>,
    /// Those that are being started.
    starting: Vec<usize>,
    /// What a job is made of.
    parts: Vec<Part>,
    /// Requests a flush has made durable.
    covered: Vec<u32>,
    /// Exports that may have to start a flush.
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    /// When frames last came or answers last went.
    now: Instant,
    /// Requests whose answers wait to be sent.
    answered: Vec<Answered>,
    /// An interface's frames are longer than ours: ours are made anew when none is in use.
    outgrown: bool,
    ending: bool,
    waiting: Waiting,
    control: Option<Control>,
    denials: Vec<Denial>,
    memory: Option<Memory>,
    table: Option<PathBuf>,
}

impl Server {
    /// A server of nothing yet; all the memory it needs per request is taken here.
    ///
    /// # Errors
    /// No memory, no netlink, or neither io_uring nor threads.
    pub fn new(setup: Setup, signals: &SignalFd) -> anyhow::Result<Self> {
        let count = if setup.table.is_some() { FRAMES.1 } else { 4 * setup.buffers };
        let count = count.clamp(FRAMES.0, FRAMES.1);
        // Opened before any interface: what changes between the two is not missed.
        let watch = LinkWatch::open().context("netlink")?;
        let engine = engine(setup.engine, count, ETHERNET_HEADER + JUMBO)?;
        let memory = setup.memory.as_ref().filter(|_| setup.table.is_some());
        let everywhere = memory.map(Memory::everywhere).transpose()?.unwrap_or_default();
        let waiting = Waiting::new(signals, &watch, &engine).context("epoll")?;
        Ok(Self {
            wires: Slots::default(),
            watch,
            exports: Slots::default(),
            directory: Vec::new(),
            arriving: Vec::new(),
            absent: Vec::new(),
            legacies: Vec::new(),
            everywhere,
            engine,
            requests: vec![None; count].into(),
            free: (0..count).rev().collect(),
            came: Vec::with_capacity(count),
            done: Vec::with_capacity(count + EXPORTS),
            ready: Vec::with_capacity(count),
            starting: Vec::with_capacity(count),
            parts: Vec::with_capacity(PARTS),
            covered: Vec::with_capacity(count),
            dirty: Vec::with_capacity(count),
            scratch: vec![0; ANSWER].into(),
            now: Instant::now(),
            answered: Vec::with_capacity(count),
            outgrown: false,
            ending: false,
            waiting,
            control: setup.control,
            denials: Vec::new(),
            memory: setup.memory,
            table: setup.table,
        })
    }

    /// Starts the threads there are to be, confined as the process is by then.
    ///
    /// # Errors
    /// No threads can be had.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        self.engine.launch().context(self.engine.kind())
    }

    /// Serves until SIGTERM or SIGINT; the requests under way are finished first.
    ///
    /// # Errors
    /// The kernel refuses to wait, which it has no reason to.
    pub fn run(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        while !self.ending {
            let found = self.wait()?;
            if found.signal {
                self.signalled(signals)?;
            }
            if found.news {
                self.look_at_links();
            }
            if found.control {
                self.steer();
            }
            if found.trouble {
                self.wires.iter().for_each(|(_, wire)| wire.heed());
            }
            // Whatever it was: it may have let requests go that others waited for, or frames that are
            // to be made anew.
            self.busy()?;
        }
        self.finish()?;
        self.report();
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<Found> {
        self.waiting.listen(self.takes_frames(), &self.wires)?;
        self.waiting.follow(self.control.as_ref())?;
        self.waiting.wait()
    }

    fn takes_frames(&self) -> bool {
        !self.free.is_empty() && !self.outgrown
    }

    /// Serves as long as there is something to do at once, for a while.
    fn busy(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            // As the clock was last read, for frames or for answers.
            if !self.turn()? || self.now.saturating_duration_since(began) >= BUSY {
                break;
            }
        }
        self.settle_denials();
        self.sweep();
        Ok(())
    }

    /// Takes what has come, and sends what is finished. Whether there was anything.
    fn turn(&mut self) -> anyhow::Result<bool> {
        let mut found = false;
        if self.takes_frames() {
            for wire in 0..self.wires.numbers() {
                found |= self.receive(wire);
            }
            self.await_neighbours();
        }
        self.start_all()?;
        if self.complete() {
            found = true;
            // What waited for them goes to the disks now.
            self.start_all()?;
        }
        self.send();
        if self.outgrown && self.free.len() == self.requests.len() {
            self.grow()?;
        }
        Ok(found)
    }

    /// Gives the disks what they are to do now.
    fn start_all(&mut self) -> anyhow::Result<()> {
        self.start_ready();
        self.flush_where_due();
        self.engine.submit().context(self.engine.kind())
    }

    fn send(&mut self) {
        for (_, wire) in self.wires.iter_mut() {
            wire.send(self.engine.frames(), &mut self.free);
        }
        self.take_time();
    }

    /// Finishes the requests that are under way and answers them.
    fn finish(&mut self) -> anyhow::Result<()> {
        while self.free.len() < self.requests.len() {
            self.start_all()?;
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
        // The engine stays: another might be refused by now.
        self.engine.renew(frames(self.requests.len(), self.frame_length())?);
        self.outgrown = false;
        Ok(())
    }

    fn signalled(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        while let Some(info) = signals.read_signal().context("signalfd")? {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGUSR1) => self.report(),
                Ok(Signal::SIGHUP) => self.reload(),
                _ => self.ending = true,
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        for (_, export) in self.exports.iter() {
            log(format_args!("{}: {}", export.target.address(), export.counters));
        }
        for (_, wire) in self.wires.iter_mut() {
            log(format_args!("{}: {}", wire.name().to_owned(), wire.count()));
        }
    }

    /// The longest frame any of the interfaces carries, jumbo frames at least.
    fn frame_length(&self) -> usize {
        let longest = self.wires.iter().filter_map(|(_, wire)| wire.link()).map(|link| link.mtu).max();
        ETHERNET_HEADER + longest.unwrap_or(0).max(JUMBO)
    }
}
