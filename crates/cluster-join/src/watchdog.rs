//! The watchdog device: open means armed, a write feeds it, `V` before closing disarms it
//! (kernel `Documentation/watchdog/watchdog-api.rst`).
//!
//! A thread of its own feeds it, four times in its timeout, up to the moment the engine allowed
//! last and not one byte later: neither a slow disk nor a long turn of the main loop resets a
//! host that has a lease, and a main loop that hangs does not keep alive one that has none.
//! Whoever stands in for the device in a test, a FIFO, is fed the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};
use nines_sys::watchdog as device;
use nix::libc::O_NONBLOCK;

use crate::clock::Clock;

/// An armed watchdog. Dropped without [`Guard::disarm`] it stays armed, as it does when the
/// process dies.
#[derive(Debug)]
pub struct Guard {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    until_ms: u64,
    close: bool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the timeout and makes sure that the device keeps what it promises. What is not a
/// watchdog at all is not asked.
fn prepare(file: &File, timeout: Duration) -> anyhow::Result<()> {
    let Some(options) = device::options(file)? else { return Ok(()) };
    ensure!(
        options & device::MAGIC_CLOSE != 0,
        "its driver disarms it when its process dies (no magic close): load it with nowayout=1 or use another"
    );
    let wanted = i32::try_from(timeout.as_secs())?;
    let set = match device::set_timeout(file, wanted) {
        Ok(set) => set,
        Err(_) => device::timeout(file).context("neither sets nor tells its timeout")?,
    };
    ensure!(set <= wanted, "it resets after {set} seconds, cluster.conf says {wanted}");
    Ok(())
}

impl Guard {
    /// Opens the device and feeds it up to `until_ms` of `clock`.
    ///
    /// # Errors
    /// It is not there, is in use, or does not do what is needed of it. It is not left armed then.
    pub fn arm(path: &Path, timeout: Duration, clock: Clock, until_ms: u64, realtime: bool) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        // A FIFO that nobody reads is an error, not something to wait for.
        let file = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path).with_context(|| name.clone())?;
        if let Err(error) = prepare(&file, timeout) {
            close(file).with_context(|| name.clone())?;
            return Err(error.context(name));
        }
        let shared =
            Arc::new(Shared { orders: Mutex::new(Orders { until_ms, close: false }), changed: Condvar::new() });
        let orders = Arc::clone(&shared);
        let path = PathBuf::from(path);
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                if realtime && let Err(error) = nines_sys::proc::run_realtime() {
                    nines_cli::log(format_args!("the watchdog is fed without real-time scheduling: {error}"));
                }
                feed(file, &path, timeout / 4, clock, &orders)
            })
            .context("no thread for the watchdog")?;
        Ok(Self { shared, thread })
    }

    /// Feeds it up to `until_ms`.
    pub fn feed_until(&self, until_ms: u64) {
        self.shared.orders().until_ms = until_ms;
    }

    /// Closes it.
    ///
    /// # Errors
    /// The device does not take the `V`: it goes on and will reset this host.
    pub fn disarm(self) -> anyhow::Result<()> {
        self.shared.orders().close = true;
        self.shared.changed.notify_all();
        match self.thread.join() {
            Ok(result) => result.context("disarming it"),
            Err(_) => anyhow::bail!("the thread that feeds it has died"),
        }
    }
}

fn close(mut file: File) -> io::Result<()> {
    file.write_all(b"V")
}

fn feed(mut file: File, path: &Path, period: Duration, clock: Clock, shared: &Shared) -> io::Result<()> {
    let mut well = true;
    let mut orders = shared.orders();
    loop {
        if orders.close {
            return close(file);
        }
        if clock.ms() < orders.until_ms {
            // Without the lock: a device that hangs must not hang the main loop.
            drop(orders);
            let fed = file.write_all(&[0]);
            if let Err(error) = &fed
                && well
            {
                nines_cli::log(format_args!("{}: not fed: {error}", path.display()));
            }
            well = fed.is_ok();
            orders = shared.orders();
            if orders.close {
                continue;
            }
        }
        orders = shared.changed.wait_timeout(orders, period).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::io::Read;

    fn fifo() -> (tempfile::TempDir, PathBuf, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
        (directory, path, reader)
    }

    fn read(reader: &mut File) -> Vec<u8> {
        let mut bytes = [0; 64];
        reader.read(&mut bytes).map_or_else(|_| Vec::new(), |length| bytes[..length].to_vec())
    }

    #[test]
    fn it_is_fed_while_it_may_be_and_closed_with_a_v() {
        let (_directory, path, mut reader) = fifo();
        let clock = Clock::start();
        let guard = Guard::arm(&path, Duration::from_millis(40), clock, u64::MAX, false).unwrap();
        let mut fed = 0;
        while fed < 3 {
            fed += read(&mut reader).iter().filter(|byte| **byte == 0).count();
            thread::yield_now();
        }
        guard.disarm().unwrap();
        assert_eq!(read(&mut reader).last(), Some(&b'V'));
    }

    #[test]
    fn it_starves_when_the_time_is_over() {
        let (_directory, path, mut reader) = fifo();
        let clock = Clock::start();
        // The moment has passed before the thread starts.
        let guard = Guard::arm(&path, Duration::from_millis(4), clock, 0, false).unwrap();
        guard.feed_until(0);
        let until = std::time::Instant::now() + Duration::from_millis(50);
        while std::time::Instant::now() < until {
            assert_eq!(read(&mut reader), b"");
            thread::yield_now();
        }
        guard.feed_until(u64::MAX);
        while read(&mut reader).is_empty() {
            thread::yield_now();
        }
        guard.disarm().unwrap();
    }

    #[test]
    fn what_is_not_there_or_not_read_cannot_be_armed() {
        let (_directory, path, reader) = fifo();
        let missing = Guard::arm(&path.with_extension("no"), Duration::from_secs(5), Clock::start(), 0, false);
        assert!(format!("{:#}", missing.unwrap_err()).contains("No such file"));
        drop(reader);
        let unread = Guard::arm(&path, Duration::from_secs(5), Clock::start(), 0, false);
        assert!(format!("{:#}", unread.unwrap_err()).contains("No such device or address"));
    }
}
