//! Every kernel interface that needs unsafe code, one file each, so that one folder holds all
//! there is to review. Everything else in the workspace forbids `unsafe`.

#[cfg(feature = "blk")]
pub mod blk;
#[cfg(feature = "disk")]
pub mod disk;
#[cfg(feature = "dm")]
pub mod dm;
pub mod fds;
#[cfg(feature = "frames")]
pub mod frames;
#[cfg(feature = "packet")]
pub mod packet;
pub mod proc;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod term;
#[cfg(feature = "watchdog")]
pub mod watchdog;
