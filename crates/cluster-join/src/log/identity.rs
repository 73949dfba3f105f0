//! Whose log a state directory holds.

use serde::{Deserialize, Serialize};

/// `STATE/identity`: written when the directory is first used, and with a higher incarnation at
/// each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub format: u32,
    pub cluster: String,
    pub node: u64,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// A random name for this log, different after the directory was emptied.
    pub store: String,
    pub incarnation: u64,
    /// The directory was found empty while the cluster already had a log: this node must not vote
    /// before it has caught up, since it may have promised to remember what it now does not know.
    #[serde(default)]
    pub catching_up: bool,
}

impl Identity {
    pub const FORMAT: u32 = 1;

    /// Why this log must not be used as `wanted`, if so.
    #[must_use]
    pub fn conflict(&self, wanted: &Self) -> Option<String> {
        let Self { format, cluster, node, voters, learners, .. } = self;
        if *format != Self::FORMAT {
            return Some(format!("has format {format}, this program knows {}", Self::FORMAT));
        }
        if *cluster != wanted.cluster {
            return Some(format!("belongs to cluster `{cluster}', not `{}'", wanted.cluster));
        }
        if *node != wanted.node {
            return Some(format!("belongs to node {node}, not {}", wanted.node));
        }
        if *voters != wanted.voters || *learners != wanted.learners {
            return Some(format!(
                "was made for nodes {}, and cluster.conf now has {}: this version cannot change the nodes of a formed cluster",
                list(voters, learners),
                list(&wanted.voters, &wanted.learners)
            ));
        }
        None
    }
}

fn list(voters: &[u64], learners: &[u64]) -> String {
    let ids = voters.iter().map(u64::to_string);
    ids.chain(learners.iter().map(|id| format!("{id} (no vote)"))).collect::<Vec<_>>().join(", ")
}
