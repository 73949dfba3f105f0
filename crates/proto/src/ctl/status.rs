//! What the control socket tells about members and locks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Mode;

/// The cluster as one daemon sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`super::VERSION`].
    pub version: u32,
    /// The cluster's name and the `config_version` of cluster.conf.
    pub cluster: String,
    pub config_version: u32,
    /// This host's name in cluster.conf.
    pub node: String,
    pub quorate: bool,
    /// Why not, and what would change that; absent when quorate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Votes of present members, and how many a majority takes.
    pub votes: u32,
    pub votes_needed: u32,
    pub votes_expected: u32,
    /// The node that orders changes now, if any is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The consensus term and the last log entry this host has applied.
    pub term: u64,
    pub applied: u64,
    /// What the cluster waits for or wants done, most urgent first: what, and what to type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Refused traffic and other events since this daemon started, by what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Every node of cluster.conf, by node id.
    pub members: Vec<Member>,
}

/// Something that waits, or is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub what: String,
    /// The command that would change it, if one would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// One node of cluster.conf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: u64,
    pub name: String,
    /// Address and port of its session with us.
    pub address: String,
    pub votes: u32,
    pub state: MemberState,
    /// Seconds since 1970 at which it took this state; absent when it was never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Grows each time the node joins; 0 when it never did.
    pub incarnation: u64,
    /// Its part in the consensus.
    #[serde(default)]
    pub role: Role,
    /// Whether each network to it carries something, in cluster.conf's order; empty for this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkState>,
    /// Which boot of the machine that is (`/proc/sys/kernel/random/boot_id`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
}

/// A node's part in the consensus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Voter,
    /// Follows without being counted: for good, or until it has caught up.
    Learner,
    /// In cluster.conf, and not entered yet.
    None,
}

/// One of the networks to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    pub address: String,
    pub up: bool,
    /// Seconds since 1970 at which it became so; absent when it was never up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// Joined and answering.
    Member,
    /// Joined once, silent now; its locks stay until it returns or is fenced.
    Lost,
    /// In cluster.conf, not seen since the cluster was formed.
    Absent,
    /// It left in an orderly way and holds nothing.
    Left,
    /// Lost, and certainly off: what it held is free.
    Fenced,
    /// There, and not let in; the status's notes say why.
    Held,
}

/// One resource with a holder or a waiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    pub resource: String,
    pub granted: Vec<LockHolder>,
    /// In the order they will be served.
    pub waiting: Vec<LockHolder>,
}

/// Who holds or waits for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The host's name in cluster.conf.
    pub node: String,
    pub mode: Mode,
    /// Of the grant; 0 while waiting.
    pub generation: u64,
    /// Seconds since 1970 of the grant, or of the request while waiting.
    pub since: u64,
    pub sticky: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The host this lock is being offered to, with the offer's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_to: Option<(String, u64)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}
