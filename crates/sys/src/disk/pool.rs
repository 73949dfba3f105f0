//! The engine as a pool of threads, each with one blocking system call at a time.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Call, Done, Order, signed};

/// Threads at most: as many requests as a queue of the usual depth holds.
const MOST: usize = 32;

/// What goes to a thread.
struct Work(Order);

// SAFETY: the memory a call names belongs to frames that the engine keeps lent until the thread
// has answered, so no other thread touches it meanwhile.
unsafe impl Send for Work {}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    done: Vec<Done>,
    /// Threads that run.
    running: usize,
    ending: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    /// A thread runs now.
    begun: Condvar,
    /// Readable while something is done and not yet taken.
    told: EventFd,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No thread panics while it holds the lock, and nothing would be half done if it did.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// How many there will be.
    most: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Pool {
    pub fn new(tokens: usize) -> io::Result<Self> {
        let told = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let queue = Queue {
            waiting: VecDeque::with_capacity(tokens),
            done: Vec::with_capacity(tokens),
            running: 0,
            ending: false,
        };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), work: Condvar::new(), begun: Condvar::new(), told });
        Ok(Self { shared, threads: Vec::new(), most: tokens.min(MOST) })
    }

    pub fn launch(&mut self) -> io::Result<()> {
        while self.threads.len() < self.most {
            let shared = Arc::clone(&self.shared);
            let name = format!("disk-{}", self.threads.len());
            self.threads.push(thread::Builder::new().name(name).spawn(move || work(&shared))?);
        }
        // The first steps of a thread take system calls that it needs never again.
        let mut queue = self.shared.queue();
        while queue.running < self.threads.len() {
            queue = self.shared.begun.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    pub fn start(&mut self, order: Order) -> io::Result<()> {
        if self.threads.is_empty() {
            self.launch()?;
        }
        self.shared.queue().waiting.push_back(Work(order));
        self.shared.work.notify_one();
        Ok(())
    }

    pub fn finished(&mut self, done: &mut Vec<Done>) {
        // Read first: what is done after it makes it readable again.
        let _ = self.shared.told.read();
        done.append(&mut self.shared.queue().done);
    }

    pub fn wait(&mut self) -> io::Result<()> {
        match poll(&mut [PollFd::new(self.shared.told.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.told.as_fd()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().ending = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.queue();
    queue.running += 1;
    shared.begun.notify_one();
    loop {
        let Some(Work(order)) = queue.waiting.pop_front() else {
            if queue.ending {
                return;
            }
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(queue);
        let result = carry_out(order);
        queue = shared.queue();
        queue.done.push(Done { token: order.token, result });
        // Full is impossible: it counts to 2^64.
        let _ = shared.told.write(1);
    }
}

fn carry_out(Order { file, call, .. }: Order) -> io::Result<usize> {
    loop {
        let result = match call {
            Call::Read { vectors, offset } => {
                let offset = signed(offset)?;
                // SAFETY: the vectors describe parts of frames that are lent to this thread.
                unsafe { libc::preadv(file, vectors.list.as_ptr(), vectors.count(), offset) }
            }
            Call::Write { vectors, offset, durable } => {
                let (offset, flags) = (signed(offset)?, if durable { libc::RWF_DSYNC } else { 0 });
                // SAFETY: as above; the kernel only reads them.
                unsafe { libc::pwritev2(file, vectors.list.as_ptr(), vectors.count(), offset, flags) }
            }
            Call::Sync { data } => code(sync(file, data)),
            Call::Discard { offset, length } => code(punch(file, signed(offset)?, signed(length)?)),
        };
        match usize::try_from(result) {
            Ok(bytes) => return Ok(bytes),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn sync(file: RawFd, data: bool) -> libc::c_int {
    let call = if data { libc::fdatasync } else { libc::fsync };
    // SAFETY: neither fdatasync(2) nor fsync(2) touches memory of ours.
    unsafe { call(file) }
}

fn punch(file: RawFd, offset: i64, length: i64) -> libc::c_int {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate(2) touches no memory.
    unsafe { libc::fallocate(file, mode, offset, length) }
}

fn code(code: libc::c_int) -> isize {
    code as isize
}
