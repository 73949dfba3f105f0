//! What the loop waits for: one epoll(7) set, so that waiting costs the same however many there
//! are.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use anyhow::Context;
use nines_sys::disk::Engine;
use nines_sys::packet::link::LinkWatch;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

use crate::control::Control;
use crate::slots::Slots;
use crate::wire::Wire;

const SIGNALS: u64 = 0;
const NEWS: u64 = 1;
const ENGINE: u64 = 2;
const CONTROL: u64 = 3;
const WIRE: u64 = 4;

/// What was there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub signal: bool,
    /// Of interfaces.
    pub news: bool,
    pub control: bool,
    /// Frames, or a disk that is done.
    pub work: bool,
    /// An interface has something to say that is no frame.
    pub trouble: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    epoll: Epoll,
    /// Wires whose frames are waited for.
    heard: Vec<RawFd>,
    /// The control socket and its connections, with whether they have something to send.
    control: Vec<(u64, bool)>,
}

impl Waiting {
    pub fn new(signals: &SignalFd, watch: &LinkWatch, engine: &Engine) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let add = |fd: BorrowedFd<'_>, data| epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, data));
        add(signals.as_fd(), SIGNALS)?;
        add(watch.as_fd(), NEWS)?;
        add(engine.as_fd(), ENGINE)?;
        Ok(Self { epoll, heard: Vec::new(), control: Vec::new() })
    }

    /// Waits for frames from these wires, or from none while there is no room for them.
    pub fn listen(&mut self, takes: bool, wires: &Slots<Wire>) -> anyhow::Result<()> {
        let wanted = || wires.iter().filter(|_| takes).map(|(_, wire)| wire.as_fd());
        if self.heard.iter().copied().eq(wanted().map(|fd| fd.as_raw_fd())) {
            return Ok(());
        }
        for (_, wire) in wires.iter() {
            // A wire that was not in the set is no error here.
            let _ = self.epoll.delete(wire.as_fd());
        }
        self.heard.clear();
        for fd in wanted() {
            self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, WIRE)).context("epoll")?;
            self.heard.push(fd.as_raw_fd());
        }
        Ok(())
    }

    /// A wire has been closed: the descriptor of the next may have its number.
    pub fn forget_wires(&mut self) {
        self.heard.clear();
    }

    /// Waits for the control socket and its connections as they are now.
    pub fn follow(&mut self, control: Option<&Control>) -> anyhow::Result<()> {
        let wanted = || control.into_iter().flat_map(Control::waits);
        if self.control.iter().copied().eq(wanted().map(|(number, _, sends)| (number, sends))) {
            return Ok(());
        }
        for (_, fd, _) in wanted() {
            let _ = self.epoll.delete(fd);
        }
        self.control.clear();
        for (number, fd, sends) in wanted() {
            let flags = if sends { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            self.epoll.add(fd, EpollEvent::new(flags, CONTROL)).context("epoll")?;
            self.control.push((number, sends));
        }
        Ok(())
    }

    pub fn wait(&self) -> anyhow::Result<Found> {
        let mut events = [EpollEvent::empty(); 16];
        let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            other => other.context("epoll")?,
        };
        let mut found = Found::default();
        for event in &events[..count] {
            match event.data() {
                SIGNALS => found.signal = true,
                NEWS => found.news = true,
                CONTROL => found.control = true,
                WIRE if event.events().contains(EpollFlags::EPOLLERR) => found.trouble = true,
                _ => found.work = true,
            }
        }
        Ok(found)
    }
}
