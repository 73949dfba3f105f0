//! What a target counts, as its control socket tells it.

use serde::{Deserialize, Serialize};

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Such as `e7.3`.
    pub export: String,
    /// Writes are answered before they are durable.
    pub write_back: bool,
    /// Frames for it.
    pub frames: u64,
    /// Reads, writes and flushes the medium failed.
    pub disk_errors: u64,
    /// Frames that were not whole, or from an address no host can have.
    pub malformed: u64,
    /// Frames from hosts not on the mask list.
    pub masked: u64,
    /// Frames from hosts that are denied everything.
    pub denied: u64,
    /// Config tests that failed.
    pub tests_failed: u64,
    /// Answers longer than the MTU.
    pub too_long: u64,
    /// All clients together.
    pub all: Client,
    /// Each client.
    pub clients: Vec<Client>,
}

/// One client of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its address; `others` for those beyond the first 64, `all` for all of them.
    pub client: String,
    /// Reads carried out.
    pub reads: u64,
    /// What they gave.
    pub bytes_read: u64,
    /// Writes carried out.
    pub writes: u64,
    /// What they took.
    pub bytes_written: u64,
    /// Flushes carried out.
    pub flushes: u64,
    /// Trims carried out.
    pub trims: u64,
    /// Requests that need no disk.
    pub others: u64,
    /// What the medium failed.
    pub errors: u64,
    /// Requests answered with an error for what they asked.
    pub refused: u64,
    /// Requests that repeat one of the same client that is under way.
    pub duplicates: u64,
    /// Frames that got no answer.
    pub ignored: u64,
    /// Requests under way.
    pub queue: u32,
    /// The most there were.
    pub queue_most: u32,
    /// How long reads took, from the taking of the frame to the sending of the answer.
    pub read_latency: Latency,
    /// How long writes, flushes and trims took.
    pub change_latency: Latency,
}

/// Times, in nanoseconds. Percentiles are a sixteenth off at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many there are.
    pub count: u64,
    /// Half of them are no longer.
    pub p50_ns: u64,
    /// 99 of 100 are no longer.
    pub p99_ns: u64,
    /// 999 of 1000 are no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// Switched on, with a carrier.
    pub running: bool,
    /// The largest payload of a frame; 0 when the interface is gone.
    pub mtu: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames the interface did not take.
    pub unsent: u64,
    /// Frames the kernel dropped because the socket's buffer was full.
    pub dropped: u64,
    /// Frames that are no AoE.
    pub malformed: u64,
}
