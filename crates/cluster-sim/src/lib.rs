//! Whole histories of a cluster in one process: the engines the daemon runs, the consensus library
//! included, on disks that lose what was not synced, over a network that drops, delays, doubles and
//! reorders, on hosts that crash, stop and lose their power, with programs and domains that use
//! locks all the while. One seed is one history.
#![forbid(unsafe_code)]

pub mod check;
mod clients;
mod clock;
mod conffile;
mod count;
mod daemon;
mod disk;
mod domains;
mod faults;
mod heal;
mod host;
mod net;
mod operator;
mod plan;
mod power;
mod programs;
mod random;
mod script;
mod sessions;
mod steering;
mod trace;
mod world;

pub use check::Violation;
pub use count::Counts;
pub use plan::{Faults, Plan};
pub use world::World;
