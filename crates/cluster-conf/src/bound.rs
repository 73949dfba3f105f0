//! How long until a host that is no longer a member has certainly reset itself.

use std::time::Duration;

use crate::Conf;

/// How late the petting process may notice that its lease is over: scheduling and disk.
const DECIDE: Duration = Duration::from_millis(1000);
/// From the watchdog's end to a machine that writes nothing more.
const RESET: Duration = Duration::from_millis(1000);
/// By how much a clock may run wrong, parts per million.
const DRIFT_PPM: u32 = 1000;

/// The parts of the bound: lease, grace, decision, watchdog, reset and clock drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// How long one proof of membership lasts.
    pub lease: Duration,
    pub grace: Duration,
    pub decide: Duration,
    pub watchdog: Duration,
    pub reset: Duration,
}

impl Bound {
    /// The bound of hosts under `conf`; none without a `<watchdog>`.
    #[must_use]
    pub fn of(conf: &Conf) -> Option<Self> {
        let watchdog = conf.watchdog.as_ref()?;
        Some(Self {
            lease: conf.token,
            grace: watchdog.quorum_grace,
            decide: DECIDE,
            watchdog: watchdog.timeout,
            reset: RESET,
        })
    }

    /// Until the host is dead, counted from when the leader received the last request of it for a
    /// lease that it granted.
    #[must_use]
    pub fn after_lease(&self) -> Duration {
        let sum = self.lease + self.grace + self.decide + self.watchdog + self.reset;
        sum + sum * DRIFT_PPM / 1_000_000
    }

    /// The same, counted from when the present leader was elected, since the one before may have
    /// granted leases of its own up to the end of its own.
    #[must_use]
    pub fn after_election(&self) -> Duration {
        self.after_lease() + self.lease + self.lease * DRIFT_PPM / 1_000_000
    }
}
