//! What is to be done to a node, and what came of it.

use cluster_conf::{Device, Method};

/// One task for whoever runs agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Chosen by whoever asks, handed back with the [`End`].
    pub number: u64,
    /// The node's name in cluster.conf, told to agents as `nodename`.
    pub node: String,
    pub action: Action,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make sure that the node is off at least once: methods in order, the first that succeeds
    /// is enough; all devices of a method have to succeed.
    Fence(Vec<Method>),
    /// Ask the devices for the node's state; with `true`, power-cycle it by the first method.
    Test(Vec<Method>, bool),
    /// Let the node's power or access on again.
    Unfence(Vec<Device>),
}

/// How it ended. Anything but [`End::Done`] means that nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Done and verified by the agents of this method; what they said, for people.
    Done { method: String, what: String },
    /// No method succeeded: why not, of each.
    Failed { what: String },
}
