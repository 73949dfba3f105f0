//! Requests and answers on the control socket.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    AuditRecord, ConfEntry, ConfStored, FenceTested, Fences, KeyEntry, KeyEvent, KeyOwner, LockHolder, LockState,
    Status,
};

/// One line from a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client, echoed in the answer.
    pub id: u64,
    #[serde(flatten)]
    pub request: Request,
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Members, quorum and what the cluster waits for. Answered by any daemon, quorate or not.
    Status,
    /// Every lock held or waited for, as this host last saw it.
    Locks,
    /// Take a lock. Answered with its generation once granted.
    Lock {
        resource: String,
        mode: Mode,
        /// Milliseconds to wait: absent = for ever, 0 = refuse at once when it is in use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
        /// The lock belongs to this host and its boot, not to this connection. Asking again for
        /// a sticky lock this host holds in the same mode answers with the same generation.
        #[serde(default)]
        sticky: bool,
        /// A sticky lock's name among those of this host: locks of different sessions are
        /// different owners'.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Shown to whoever is refused because of this lock: a pid and a command, say.
        #[serde(default)]
        note: String,
    },
    /// Change the mode of a lock this connection (or, with `sticky`, this host) holds.
    Convert {
        resource: String,
        mode: Mode,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
        #[serde(default)]
        sticky: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// The lock's value block, written when a holder in PW or EX gives up that mode.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// Give a lock back.
    Unlock {
        resource: String,
        #[serde(default)]
        sticky: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// As for `convert`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// Offer a sticky lock to the host `to`. It stays ours until that host accepts.
    Offer { resource: String, to: String },
    /// Become the owner of a sticky lock offered to this host. The mode stays, the generation
    /// grows.
    Accept { resource: String, offer: u64 },
    /// Withdraw an offer. Fails with [`ErrorKind::NotHeld`] when it was accepted before.
    Retract { resource: String, offer: u64 },
    /// Withdraw the call `call` of this connection, which waits: it is answered with
    /// [`ErrorKind::Cancelled`] unless it was granted before.
    Cancel { call: u64 },
    /// Set a key. `if_revision` is what its revision must be now, 0 = there must be no such key.
    Put {
        key: String,
        value: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
        #[serde(default)]
        owner: KeyOwner,
    },
    /// Delete a key.
    Delete {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
    },
    /// A key's value. `stale` answers from what this host has seen, quorate or not.
    Get {
        key: String,
        #[serde(default)]
        stale: bool,
    },
    /// All keys that begin with `prefix`.
    Keys {
        prefix: String,
        #[serde(default)]
        stale: bool,
    },
    /// The changes of keys that begin with `prefix` behind revision `after`, as soon as there is
    /// one; refused with [`ErrorKind::Gone`] when some of them are no longer kept.
    Watch { prefix: String, after: u64 },
    /// Audit records behind number `after`; with `wait`, as soon as there is one.
    Log {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        wait: bool,
    },
    /// Fencing: pending, past, and what each node can be fenced with.
    Fences,
    /// Have a node fenced. Answered when it has happened.
    Fence { node: String, why: String },
    /// Say that the run `incarnation` of a node is certainly off, for the pending operation
    /// `operation`. `newest` is for a node that starts alone: its own log is the newest there is.
    FenceAck {
        node: String,
        operation: u64,
        incarnation: u64,
        #[serde(default)]
        newest: bool,
    },
    /// Ask a node's fence devices for its status; `really` has them switch it off and on.
    FenceTest {
        node: String,
        #[serde(default)]
        really: bool,
    },
    /// Run a node's unfence devices and let it join again where it was held.
    Unfence { node: String },
    /// The configuration, or the one of `version` if it is still kept.
    Conf {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
    /// The configurations that are kept, oldest first, without their texts.
    ConfHistory,
    /// Make this text the configuration. Answered when every member has it on its disk.
    ConfUpdate { text: String },
    /// Leave the cluster in an orderly way: nobody fences this host. `remove` takes it out of the
    /// configuration as well, `force` gives back what it holds first. The daemon ends.
    Leave {
        #[serde(default)]
        remove: bool,
        #[serde(default)]
        force: bool,
    },
}

impl Request {
    /// Whether this changes nothing, so that who may look may ask it.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Locks
                | Self::Get { .. }
                | Self::Keys { .. }
                | Self::Watch { .. }
                | Self::Log { .. }
                | Self::Fences
                | Self::Conf { .. }
                | Self::ConfHistory
                | Self::Cancel { .. }
        )
    }
}

/// One line to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The call's id; 0 for a line that could not be read as a call.
    pub id: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A [`Result`] under the keys `ok` and `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok(Value),
    Error(Failure),
}

impl From<Result<Value, Failure>> for Outcome {
    fn from(result: Result<Value, Failure>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(failure) => Self::Error(failure),
        }
    }
}

impl From<Outcome> for Result<Value, Failure> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(failure) => Err(failure),
        }
    }
}

/// What a call was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Status(Box<Status>),
    Locks(Vec<LockState>),
    /// A lock is held; larger generations were granted later.
    Granted {
        generation: u64,
        /// The resource's value block: 64 hexadecimal digits, and whether it can be trusted: not
        /// after a holder in PW or EX died.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<(String, bool)>,
    },
    /// The offer's number, for `accept` and `retract`.
    Offered {
        offer: u64,
    },
    /// A key was changed.
    Revision {
        revision: u64,
    },
    /// A key, if there is one, at this revision of the key space.
    Key {
        revision: u64,
        entry: Option<KeyEntry>,
    },
    Keys {
        revision: u64,
        entries: Vec<KeyEntry>,
    },
    /// Go on watching behind `revision`.
    Events {
        revision: u64,
        events: Vec<KeyEvent>,
    },
    Log(Vec<AuditRecord>),
    Fences(Fences),
    /// The fencing that was asked for has been done.
    Fenced {
        operation: u64,
    },
    Tested(FenceTested),
    Conf(ConfEntry),
    ConfHistory(Vec<ConfEntry>),
    Updated {
        version: u32,
        nodes: Vec<ConfStored>,
    },
    /// Done, nothing to tell.
    Done {},
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: ErrorKind,
    /// For people: the object and the cause.
    pub message: String,
    /// Who is in the way, for [`ErrorKind::Busy`] and [`ErrorKind::Timeout`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<LockHolder>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Kinds of refusal a program acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The line is not a call, or a field is out of range.
    Invalid,
    /// Fewer members than a majority: nothing is granted until that changes.
    Inquorate,
    /// The lock is in use and the caller would not wait.
    Busy,
    /// The time to wait has passed.
    Timeout,
    /// The lock or offer named is not the caller's.
    NotHeld,
    /// The daemon is stopping.
    Stopping,
    /// The caller may look but not steer.
    Denied,
    /// The call was cancelled.
    Cancelled,
    /// A key has another revision, or a configuration another version, than the caller expected.
    Changed,
    /// What was asked for is no longer kept.
    Gone,
    /// No such key, node, version or operation.
    Unknown,
    /// The holder would wait for itself.
    Deadlock,
}

/// Lock modes, weakest first; the VMS lock manager's names and numbers (kernel `dlmconstants.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Null: a placeholder compatible with everything.
    Nl = 0,
    /// Concurrent read.
    Cr = 1,
    /// Concurrent write.
    Cw = 2,
    /// Protected read: readers, no writer.
    Pr = 3,
    /// Protected write: one writer, concurrent readers.
    Pw = 4,
    /// Exclusive.
    Ex = 5,
}

impl Mode {
    pub const ALL: [Self; 6] = [Self::Nl, Self::Cr, Self::Cw, Self::Pr, Self::Pw, Self::Ex];

    /// Whether two holders may have these modes at once.
    #[must_use]
    pub fn compatible(self, other: Self) -> bool {
        let (weak, strong) = if self <= other { (self, other) } else { (other, self) };
        match strong {
            Self::Nl | Self::Cr => true,
            Self::Cw => weak != Self::Pr,
            Self::Pr => weak != Self::Cw,
            Self::Pw => weak <= Self::Cr,
            Self::Ex => weak == Self::Nl,
        }
    }

    /// Whether a holder that goes from `self` to `to` gives up rights only, so that the change
    /// never has to wait.
    #[must_use]
    pub fn is_down_conversion_to(self, to: Self) -> bool {
        to < self && !(self == Self::Pr && to == Self::Cw)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nl => "NL",
            Self::Cr => "CR",
            Self::Cw => "CW",
            Self::Pr => "PR",
            Self::Pw => "PW",
            Self::Ex => "EX",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}' is not a lock mode: NL, CR, CW, PR, PW or EX"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The VMS compatibility table, row = requested, column = held, NL..EX.
    const TABLE: [[u8; 6]; 6] = [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
    ];

    #[test]
    fn modes_are_compatible_as_the_vms_table_says() {
        for (row, requested) in TABLE.iter().zip(Mode::ALL) {
            for (cell, held) in row.iter().zip(Mode::ALL) {
                assert_eq!(requested.compatible(held), *cell == 1, "{requested} against {held}");
            }
        }
    }

    #[test]
    fn a_conversion_is_down_when_everything_compatible_before_stays_so() {
        for from in Mode::ALL {
            for to in Mode::ALL {
                let loses_nothing = Mode::ALL.iter().all(|other| !from.compatible(*other) || to.compatible(*other));
                assert_eq!(from.is_down_conversion_to(to), from != to && loses_nothing, "{from} to {to}");
            }
        }
    }

    #[test]
    fn lines_read_as_an_admin_would_type_them() {
        let call: Call =
            serde_json::from_str(r#"{"id":1,"op":"lock","resource":"V_vg","mode":"EX","wait_ms":0}"#).unwrap();
        let Request::Lock { resource, mode, wait_ms, sticky, note, .. } = call.request else { panic!("{call:?}") };
        assert_eq!((resource.as_str(), mode, wait_ms, sticky, note.as_str()), ("V_vg", Mode::Ex, Some(0), false, ""));
        let call: Call = serde_json::from_str(r#"{"op":"status","id":7}"#).unwrap();
        assert_eq!(call, Call { id: 7, request: Request::Status });
    }

    #[test]
    fn answers_carry_ok_or_error() {
        let answer = Answer { id: 3, outcome: Ok(Value::Granted { generation: 9, value: None }).into() };
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(line, r#"{"id":3,"ok":{"granted":{"generation":9}}}"#);
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}
