//! The engine as an io_uring.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{Builder, IoUring, opcode, squeue};

use super::job::{PARTS, Vectors};
use super::{Call, Done, Order};
use crate::frames::Frames;

/// Entries of the submission queue, at most; the kernel takes no more than 32768.
const MOST: usize = 4096;
/// Rings shrink to less than this under no circumstances.
const LEAST: usize = 8;

/// From the kernel's enum of io_uring_register(2)'s operations.
const REGISTER_BUFFERS: u8 = 0;
const UNREGISTER_BUFFERS: u8 = 1;

pub(super) struct Ring {
    ring: IoUring,
    /// The frames are registered as buffer 0.
    registered: bool,
    /// What an entry with several parts names, by token: the kernel reads it when it is handed over.
    vectors: Box<[[libc::iovec; PARTS]]>,
    /// Started and not yet handed over.
    pending: usize,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("registered", &self.registered).finish_non_exhaustive()
    }
}

impl Ring {
    pub fn new(frames: &Frames, tokens: usize) -> io::Result<Self> {
        let entries = u32::try_from(tokens.clamp(LEAST, MOST)).map_err(io::Error::other)?;
        let completions = u32::try_from(tokens.max(LEAST) * 2).map_err(io::Error::other)?;
        let build = |tune: &dyn Fn(&mut Builder)| {
            let mut builder = IoUring::builder();
            builder.setup_clamp().setup_cqsize(completions);
            tune(&mut builder);
            builder.build(entries)
        };
        // Linux 5.19 and 6.0: completions wait for our next call instead of interrupting us. Linux
        // 5.10: disabled until it has been told what it may be asked for.
        let best = build(&|builder| {
            builder.setup_r_disabled().setup_coop_taskrun().setup_taskrun_flag().setup_single_issuer();
        });
        let good = or_older(best, || {
            build(&|builder| {
                builder.setup_r_disabled();
            })
        });
        let disabled = good.is_ok();
        let ring = or_older(good, || build(&|_| {}))?;
        if disabled {
            restrict(&ring)?;
        }
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let vectors = vec![[none; PARTS]; tokens].into();
        let mut ring = Self { ring, registered: false, vectors, pending: 0 };
        ring.register(frames);
        Ok(ring)
    }

    /// Has the kernel look up these frames' pages once for all. Nothing is under way.
    pub fn register(&mut self, frames: &Frames) {
        if self.registered {
            // If it cannot let go of the old ones it takes no new ones either.
            let _ = self.ring.submitter().unregister_buffers();
        }
        let (address, length) = frames.whole();
        let whole = libc::iovec { iov_base: address.cast(), iov_len: length };
        // SAFETY: the vector describes the mapping of `frames`, which the engine keeps until
        // nothing is under way and this ring is gone or has other frames.
        let registered = unsafe { self.ring.submitter().register_buffers(&[whole]) };
        // Refused without CAP_IPC_LOCK when RLIMIT_MEMLOCK is small: then pages are looked up for
        // each request.
        self.registered = registered.is_ok();
    }

    pub fn start(&mut self, order: &Order) -> io::Result<()> {
        let entry = self.entry(order)?;
        if self.ring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: the memory an entry names belongs to frames that the engine lends to it until it
        // is done, and the list of several to `vectors`, whose token is under way as long; the file
        // is open now, and the kernel holds it from the submission on.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.pending += 1;
        Ok(())
    }

    fn entry(&mut self, Order { file, token, call }: &Order) -> io::Result<squeue::Entry> {
        let file = Fd(*file);
        let bytes = |vector: &libc::iovec| u32::try_from(vector.iov_len).map_err(io::Error::other);
        let entry = match call {
            Call::Read { vectors, offset } => match vectors.as_slice() {
                [one] if self.registered => {
                    opcode::ReadFixed::new(file, one.iov_base.cast(), bytes(one)?, 0).offset(*offset).build()
                }
                [one] => opcode::Read::new(file, one.iov_base.cast(), bytes(one)?).offset(*offset).build(),
                _ => {
                    let (list, count) = self.keep(*token, vectors);
                    opcode::Readv::new(file, list, count).offset(*offset).build()
                }
            },
            Call::Write { vectors, offset, durable } => {
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                match vectors.as_slice() {
                    [one] if self.registered => {
                        let write = opcode::WriteFixed::new(file, one.iov_base.cast(), bytes(one)?, 0);
                        write.offset(*offset).rw_flags(flags).build()
                    }
                    [one] => {
                        let write = opcode::Write::new(file, one.iov_base.cast(), bytes(one)?);
                        write.offset(*offset).rw_flags(flags).build()
                    }
                    _ => {
                        let (list, count) = self.keep(*token, vectors);
                        opcode::Writev::new(file, list, count).offset(*offset).rw_flags(flags).build()
                    }
                }
            }
            Call::Sync { data } => {
                let flags = if *data { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(file).flags(flags).build()
            }
            Call::Discard { offset, length } => opcode::Fallocate::new(file, *length)
                .offset(*offset)
                .mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)
                .build(),
        };
        Ok(entry.user_data((*token).into()))
    }

    /// Puts a list where it stays until its token's next.
    fn keep(&mut self, token: u32, vectors: &Vectors) -> (*const libc::iovec, u32) {
        let kept = &mut self.vectors[token as usize];
        *kept = vectors.list;
        (kept.as_ptr(), vectors.count().unsigned_abs())
    }

    pub fn submit(&mut self) -> io::Result<()> {
        if self.pending == 0 && !self.ring.submission().taskrun() {
            return Ok(());
        }
        let submitted = self.ring.submit();
        match submitted {
            Ok(submitted) => {
                self.pending -= submitted.min(self.pending);
                Ok(())
            }
            // Interrupted, or completions have to be taken first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn finished(&mut self, done: &mut Vec<Done>) {
        for entry in self.ring.completion() {
            let result = entry.result();
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            #[expect(clippy::cast_possible_truncation, reason = "what `start` put there")]
            done.push(Done { token: entry.user_data() as u32, result });
        }
    }

    pub fn wait(&mut self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Ok(submitted) => {
                self.pending -= submitted.min(self.pending);
                Ok(())
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own and open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

/// A ring as older kernels make it, where this one does not know how it was wanted.
fn or_older(ring: io::Result<IoUring>, build: impl FnOnce() -> io::Result<IoUring>) -> io::Result<IoUring> {
    match ring {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(),
        other => other,
    }
}

/// Has the ring do what [`Ring::entry`] asks for and nothing else: what a ring does, no filter of
/// system calls sees.
fn restrict(ring: &IoUring) -> io::Result<()> {
    const WORK: [u8; 8] = [
        opcode::Read::CODE,
        opcode::ReadFixed::CODE,
        opcode::Readv::CODE,
        opcode::Write::CODE,
        opcode::WriteFixed::CODE,
        opcode::Writev::CODE,
        opcode::Fsync::CODE,
        opcode::Fallocate::CODE,
    ];
    let mut allowed = Vec::from(WORK.map(Restriction::sqe_op));
    allowed.extend([REGISTER_BUFFERS, UNREGISTER_BUFFERS].map(Restriction::register_op));
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_refuses_what_it_is_not_for() {
        let frames = Frames::new(1, 0, 4096).unwrap();
        let mut ring = Ring::new(&frames, 8).unwrap();
        // SAFETY: a NOP names no memory.
        unsafe { ring.ring.submission().push(&opcode::Nop::new().build()) }.unwrap();
        ring.pending += 1;
        ring.wait().unwrap();
        let mut done = Vec::new();
        ring.finished(&mut done);
        assert_eq!(done[0].result.as_ref().unwrap_err().raw_os_error(), Some(libc::EACCES));
    }
}
