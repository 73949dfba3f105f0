//! What the control socket tells about fencing.

use serde::{Deserialize, Serialize};

/// Who waits to be fenced, who was, and what each node can be fenced with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fences {
    pub pending: Vec<FenceOperation>,
    /// Oldest first.
    pub history: Vec<FenceOperation>,
    pub nodes: Vec<FenceNode>,
}

/// One fencing of one run of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceOperation {
    /// Unique in the cluster's life; what an acknowledgement names.
    pub operation: u64,
    /// The node's name, and which run of it: 0 for one the cluster has never seen.
    pub node: String,
    pub incarnation: u64,
    /// Who asked and why.
    pub who: String,
    pub why: String,
    /// Seconds since 1970.
    pub asked: u64,
    /// How often every method was tried in vain.
    pub attempts: u32,
    /// The last thing that happened: `agent fence_x exited 1: ...`, `waiting 4 s for the watchdog`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Seconds since 1970 of its end, and how it ended; absent while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FenceEnd>,
}

/// How a fencing ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FenceEnd {
    /// A method's agents said so: the method, and the node that ran them.
    Agent { method: String, by: String },
    /// The bound has passed after which the host's watchdog has certainly reset it.
    Watchdog,
    /// A person said so.
    Acknowledged { who: String },
    /// The node came back in another boot, so the former one is over.
    Returned,
    /// The node came back before anything was done to it, or nothing needs it any more.
    Void,
}

/// What a node can be fenced with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceNode {
    pub node: String,
    /// `method: device (agent)`, in the order in which they are tried.
    pub methods: Vec<String>,
    /// Seconds after which its watchdog has certainly reset it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<u64>,
    /// Its watchdog is armed, because it holds something.
    pub armed: bool,
    /// Fenced too often: it is kept out until `cluster-fence unfence`.
    pub held: bool,
    /// The last test of its devices: seconds since 1970, whether it went well, what was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<FenceTested>,
}

/// A test of a node's fence devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceTested {
    pub time: u64,
    pub good: bool,
    /// Whether it was power-cycled, not only asked for its status.
    pub really: bool,
    pub what: String,
}
