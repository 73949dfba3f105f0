//! Whose log a state directory holds.

use cluster_conf::Conf;
use nines_proto::ctl::FenceEnd;
use serde::{Deserialize, Serialize};

/// `STATE/identity`: written when the directory is first used, and with a higher incarnation at
/// each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    pub cluster: String,
    pub node: u64,
    /// The nodes before the first entry of the cluster's log. Whoever votes later is in the log.
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// A random name for this log, different after the directory was emptied.
    pub store: String,
    pub incarnation: u64,
    /// The directory was found empty while the cluster already had a log: this node must not vote
    /// before it has caught up, since it may have promised to remember what it now does not know.
    #[serde(default)]
    pub catching_up: bool,
    /// The log is of no use any more and is emptied at once, at the next start if need be.
    #[serde(default)]
    pub start_over: bool,
    /// The last time a node of a pair went on alone.
    #[serde(default)]
    pub forced: Forced,
}

/// That a node of a pair went on without the other, which was certainly off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Grows by one each time; 0 = never.
    pub epoch: u64,
    /// The node that went on.
    pub node: u64,
    /// The one that was off, and which run of it.
    pub peer: u64,
    pub incarnation: u64,
    /// How that was known, and the same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FenceEnd>,
    pub how: String,
    /// Who asked for it.
    pub who: String,
}

impl Identity {
    pub const FORMAT: u32 = 1;

    /// Of a node that begins with an empty log called `store`.
    #[must_use]
    pub fn new(conf: &Conf, node: u64, store: String) -> Self {
        let (voters, learners) = conf.formation();
        Self {
            format: Self::FORMAT,
            cluster: conf.name.clone(),
            node,
            voters,
            learners,
            store,
            incarnation: 0,
            catching_up: false,
            start_over: false,
            forced: Forced::default(),
        }
    }

    /// Why this log must not be used as `wanted`, if so.
    #[must_use]
    pub fn conflict(&self, wanted: &Self) -> Option<String> {
        let Self { format, cluster, node, .. } = self;
        if *format != Self::FORMAT {
            return Some(format!("has format {format}, this program knows {}", Self::FORMAT));
        }
        if *cluster != wanted.cluster {
            return Some(format!("belongs to cluster `{cluster}', not `{}'", wanted.cluster));
        }
        if *node != wanted.node {
            return Some(format!("belongs to node {node}, not {}", wanted.node));
        }
        None
    }
}
