//! Getting the main loop out of its poll.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub struct Waker {
    stream: UnixStream,
    woken: Arc<AtomicBool>,
}

/// The end that the main loop polls.
#[derive(Debug)]
pub struct Wakeup {
    stream: UnixStream,
    woken: Arc<AtomicBool>,
}

pub fn pair() -> io::Result<(Waker, Wakeup)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let woken = Arc::new(AtomicBool::new(false));
    Ok((Waker { stream: ours, woken: Arc::clone(&woken) }, Wakeup { stream: theirs, woken }))
}

impl Waker {
    /// Call it after what there is to see can be seen.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // A full pipe wakes as well as one byte does.
            let _ = (&self.stream).write(&[0]);
        }
    }
}

impl Wakeup {
    /// Call it before looking at what there is to see.
    pub fn clear(&self) {
        let mut bytes = [0; 16];
        let _ = (&self.stream).read(&mut bytes);
        self.woken.store(false, Ordering::SeqCst);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
