//! What this node's clients asked for and are not answered yet.
//!
//! Calls are numbered and proposed in order, and proposed again from the first one that is not
//! in the log when the leader changed or nothing moved for a while: the replicated state takes
//! each number once and in order. A call is answered by what applying it here decided, or by its
//! deadline, or because nothing can be decided without a majority. A lock request whose caller
//! is gone or was told no is withdrawn in the same ordered way, so that it is freed even if it
//! was granted in the meantime. What their callers are told is in `answers.rs`.

use std::collections::{BTreeMap, VecDeque};

use nines_proto::ctl::{Call, ErrorKind, Request, Value};

use super::request::{invalid, resource};
use super::{Caller, Engine, Now};
use crate::state::Op;

/// Most calls of one connection that are not answered yet.
pub const MAX_PER_CONNECTION: usize = 256;
/// Most calls of this node that are not in the log yet, and most bytes of values in them.
const MAX_UNAPPLIED: usize = 8192;
const MAX_UNAPPLIED_BYTES: usize = 16 << 20;
/// Most calls proposed and not applied, and most in one entry.
const WINDOW: u64 = 1024;
const BATCH: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub connection: u64,
    pub id: u64,
    pub op: Op,
    pub deadline: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Calls {
    last_seq: u64,
    /// Not known to be in the log, in order.
    pub(super) unapplied: VecDeque<(u64, u64, Op)>,
    unapplied_bytes: usize,
    /// The last one proposed to the present leader.
    sent: u64,
    pub(super) progress: u64,
    /// Not answered.
    pub(super) waiting: BTreeMap<u64, Waiting>,
}

/// What an operation weighs beyond its names.
fn weight(op: &Op) -> usize {
    match op {
        Op::Put { value, .. } => value.len(),
        Op::Configure { conf } => conf.text.len(),
        _ => 0,
    }
}

impl Calls {
    pub fn submit(&mut self, now: Now, op: Op) -> u64 {
        self.last_seq += 1;
        if self.unapplied.is_empty() {
            self.progress = now.ms;
        }
        self.unapplied_bytes += weight(&op);
        self.unapplied.push_back((self.last_seq, now.unix, op));
        self.last_seq
    }

    /// The log has everything up to `seq`.
    pub fn taken(&mut self, now: Now, seq: u64) {
        while self.unapplied.front().is_some_and(|(first, _, _)| *first <= seq) {
            if let Some((_, _, op)) = self.unapplied.pop_front() {
                self.unapplied_bytes -= weight(&op);
            }
        }
        self.sent = self.sent.max(seq);
        self.progress = now.ms;
    }

    /// What was sent behind `wanted` fell on deaf ears.
    pub fn resend(&mut self, now: Now, wanted: u64) {
        // One gap is reported once for each command behind it.
        if self.sent >= wanted && now.ms > self.progress {
            self.sent = wanted - 1;
            self.progress = now.ms;
        }
    }

    pub fn new_leader(&mut self) {
        self.sent = self.unapplied.front().map_or(self.last_seq, |(first, _, _)| first - 1);
    }

    /// What should be proposed now.
    pub fn unsent(&self) -> VecDeque<(u64, u64, Op)> {
        let Some((first, _, _)) = self.unapplied.front() else { return VecDeque::new() };
        let until = first + WINDOW;
        let fresh = self.unapplied.iter().filter(|(seq, _, _)| *seq > self.sent && *seq < until);
        fresh.take(BATCH).cloned().collect()
    }

    /// Whether somebody asked this node to leave.
    pub fn leave_waits(&self) -> bool {
        self.waiting.values().any(|call| matches!(call.op, Op::Leave(_)))
    }

    pub fn sent(&mut self, now: Now, seq: u64) {
        if self.sent < seq {
            self.sent = seq;
            self.progress = now.ms;
        }
    }

    /// Nothing was asked for that is not decided.
    pub fn is_idle(&self) -> bool {
        self.unapplied.is_empty() && self.waiting.is_empty()
    }
}

impl Engine {
    /// Why `caller` cannot have a call about `name` decided by the log now.
    pub(super) fn cannot_submit(&self, caller: &Caller, name: &str) -> Option<(ErrorKind, String)> {
        if !caller.may_steer {
            Some((ErrorKind::Denied, format!("{name}: only root and cluster-join's own user may change this")))
        } else if self.stopping {
            Some((ErrorKind::Stopping, format!("{name}: cluster-join is stopping")))
        } else if self.waiting_calls(caller.connection) >= MAX_PER_CONNECTION {
            Some((ErrorKind::Busy, format!("{name}: {MAX_PER_CONNECTION} calls of this connection wait already")))
        } else if self.calls.unapplied.len() >= MAX_UNAPPLIED {
            Some((ErrorKind::Busy, format!("{name}: {MAX_UNAPPLIED} calls of this host wait already")))
        } else {
            None
        }
    }

    /// Has the log decide `op` and answers the call `id` with what it decided.
    pub(super) fn submit_call(&mut self, now: Now, connection: u64, id: u64, op: Op) {
        let seq = self.calls.submit(now, op.clone());
        self.calls.waiting.insert(seq, Waiting { connection, id, op, deadline: None });
    }

    pub(super) fn call(&mut self, now: Now, caller: &Caller, call: Call) {
        if self.comes_early(now, caller, &call) {
            return;
        }
        let Call { id, request } = call;
        let connection = caller.connection;
        if !caller.may_steer && !request.only_looks() {
            let what = resource(&request).map(|resource| format!("{resource}: ")).unwrap_or_default();
            let message = format!("{what}only root and cluster-join's own user may change something");
            return self.refuse(connection, id, ErrorKind::Denied, message);
        }
        match request {
            Request::Status => {
                let status = self.status(now);
                return self.answer(connection, id, Ok(Value::Status(Box::new(status))));
            }
            Request::Locks => {
                let locks = self.locks();
                return self.answer(connection, id, Ok(Value::Locks(locks)));
            }
            Request::Put { .. }
            | Request::Delete { .. }
            | Request::Get { .. }
            | Request::Keys { .. }
            | Request::Watch { .. }
            | Request::Log { .. } => return self.key_call(now, caller, id, request),
            Request::Cancel { call } => return self.cancel(now, connection, id, call),
            Request::Fences
            | Request::Fence { .. }
            | Request::FenceAck { .. }
            | Request::FenceTest { .. }
            | Request::Unfence { .. } => return self.fence_call(now, caller, id, &request),
            Request::Conf { .. } | Request::ConfHistory | Request::ConfUpdate { .. } | Request::Leave { .. } => {
                return self.conf_call(now, caller, id, &request);
            }
            _ => {}
        }
        let name = resource(&request).unwrap_or_default().to_owned();
        if let Some(message) = invalid(&request) {
            return self.refuse(connection, id, ErrorKind::Invalid, message);
        }
        // A session is one of the host's, so that it outlives the connection.
        let owner = |sticky: bool, session: &Option<String>| (!sticky && session.is_none()).then_some(connection);
        let (op, wait_ms) = match request {
            Request::Lock { resource, mode, wait_ms, sticky, session, note } => {
                let (connection, now_or_never) = (owner(sticky, &session), wait_ms == Some(0));
                (Op::Lock { resource, connection, session, mode, now_or_never, note }, wait_ms)
            }
            Request::Convert { resource, mode, wait_ms, sticky, session, value } => {
                let (connection, now_or_never) = (owner(sticky, &session), wait_ms == Some(0));
                let value = value.map(|value| value.to_ascii_lowercase());
                (Op::Convert { resource, connection, session, mode, now_or_never, value }, wait_ms)
            }
            Request::Unlock { resource, sticky, session, value } => {
                let value = value.map(|value| value.to_ascii_lowercase());
                (Op::Unlock { resource, connection: owner(sticky, &session), session, value }, Some(0))
            }
            Request::Offer { resource, to } => match self.conf.nodes.iter().find(|node| node.name == to) {
                Some(node) => (Op::Offer { resource, to: node.id }, Some(0)),
                None => {
                    let message = format!("{resource}: `{to}' is not a node of this cluster");
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
            },
            Request::Accept { resource, offer } => (Op::Accept { resource, offer }, Some(0)),
            Request::Retract { resource, offer } => (Op::Retract { resource, offer }, Some(0)),
            _ => return,
        };
        self.enter(now, connection, id, &name, op, wait_ms);
    }

    /// Calls of `connection` that are not answered yet.
    pub(super) fn waiting_calls(&self, connection: u64) -> usize {
        self.calls.waiting.values().filter(|call| call.connection == connection).count() + self.watches.of(connection)
    }

    /// Why nothing this host asks for is decided now.
    pub(super) fn undecidable(&self, now: Now) -> Option<String> {
        let held = || {
            let member = self.state.members.get(&self.me()).filter(|member| !member.present)?;
            member.held.as_ref().map(|hold| format!("this host is not let in: {}", hold.why))
        };
        self.blocked(now).map(|reason| format!("not quorate: {reason}")).or_else(held)
    }

    /// Takes a call on its way into the log. `name` is what it is about.
    pub(super) fn enter(&mut self, now: Now, connection: u64, id: u64, name: &str, op: Op, wait_ms: Option<u64>) {
        let calls = &self.calls;
        let refusal = if self.stopping {
            Some((ErrorKind::Stopping, format!("{name}: cluster-join is stopping")))
        } else if self.waiting_calls(connection) >= MAX_PER_CONNECTION {
            Some((ErrorKind::Busy, format!("{name}: {MAX_PER_CONNECTION} calls of this connection wait already")))
        } else if calls.unapplied.len() >= MAX_UNAPPLIED || calls.unapplied_bytes >= MAX_UNAPPLIED_BYTES {
            Some((ErrorKind::Busy, format!("{name}: {} calls of this host wait already", calls.unapplied.len())))
        } else {
            let reason = if wait_ms == Some(0) { self.undecidable(now) } else { None };
            reason.map(|reason| (ErrorKind::Inquorate, format!("{name}: {reason}")))
        };
        if let Some((kind, message)) = refusal {
            return self.refuse(connection, id, kind, message);
        }
        // Zero is no time to wait, but deciding takes what it takes.
        let deadline = wait_ms.filter(|wait| *wait > 0).map(|wait| now.ms.saturating_add(wait));
        let seq = self.calls.submit(now, op.clone());
        self.calls.waiting.insert(seq, Waiting { connection, id, op, deadline });
    }

    /// Withdraws the call `call` of the same connection.
    fn cancel(&mut self, now: Now, connection: u64, id: u64, call: u64) {
        let waits = |waiting: &Waiting| (waiting.connection, waiting.id) == (connection, call);
        let found =
            self.calls.waiting.iter().find(|(_, waiting)| waits(waiting)).map(|(seq, call)| (*seq, call.op.clone()));
        let withdrawn = match found {
            Some((_, op)) if !self.can_be_undone(&op) => {
                let message = format!("call {call} cannot be withdrawn: it is answered when it is decided");
                return self.refuse(connection, id, ErrorKind::Invalid, message);
            }
            Some((seq, op)) => {
                self.calls.waiting.remove(&seq);
                if let Op::Lock { resource, .. } | Op::Convert { resource, .. } = op {
                    self.calls.submit(now, Op::Withdraw { resource, call: seq });
                }
                true
            }
            None => self.early.cancel(connection, call) || self.watches.cancel(connection, call),
        };
        if !withdrawn {
            let message = format!("no call {call} of this connection waits");
            return self.refuse(connection, id, ErrorKind::Unknown, message);
        }
        self.refuse(connection, call, ErrorKind::Cancelled, "cancelled by the caller".into());
        self.answer(connection, id, Ok(Value::Done {}));
    }

    /// Puts what this node itself has to say in the log.
    pub(super) fn submit(&mut self, now: Now, op: Op) {
        self.calls.submit(now, op);
    }
}
