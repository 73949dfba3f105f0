//! Threads that wait for what cannot be polled, and the poll they wait with.

use std::io;
use std::thread;

use nix::poll::{PollFd, PollTimeout, poll};

/// Waits for any of them; answers whether it was the first alone.
pub fn readable(fds: &[PollFd<'_>]) -> bool {
    let mut fds = fds.to_vec();
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {
                let woken = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
                return fds.split_first().is_some_and(|(first, rest)| woken(first) && !rest.iter().any(woken));
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// A named thread that nobody joins: it ends with its channel or with the process.
pub fn named(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
