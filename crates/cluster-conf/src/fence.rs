//! What cluster.conf says about fencing: devices, methods, delays, the watchdog.

use std::time::Duration;

/// One device of a method: what the agent is told, `<fencedevice>` and `<device>` merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The fencedevice's name.
    pub name: String,
    /// The program, a name without directory, such as `fence_ipmilan`.
    pub agent: String,
    /// Every other attribute in the order of the file, the device's own in place of the
    /// fencedevice's of the same name.
    pub attributes: Vec<(String, String)>,
}

/// A way to fence a node: all of its devices have to succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    pub name: String,
    pub devices: Vec<Device>,
}

/// `<fence_daemon>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceDaemon {
    /// How long a node that was never heard of may take to come before it is fenced, counted from
    /// the cluster's first majority; `None` waits for ever.
    pub post_join_delay: Option<Duration>,
    /// Between the loss of a node and its fencing.
    pub post_fail_delay: Duration,
    /// Nodes never heard of are taken for off.
    pub clean_start: bool,
    /// Between two rounds of methods that all failed.
    pub override_time: Duration,
}

impl Default for FenceDaemon {
    fn default() -> Self {
        Self {
            post_join_delay: Some(Duration::from_secs(6)),
            post_fail_delay: Duration::ZERO,
            clean_start: false,
            override_time: Duration::from_secs(3),
        }
    }
}

/// `<watchdog>`: hosts reset themselves when they are no longer members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// The device file, `/dev/watchdog` of the driver `xen_wdt` on Xen.
    pub device: String,
    /// From the last sign of life to the reset, whole seconds.
    pub timeout: Duration,
    /// How long a host without a majority stays frozen before it lets the watchdog run out.
    pub quorum_grace: Duration,
}
