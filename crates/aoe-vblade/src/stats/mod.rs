//! What a target has done so far: in all, for the log, and for each client.

mod clients;
mod histogram;

use std::fmt;

use crate::target::Ignored;

pub use clients::Clients;

/// Plain counters; the loop is one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken from the socket.
    pub frames: u64,
    /// Reads carried out.
    pub reads: u64,
    /// Sectors they gave.
    pub sectors_read: u64,
    /// Writes carried out.
    pub writes: u64,
    /// Sectors they took.
    pub sectors_written: u64,
    /// Flushes carried out.
    pub flushes: u64,
    /// Trims carried out.
    pub trims: u64,
    /// Reads, writes and flushes the medium failed.
    pub disk_errors: u64,
    /// Frames that were not AoE, not whole, or too long.
    pub malformed: u64,
    /// Frames for others.
    pub not_ours: u64,
    /// Frames from hosts not on the mask list.
    pub masked: u64,
    /// Frames from hosts that are denied everything.
    pub denied: u64,
    /// Config tests that failed.
    pub tests_failed: u64,
    /// Answers longer than the MTU.
    pub too_long: u64,
}

impl Counters {
    /// Counts a frame that gets no answer.
    pub fn ignored(&mut self, why: Ignored) {
        let counter = match why {
            Ignored::Malformed => &mut self.malformed,
            Ignored::NotOurs => &mut self.not_ours,
            Ignored::Masked => &mut self.masked,
            Ignored::Denied => &mut self.denied,
            Ignored::TestFailed => &mut self.tests_failed,
            Ignored::TooLong => &mut self.too_long,
        };
        *counter += 1;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = [
            ("frames", self.frames),
            ("reads", self.reads),
            ("sectors_read", self.sectors_read),
            ("writes", self.writes),
            ("sectors_written", self.sectors_written),
            ("flushes", self.flushes),
            ("trims", self.trims),
            ("disk_errors", self.disk_errors),
            ("malformed", self.malformed),
            ("not_ours", self.not_ours),
            ("masked", self.masked),
            ("denied", self.denied),
            ("tests_failed", self.tests_failed),
            ("too_long", self.too_long),
        ];
        for (at, (name, value)) in table.into_iter().enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
