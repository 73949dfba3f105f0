//! Reads and writes that are over when they return.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::job::{Part, Vectors};
use super::signed;
use crate::frames::Frames;

/// Fills these parts, one after the other, with what is in the file from `offset` on; if it is not
/// to wait, only what the page cache has: `WouldBlock` when the disk would have to be asked.
///
/// # Errors
/// As preadv2(2); `Unsupported` from a file system that cannot tell whether it would wait.
///
/// # Panics
/// One of the frames is the kernel's, or there are too many.
pub fn read_now(
    file: BorrowedFd<'_>,
    frames: &mut Frames,
    parts: &[Part],
    offset: u64,
    waits: bool,
) -> io::Result<usize> {
    let (vectors, offset) = (Vectors::of(frames, parts), signed(offset)?);
    let flags = if waits { 0 } else { libc::RWF_NOWAIT };
    // SAFETY: the vectors describe parts of `frames`, which are ours until the call returns; the
    // kernel writes nowhere else.
    let done = unsafe { libc::preadv2(file.as_raw_fd(), vectors.list.as_ptr(), vectors.count(), offset, flags) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// Puts these parts into the file, one after the other, from `offset` on.
///
/// # Errors
/// As pwritev(2).
///
/// # Panics
/// One of the frames is the kernel's, or there are too many.
pub fn write_now(file: BorrowedFd<'_>, frames: &Frames, parts: &[Part], offset: u64) -> io::Result<usize> {
    let (vectors, offset) = (Vectors::of(frames, parts), signed(offset)?);
    // SAFETY: the vectors describe parts of `frames`, which are there until the call returns; the
    // kernel only reads them.
    let done = unsafe { libc::pwritev(file.as_raw_fd(), vectors.list.as_ptr(), vectors.count(), offset) };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}
