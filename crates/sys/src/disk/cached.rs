//! Reads that are over at once or not at all.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads what the page cache has from `offset` on; `WouldBlock` when the disk would have to be
/// asked.
///
/// # Errors
/// As preadv2(2); `Unsupported` from a file system that cannot tell.
pub fn read_cached(file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: the one vector describes `into`, which is ours until the call returns.
    let taken = unsafe { libc::preadv2(file.as_raw_fd(), &raw const vector, 1, offset, libc::RWF_NOWAIT) };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}
