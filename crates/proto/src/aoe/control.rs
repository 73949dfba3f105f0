//! The control socket of `aoe-vblade`: one JSON object a line in each direction, an answer for each
//! request, in order. aoe-vblade(8) shows them.

use super::statistics;
use serde::{Deserialize, Serialize};

/// Where targets listen by custom, one socket each; `aoe-stat --target` looks here.
pub const FOLDER: &str = "/run/aoe-vblade";

/// Longest request, in bytes; who sends more without a newline is hung up on.
pub const MAX_REQUEST: usize = 4096;

/// What a client asks for. An export is named as `e7.3`; all of them are meant when none is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What is exported, and to whom.
    Exports,
    /// What has been asked for and how it was served.
    Statistics {
        /// Of which export; of all of them when none is named.
        #[serde(default)]
        export: Option<String>,
    },
    /// Answer and carry out nothing more that this host sends. The answer comes when nothing of
    /// it touches a disk any more.
    Deny {
        /// Which export; all of them, those that a table adds later too, when none is named.
        export: Option<String>,
        /// The host.
        mac: String,
    },
    /// Take that back.
    Admit {
        /// Which export.
        export: Option<String>,
        /// The host.
        mac: String,
    },
    /// Change the list of those who are served; an empty list serves everybody.
    Mask {
        /// Which export.
        export: Option<String>,
        /// Hosts to add.
        #[serde(default)]
        add: Vec<String>,
        /// Hosts to take off it.
        #[serde(default)]
        delete: Vec<String>,
    },
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// To [`Request::Exports`].
    Exports {
        /// By address.
        exports: Vec<Export>,
    },
    /// To [`Request::Statistics`].
    Statistics {
        /// By address.
        exports: Vec<statistics::Export>,
        /// Every interface there is.
        interfaces: Vec<statistics::Interface>,
    },
    /// Refused or not understood, and nothing has changed; or what has changed cannot be kept.
    Error {
        /// Why.
        error: String,
    },
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Such as `e7.3`.
    pub export: String,
    /// The file or block device.
    pub path: String,
    /// Where it is served.
    pub interfaces: Vec<String>,
    /// Its size, in sectors of 512 bytes.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Writes are answered before they are durable.
    pub write_back: bool,
    /// Messages it says it can queue.
    pub buffers: u16,
    /// Who is served; everybody when empty.
    pub mask: Vec<String>,
    /// Who has reserved it.
    pub reserved: Vec<String>,
    /// Who is denied.
    pub denied: Vec<String>,
    /// The config string, in hexadecimal.
    pub config: String,
}
