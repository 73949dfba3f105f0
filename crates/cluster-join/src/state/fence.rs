//! Fencing in the replicated state: which run of which node has to be made certainly dead before
//! what it held is free, and how that ended.
//!
//! An operation belongs to one incarnation of one node. It ends by a success of its agents, by
//! the time after which the node's watchdog has certainly reset it, by a person's word, or by the
//! node's return; a report about any other operation or incarnation changes nothing. Locks are
//! freed by the very command that confirms, so nobody ever sees one without the other.

use std::collections::{BTreeMap, VecDeque};

use nines_proto::ctl::{FenceEnd, FenceTested, Value};
use serde::{Deserialize, Serialize};

use super::{Effect, MemberRecord, State};
use crate::lock::{CallId, Decided, Refusal};

/// Operations that are over and still told of.
const MAX_HISTORY: usize = 64;
/// A node fenced by agents twice within so many seconds waits for a person.
pub(super) const HELD_WITHIN: u64 = 600;
/// Longest text of an agent that is kept.
const MAX_TEXT: usize = 512;

/// How an attempt ended, as the leader reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Ended {
    /// A method's agents said so, run by the node `by`.
    Agent { method: String, by: String, what: String },
    /// The bound of its watchdog has passed since its last lease.
    Watchdog { bound_ms: u64 },
    /// The attempt after `attempt` others failed.
    Failed { attempt: u32, what: String },
}

/// Why a node is not let in although it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub why: String,
    /// Seconds since 1970.
    pub since: u64,
    /// Only a person ends it; otherwise it ends with its cause.
    pub firm: bool,
}

/// One fencing of one run of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub number: u64,
    pub node: u64,
    pub name: String,
    /// 0: a node that never joined.
    pub incarnation: u64,
    pub who: String,
    pub why: String,
    pub asked: u64,
    pub attempts: u32,
    /// What happened last.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FenceEnd>,
    /// Calls to be answered with its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<CallId>,
}

/// What there is to know about fencing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fencing {
    last: u64,
    /// At most one for each node.
    pub(super) pending: BTreeMap<u64, Operation>,
    /// Oldest first.
    history: VecDeque<Operation>,
    pub(super) tested: BTreeMap<u64, FenceTested>,
}

/// What happened, for the node that looks on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Asked {
        node: u64,
        operation: u64,
        why: String,
    },
    Failed {
        node: u64,
        operation: u64,
        attempts: u32,
        what: String,
    },
    /// Certainly off, and what it held is free.
    Fenced {
        node: u64,
        operation: u64,
        boot: String,
        how: String,
    },
    /// Not needed any more.
    Void {
        node: u64,
        operation: u64,
        why: String,
    },
    Held {
        node: u64,
        why: String,
    },
    Released {
        node: u64,
    },
    /// Its devices have given it back what a fencing took.
    Unfenced {
        node: u64,
        who: String,
    },
    Armed {
        node: u64,
        armed: bool,
    },
}

impl Fencing {
    /// The operation that waits for `node` to be fenced.
    #[must_use]
    pub fn pending(&self, node: u64) -> Option<&Operation> {
        self.pending.get(&node)
    }

    /// All that wait, by node.
    pub fn all_pending(&self) -> impl Iterator<Item = &Operation> {
        self.pending.values()
    }

    /// Those that are over, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Operation> {
        self.history.iter()
    }

    /// The number of the newest operation there was.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The last test of a node's devices.
    #[must_use]
    pub fn tested(&self, node: u64) -> Option<&FenceTested> {
        self.tested.get(&node)
    }

    /// How the operation ended that the call `call` waits or waited for.
    #[must_use]
    pub fn outcome(&self, call: CallId) -> Option<&Operation> {
        self.pending.values().chain(&self.history).find(|operation| operation.waiting.contains(&call))
    }

    /// Whether an operation on `node` began after the one numbered `after`: whatever its devices opened
    /// before may be closed.
    pub(super) fn fenced_since(&self, node: u64, after: u64) -> bool {
        self.pending.values().chain(&self.history).any(|operation| operation.node == node && operation.number > after)
    }

    /// A new run of `node` numbers its calls anew: nobody waits for those of the former one.
    pub(super) fn forget_calls(&mut self, node: u64) {
        for operation in self.pending.values_mut().chain(&mut self.history) {
            operation.waiting.retain(|call| call.node != node);
        }
    }

    pub(super) fn begin(&mut self, operation: Operation) -> u64 {
        self.last += 1;
        let number = self.last;
        self.pending.insert(operation.node, Operation { number, ..operation });
        number
    }

    pub(super) fn close(&mut self, node: u64, end: FenceEnd, time: u64) -> Option<Operation> {
        let mut operation = self.pending.remove(&node)?;
        (operation.ended, operation.end) = (Some(time), Some(end));
        self.history.push_back(operation.clone());
        if self.history.len() > MAX_HISTORY {
            self.history.pop_front();
        }
        Some(operation)
    }

    /// How often agents fenced `node` in the last minutes before `time`.
    pub(super) fn recent(&self, node: u64, time: u64) -> usize {
        let recent = |operation: &&Operation| {
            operation.node == node
                && matches!(operation.end, Some(FenceEnd::Agent { .. }))
                && operation.ended.is_some_and(|ended| ended + HELD_WITHIN >= time)
        };
        self.history.iter().filter(recent).count()
    }
}

pub(super) fn cut(text: &str) -> String {
    let length = (0..=MAX_TEXT.min(text.len())).rev().find(|length| text.is_char_boundary(*length)).unwrap_or_default();
    text[..length].to_owned()
}

impl MemberRecord {
    /// The record of a node that never joined.
    pub(super) fn unknown(time: u64) -> Self {
        Self {
            present: false,
            since: time,
            incarnation: 0,
            boot: String::new(),
            store: String::new(),
            next_seq: 1,
            armed: false,
            fenced: false,
            left: false,
            held: None,
            waived: false,
            unfenced: false,
        }
    }
}

/// What a command about fencing adds to.
pub(super) struct Results<'a> {
    pub decided: &'a mut Vec<Decided>,
    pub effects: &'a mut Vec<Effect>,
}

impl Results<'_> {
    pub(super) fn news(&mut self, news: News) {
        self.effects.push(Effect::Fence(news));
    }

    pub(super) fn answer(&mut self, calls: &[CallId], result: &Result<Value, Refusal>) {
        self.decided.extend(calls.iter().map(|call| Decided { call: *call, result: result.clone() }));
    }
}

impl State {
    /// Whether `node` has something that must not be given to others while it may be alive.
    #[must_use]
    pub fn protected(&self, node: u64) -> bool {
        self.holds_anything(node) || self.members.get(&node).is_some_and(|member| member.armed)
    }

    /// Whether `node` holds or waits for something.
    #[must_use]
    pub fn holds_anything(&self, node: u64) -> bool {
        self.locks.owns_any(node) || self.keys.owned_by(node) > 0
    }

    /// Whether this boot of `node` is certainly over.
    #[must_use]
    pub fn is_fenced_boot(&self, node: u64, boot: &str) -> bool {
        self.members.get(&node).is_some_and(|member| member.fenced && member.boot == boot)
    }

    /// Whether `node` is let in although it has leftovers: a person said so, or they are of a boot in
    /// which it was a member.
    #[must_use]
    pub fn may_have_leftovers(&self, node: u64, boot: &str) -> bool {
        self.members.get(&node).is_some_and(|member| member.waived || member.boot == boot)
    }
}
