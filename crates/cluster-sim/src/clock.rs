//! What a host's clocks show. True time is microseconds since the history began.

use cluster_join::engine::Now;

pub const MS: u64 = 1000;
pub const SECOND: u64 = 1_000_000;

/// Seconds since 1970 at which every history begins.
const EPOCH: u64 = 1_700_000_000;

/// The clocks of one host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// How much faster than true time the host counts, in parts per million.
    pub drift_ppm: i64,
    /// By how many seconds its wall clock is wrong.
    pub wall: i64,
}

impl Clock {
    fn scaled(span: u64, ppm: i64) -> u64 {
        let rate = 1_000_000_i128 + i128::from(ppm);
        u64::try_from(i128::from(span) * rate / 1_000_000).unwrap_or_default()
    }

    /// What a daemon started at `started` reads at `time`.
    #[must_use]
    pub fn read(&self, started: u64, time: u64) -> Now {
        let ms = Self::scaled(time - started, self.drift_ppm) / MS;
        Now { ms, unix: (EPOCH + time / SECOND).saturating_add_signed(self.wall) }
    }

    /// True time at which a daemon started at `started` first reads `ms`.
    #[must_use]
    pub fn when(&self, started: u64, ms: u64) -> u64 {
        let rate = 1_000_000_i128 + i128::from(self.drift_ppm);
        let span = (i128::from(ms) * i128::from(MS) * 1_000_000 + rate - 1) / rate;
        started.saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_true_time_has() {
        for drift_ppm in [-1000, -7, 0, 3, 1000] {
            let clock = Clock { drift_ppm, wall: 0 };
            for ms in [0, 1, 50, 999, 123_456] {
                let at = clock.when(777, ms);
                assert!(clock.read(777, at).ms >= ms, "{drift_ppm} {ms}");
                assert!(ms == 0 || clock.read(777, at - 2).ms < ms, "{drift_ppm} {ms}");
            }
        }
    }
}
