//! Disk I/O in the background, into and out of [`Frames`]: started here, told of when it is done.
//!
//! One io_uring where the kernel allows it, a pool of threads where it does not. What is under way
//! owns its frame; nothing is cancelled, and dropping the engine waits for the last of it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::frames::Frames;

mod job;
mod now;
mod pool;
mod ring;

pub use job::{Job, PARTS, Part};
pub use now::{read_now, write_now};

use job::Vectors;
use pool::Pool;
use ring::Ring;

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    /// The caller's.
    pub token: u32,
    /// The bytes transferred, which may be fewer than asked for.
    pub result: io::Result<usize>,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// io_uring.
    Ring,
    /// Threads.
    Threads,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "io_uring",
            Self::Threads => "threads",
        })
    }
}

/// A job as the kernel or a thread gets it.
#[derive(Debug, Clone, Copy)]
struct Order {
    file: RawFd,
    token: u32,
    call: Call,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Read { vectors: Vectors, offset: u64 },
    Write { vectors: Vectors, offset: u64, durable: bool },
    Sync { data: bool },
    Discard { offset: u64, length: u64 },
}

/// The frames a job under way has.
#[derive(Debug, Clone, Copy)]
struct Lent {
    frames: [u16; PARTS],
    count: usize,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a process")]
enum Backend {
    Ring(Ring),
    Pool(Pool),
}

/// The engine and the frames it works on.
#[derive(Debug)]
pub struct Engine {
    // Before the frames: it is the one that may still write to them.
    backend: Backend,
    frames: Frames,
    /// By token.
    under_way: Box<[Option<Lent>]>,
    flying: usize,
}

impl Engine {
    /// An engine for tokens below `tokens`; each is under way once at a time.
    ///
    /// # Errors
    /// io_uring is refused (by the kernel, a sysctl or a sandbox), or no threads can be had.
    pub fn new(kind: Kind, frames: Frames, tokens: usize) -> io::Result<Self> {
        let backend = match kind {
            Kind::Ring => Backend::Ring(Ring::new(&frames, tokens)?),
            Kind::Threads => Backend::Pool(Pool::new(tokens)?),
        };
        Ok(Self { backend, frames, under_way: vec![None; tokens].into(), flying: 0 })
    }

    /// Who does it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.backend {
            Backend::Ring(_) => Kind::Ring,
            Backend::Pool(_) => Kind::Threads,
        }
    }

    /// Starts the threads, where there are some to start, and has them run; the first job would
    /// otherwise. They are confined as the caller is now.
    ///
    /// # Errors
    /// No threads can be had.
    pub fn launch(&mut self) -> io::Result<()> {
        match &mut self.backend {
            Backend::Ring(_) => Ok(()),
            Backend::Pool(pool) => pool.launch(),
        }
    }

    /// Goes on with other frames, without asking the kernel for anything it might refuse by now.
    ///
    /// # Panics
    /// Something is under way.
    pub fn renew(&mut self, frames: Frames) {
        assert_eq!(self.flying, 0, "jobs are under way");
        if let Backend::Ring(ring) = &mut self.backend {
            ring.register(&frames);
        }
        self.frames = frames;
    }

    /// The frames that are not under way.
    #[must_use]
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// The frames that are not under way.
    pub fn frames_mut(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Jobs under way.
    #[must_use]
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// Starts a job; [`finished`](Self::finished) tells of it under its token.
    ///
    /// # Errors
    /// The kernel refuses the ring's work, or threads, which leaves the job undone.
    ///
    /// # Panics
    /// The token is under way or too large, one of the job's frames is the kernel's, or there
    /// are too many parts.
    pub fn start(&mut self, file: BorrowedFd<'_>, job: &Job<'_>, token: u32) -> io::Result<()> {
        assert!(self.under_way[token as usize].is_none(), "token {token} is under way");
        let call = match job {
            Job::Read { parts, offset } => Call::Read { vectors: Vectors::of(&self.frames, parts), offset: *offset },
            Job::Write { parts, offset, durable } => {
                Call::Write { vectors: Vectors::of(&self.frames, parts), offset: *offset, durable: *durable }
            }
            Job::Sync { data } => Call::Sync { data: *data },
            Job::Discard { offset, length } => Call::Discard { offset: *offset, length: *length },
        };
        let order = Order { file: file.as_raw_fd(), token, call };
        match &mut self.backend {
            Backend::Ring(ring) => ring.start(&order)?,
            Backend::Pool(pool) => pool.start(order)?,
        }
        let mut lent = Lent { frames: [0; PARTS], count: job.parts().len() };
        for (part, number) in job.parts().iter().zip(&mut lent.frames) {
            self.frames.lend(part.frame);
            // As many as an AF_PACKET ring or an io_uring has entries: 16 bits are enough.
            *number = u16::try_from(part.frame).expect("a frame's number");
        }
        self.under_way[token as usize] = Some(lent);
        self.flying += 1;
        Ok(())
    }

    /// Hands what was started to the kernel: once for many.
    ///
    /// What the kernel has no room for stays, and is handed over with the next.
    ///
    /// # Errors
    /// The kernel refuses the ring itself, which it has no reason to.
    pub fn submit(&mut self) -> io::Result<()> {
        match &mut self.backend {
            Backend::Ring(ring) => ring.submit(),
            Backend::Pool(_) => Ok(()),
        }
    }

    /// Adds what is done to `done`, without waiting. Its frames are in reach again.
    pub fn finished(&mut self, done: &mut Vec<Done>) {
        let before = done.len();
        match &mut self.backend {
            Backend::Ring(ring) => ring.finished(done),
            Backend::Pool(pool) => pool.finished(done),
        }
        for Done { token, .. } in &done[before..] {
            if let Some(Lent { frames, count }) = self.under_way[*token as usize].take() {
                frames[..count].iter().for_each(|frame| self.frames.take_back((*frame).into()));
            }
            self.flying -= 1;
        }
    }

    /// Waits until something is done.
    ///
    /// # Errors
    /// The kernel refuses to wait, which it has no reason to.
    pub fn wait(&mut self) -> io::Result<()> {
        match &mut self.backend {
            Backend::Ring(ring) => ring.wait(),
            Backend::Pool(pool) => pool.wait(),
        }
    }
}

impl AsFd for Engine {
    /// Readable when something is done.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.backend {
            Backend::Ring(ring) => ring.as_fd(),
            Backend::Pool(pool) => pool.as_fd(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut done = Vec::new();
        while self.flying > 0 {
            done.clear();
            // The frames may not go before the kernel is done with them; if it cannot even be
            // waited for, they stay for good.
            if self.submit().and_then(|()| self.wait()).is_err() {
                std::process::abort();
            }
            self.finished(&mut done);
        }
    }
}

/// An offset as system calls take it.
fn signed(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests;
