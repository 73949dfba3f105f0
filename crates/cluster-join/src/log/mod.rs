//! The consensus log on disk. Every write is one checksummed batch, synced before anything that
//! depends on it is sent or answered; a batch whose write a crash interrupted is cut off at the next
//! start, anything else that does not check out is refused, the last batch included (`batch.rs` has
//! the argument).
//!
//! ```text
//! STATE/identity        whose log this is (JSON and a checksum)
//! STATE/snapshot-INDEX  the replicated state at INDEX
//! STATE/log-NUMBER      batches; NUMBER grows each time the log is rewritten shorter
//! ```

mod batch;
mod files;
mod identity;
mod snapshot;
mod store;

pub use batch::{Damage, HEADER, Recovered, SECTOR, encode as encode_batch, header, recover};
pub use files::Files;
pub use identity::{Forced, Identity};
pub use snapshot::{decode as decode_snapshot, encode as encode_snapshot};
pub use store::{Loaded, Store};

/// What the engine wants on disk before it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Append to the log.
    Append(Vec<u8>),
    /// Put a snapshot and a new log in place of the present ones, the snapshot first.
    Replace { index: u64, snapshot: Vec<u8>, log: Vec<u8> },
    /// Put a new log in place of everything.
    StartOver { log: Vec<u8> },
}
