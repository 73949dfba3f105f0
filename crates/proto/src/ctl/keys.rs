//! What the control socket tells about keys, the audit log and configurations.

use serde::{Deserialize, Serialize};

/// Longest key and longest value, in bytes.
pub const MAX_KEY: usize = 255;
pub const MAX_VALUE: usize = 16 << 10;

/// Whose a key is, and so when it vanishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOwner {
    /// Nobody's: it stays until it is deleted.
    #[default]
    Cluster,
    /// This host's: it goes with the host's boot, once that is certainly over.
    Host,
    /// This connection's.
    Connection,
}

/// A key as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    pub key: String,
    pub value: String,
    /// Of its last change; revisions grow with every change of any key.
    pub revision: u64,
    /// The node it belongs to, for keys of hosts and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    pub key: String,
    pub revision: u64,
    /// Absent when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A decision of consequence, committed before its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Grows by one with each record.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// `joined`, `lost`, `fence-asked`, `fenced`, `fence-failed`, `recovered`, `configured`, `left`,
    /// `removed`, `forced`, `held`, ...
    pub kind: String,
    /// What it is about: a node's name, mostly.
    pub subject: String,
    /// Who decided or asked: `leader n1`, `uid 0 on n2`.
    pub who: String,
    pub why: String,
}

/// One configuration the cluster had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfEntry {
    pub version: u32,
    /// Of the text, hexadecimal.
    pub hash: String,
    /// Seconds since 1970.
    pub time: u64,
    pub who: String,
    /// The text itself, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What became of an update on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfStored {
    pub node: String,
    /// It has the new version on its disk.
    pub stored: bool,
    /// Why not: `not a member`, `lost`, the disk's error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}
