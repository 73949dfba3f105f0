//! Locks: LVM2's own files for the programs of this host, the cluster's for the other hosts, and
//! the hints file LVM2 keeps about devices.

mod cluster;
mod file;
mod hints;

pub use cluster::{Cluster, LvMode, configured};
pub use file::{FileLock, Kind};
pub use hints::Hints;
