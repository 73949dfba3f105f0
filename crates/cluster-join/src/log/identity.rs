//! Whose log a state directory holds.
//!
//! The file is JSON for people to read, and a last line `crc32 XXXXXXXX` over all before it: a digit
//! that changed would make the node another one, or have it forget in which run it is.

use anyhow::{Context as _, ensure};
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

/// The last line of the file whose other lines are these.
fn last_line(text: &[u8]) -> String {
    format!("crc32 {:08x}\n", crc32fast::hash(text))
}

impl Identity {
    pub const FORMAT: u32 = 1;

    /// As its file holds it.
    ///
    /// # Errors
    /// It has no form in JSON.
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        let sum = last_line(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        Ok(bytes)
    }

    /// Reads its file.
    ///
    /// # Errors
    /// It is not what was written.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let length = bytes.len().saturating_sub(last_line(b"").len());
        let (text, sum) = bytes.split_at(length);
        ensure!(sum == last_line(text).as_bytes(), "its last line is not the checksum of the others");
        serde_json::from_slice(text).context("not an identity of this program and version")
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let conf = r#"<cluster name="c" config_version="1"><clusternodes>
            <clusternode name="n1" nodeid="1"/><clusternode name="n2" nodeid="2"/></clusternodes></cluster>"#;
        let mut identity = Identity::new(&Conf::parse("cluster.conf", conf).unwrap(), 2, "5".repeat(32));
        identity.incarnation = 1234;
        identity.forced = Forced { epoch: 3, node: 2, peer: 1, how: "agent".into(), ..Forced::default() };
        identity
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        assert_eq!(Identity::decode(&identity().encode().unwrap()).unwrap(), identity());
    }

    #[test]
    fn an_identity_with_any_bit_changed_is_refused() {
        let bytes = identity().encode().unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Identity::decode(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn an_identity_cut_at_any_length_is_refused() {
        let bytes = identity().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Identity::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_identity_without_a_checksum_is_refused() {
        assert!(Identity::decode(&serde_json::to_vec_pretty(&identity()).unwrap()).is_err());
    }
}
