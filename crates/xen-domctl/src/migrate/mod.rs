//! Live migration: a domain changes hosts, and runs on exactly one of them whatever breaks.
//!
//! xl carries the memory and suspends, resumes and unpauses the copies; the cluster's lock decides
//! which of them may run. [`source`] and [`target`] are the two ends' decisions, apart from
//! everything that does them, so that every break at every moment can be tried in one process.

mod arrive;
mod depart;
mod handshake;
mod link;
mod message;
mod receive;
mod send;
mod source;
mod sweep;
mod target;
mod transport;
mod waits;
#[cfg(test)]
mod world;

pub use receive::{Options as Receive, receive};
pub use send::{Options as Migrate, migrate};
pub use transport::pipe;

/// TCP port of the receiving daemon: xend's relocation port.
pub const PORT: u16 = 8002;

/// What the cluster says about a domain's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    Ours,
    NotOurs,
    /// There is no answer to be had now, or the answer was lost.
    Unknown(String),
}
