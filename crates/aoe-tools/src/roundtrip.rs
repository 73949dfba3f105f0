//! The driver's estimate of a device's round trip, which it sends lost frames again by.

use std::fs;
use std::time::Duration;

use crate::paths;

/// Smoothed mean and deviation, as debugfs shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// What an answer takes.
    pub mean: Duration,
    /// How much it differs from that.
    pub deviation: Duration,
}

impl RoundTrip {
    /// What the driver thinks of the device now, or `None` when debugfs does not say.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(paths::debug(name)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()?.parse().ok().map(Duration::from_micros)
        };
        Some(Self { mean: number("rttavg:")?, deviation: number("rttdev:")? })
    }

    /// How long a lost frame waits until it is sent again.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.mean.saturating_mul(2).saturating_add(self.deviation.saturating_mul(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_just_opened_waits_fifteen_seconds() {
        let fresh = RoundTrip::parse("rttavg: 249024 rttdev: 1781223\nnskbpool: 1\n").unwrap();
        assert_eq!(fresh.patience().as_millis(), 14747);
        let warm = RoundTrip::parse("rttavg: 230 rttdev: 12\n").unwrap();
        assert_eq!(warm.patience().as_micros(), 556);
        for bad in ["", "rttavg: x rttdev: 1", "rttavg: 1", "rttavg: -1 rttdev: 2"] {
            assert_eq!(RoundTrip::parse(bad), None, "{bad}");
        }
    }
}
