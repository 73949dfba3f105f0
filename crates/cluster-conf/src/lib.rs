//! cluster.conf: what it says, whether it can work, and the times that follow from it.
#![forbid(unsafe_code)]

pub mod bound;
pub mod check;
pub mod conf;
pub mod diff;
pub mod edit;
pub mod fence;
mod reader;
pub mod schema;
pub mod secret;

pub use bound::Bound;
pub use conf::{ClusterNode, Conf, ConfError, MAX_FILE, MAX_NODES, MAX_VOTERS};
pub use edit::{hash, without};
pub use fence::{Device, FenceDaemon, Method, Watchdog};
pub use secret::without_secrets;
