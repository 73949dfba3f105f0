//! The daemon's clock: it never jumps, and it goes on while the host is suspended, so that a
//! lease is over after a suspension however long that seemed to the processes.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::engine::Now;

/// Milliseconds since the daemon started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: u64,
}

/// Milliseconds since the host booted, suspensions included.
fn since_boot() -> u64 {
    // Linux has had this clock since 2.6.39; without any clock nothing is ever due.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let (seconds, nanoseconds) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
        seconds * 1000 + nanoseconds / 1_000_000
    })
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { started: since_boot() }
    }

    #[must_use]
    pub fn ms(self) -> u64 {
        since_boot().saturating_sub(self.started)
    }

    #[must_use]
    pub fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { ms: self.ms(), unix }
    }
}
