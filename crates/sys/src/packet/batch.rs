//! Many frames in one system call: recvmmsg(2) and sendmmsg(2).

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::PacketSocket;
use crate::frames::Frames;

/// Frames one call takes at most.
pub const BATCH: usize = 64;

/// The kernel's description of a batch, kept from call to call.
pub struct Batch {
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Default for Batch {
    fn default() -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: mmsghdr is lengths, flags and pointers: all zero is "no address, no vector, no
        // control data", which is what the calls below complete.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self { vectors: [vector; BATCH], headers: [header; BATCH] }
    }
}

impl Batch {
    /// Describes these parts of frames; returns how many messages that makes.
    fn describe(&mut self, frames: &Frames, parts: impl Iterator<Item = (usize, usize)>) -> libc::c_uint {
        let mut count = 0;
        for ((frame, length), (vector, header)) in parts.zip(self.vectors.iter_mut().zip(self.headers.iter_mut())) {
            let (address, length) = frames.range(frame, 0..length);
            *vector = libc::iovec { iov_base: address.cast(), iov_len: length };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_len = 0;
            count += 1;
        }
        count
    }
}

impl PacketSocket {
    /// Waits for a frame, for as long as [`PacketSocket::set_patience`] said, and takes it and those
    /// behind it, one into each of `into` until there are no more. Tells each one's length on the
    /// wire, which is more than the frame's own when it did not fit. Returns how many came.
    /// `WouldBlock` when none did.
    ///
    /// # Errors
    /// As recvmmsg(2).
    ///
    /// # Panics
    /// One of the frames is the kernel's.
    pub fn receive_batch(
        &self,
        batch: &mut Batch,
        frames: &mut Frames,
        into: &[usize],
        mut came: impl FnMut(usize, usize),
    ) -> io::Result<usize> {
        let length = frames.length();
        let count = batch.describe(frames, into.iter().map(|frame| (*frame, length)));
        let flags = libc::MSG_TRUNC | libc::MSG_WAITFORONE;
        let headers = batch.headers.as_mut_ptr();
        // SAFETY: the first `count` headers each describe one vector of `batch`, which describes
        // memory of `frames` that nobody else has; the call is over when it returns.
        let taken = unsafe { libc::recvmmsg(self.as_raw_fd(), headers, count, flags, ptr::null_mut()) };
        let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        for (frame, header) in into.iter().zip(&batch.headers[..taken]) {
            came(*frame, header.msg_len as usize);
        }
        Ok(taken)
    }

    /// Sends frames, header included, each with its length, as many as the kernel takes at once.
    /// `WouldBlock` when the send buffer is full.
    ///
    /// # Errors
    /// As sendmmsg(2), about the first frame: ENOBUFS when the interface's queue is full,
    /// EMSGSIZE over its MTU, ENETDOWN.
    ///
    /// # Panics
    /// One of the frames is the kernel's or shorter than it should be.
    pub fn send_batch(&self, batch: &mut Batch, frames: &Frames, these: &[(usize, usize)]) -> io::Result<usize> {
        let count = batch.describe(frames, these.iter().copied());
        let headers = batch.headers.as_mut_ptr();
        // SAFETY: as for recvmmsg; the kernel only reads what the vectors describe.
        let sent = unsafe { libc::sendmmsg(self.as_raw_fd(), headers, count, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
