//! What this node's clients asked for and are not answered yet.
//!
//! Calls are numbered and proposed in order, and proposed again from the first one that is not
//! in the log when the leader changed or nothing moved for a while: the replicated state takes
//! each number once and in order. A call is answered by what applying it here decided, or by its
//! deadline, or because nothing can be decided without a majority. A lock request whose caller
//! is gone or was told no is withdrawn in the same ordered way, so that it is freed even if it
//! was granted in the meantime.

use std::collections::{BTreeMap, VecDeque};

use nines_proto::ctl::{
    Answer, Call, ErrorKind, Failure, KeyOwner, LockHolder, MAX_NOTE, MAX_RESOURCE, MAX_SESSION, Request, VALUE_DIGITS,
    Value,
};

use super::{Action, Caller, Engine, Now};
use crate::lock::{Holder, Outcome, Owner, Refusal};
use crate::state::{Op, keys};

/// Most calls of one connection that are not answered yet.
pub const MAX_PER_CONNECTION: usize = 256;
/// Most calls of this node that are not in the log yet, and most bytes of values in them.
const MAX_UNAPPLIED: usize = 8192;
const MAX_UNAPPLIED_BYTES: usize = 16 << 20;
/// Most calls proposed and not applied, and most in one entry.
const WINDOW: u64 = 1024;
const BATCH: usize = 256;
/// Nothing moved for so long: propose again.
const RESEND_MS: u64 = 250;

#[derive(Debug, Clone)]
struct Waiting {
    connection: u64,
    id: u64,
    op: Op,
    deadline: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Calls {
    last_seq: u64,
    /// Not known to be in the log, in order.
    unapplied: VecDeque<(u64, u64, Op)>,
    unapplied_bytes: usize,
    /// The last one proposed to the present leader.
    sent: u64,
    progress: u64,
    /// Not answered.
    waiting: BTreeMap<u64, Waiting>,
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

/// What the request is about, where it is about a resource.
pub(super) fn resource(request: &Request) -> Option<&str> {
    match request {
        Request::Lock { resource, .. }
        | Request::Convert { resource, .. }
        | Request::Unlock { resource, .. }
        | Request::Offer { resource, .. }
        | Request::Accept { resource, .. }
        | Request::Retract { resource, .. } => Some(resource),
        _ => None,
    }
}

fn invalid(request: &Request) -> Option<String> {
    let resource = resource(request)?;
    if resource.is_empty() || resource.len() > MAX_RESOURCE || resource.chars().any(|c| c.is_control() || c == ' ') {
        return Some(format!("`{resource}' is not a resource name: 1 to {MAX_RESOURCE} bytes, no blanks"));
    }
    if let Request::Lock { session: Some(session), .. }
    | Request::Convert { session: Some(session), .. }
    | Request::Unlock { session: Some(session), .. } = request
        && (session.is_empty() || session.len() > MAX_SESSION || session.chars().any(|c| c.is_control() || c == ' '))
    {
        return Some(format!("{resource}: `{session}' is not a session's name: 1 to {MAX_SESSION} bytes, no blanks"));
    }
    if let Request::Convert { value: Some(value), .. } | Request::Unlock { value: Some(value), .. } = request
        && (value.len() != VALUE_DIGITS || !value.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Some(format!("{resource}: a value block has {VALUE_DIGITS} hexadecimal digits"));
    }
    if let Request::Lock { note, .. } = request
        && (note.len() > MAX_NOTE || note.chars().any(char::is_control))
    {
        return Some(format!("{resource}: the note is longer than {MAX_NOTE} bytes or has control characters"));
    }
    None
}

impl Engine {
    pub(super) fn answer(&mut self, connection: u64, id: u64, result: Result<Value, Failure>) {
        self.out.push(Action::Answer { connection, answer: Answer { id, outcome: result.into() } });
    }

    pub(super) fn refuse(&mut self, connection: u64, id: u64, kind: ErrorKind, message: String) {
        self.answer(connection, id, Err(Failure { kind, message, holders: Vec::new() }));
    }

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

    /// Answers whoever asked this node to leave: it has.
    pub(super) fn answer_leave(&mut self) {
        let leaves = |call: &Waiting| matches!(call.op, Op::Leave(_));
        let seqs: Vec<u64> = self.calls.waiting.iter().filter(|(_, call)| leaves(call)).map(|(seq, _)| *seq).collect();
        for seq in seqs {
            if let Some(call) = self.calls.waiting.remove(&seq) {
                self.answer(call.connection, call.id, Ok(Value::Done {}));
            }
        }
    }

    pub(super) fn closed(&mut self, now: Now, connection: u64) {
        self.fence_closed(connection);
        self.early.close(connection);
        self.watches.close(connection);
        let seqs: Vec<u64> =
            self.calls.waiting.iter().filter(|(_, call)| call.connection == connection).map(|(seq, _)| *seq).collect();
        let mut owning = false;
        for seq in seqs {
            let Some(call) = self.calls.waiting.remove(&seq) else { continue };
            if let Op::Lock { resource, .. } | Op::Convert { resource, .. } = call.op {
                owning = true;
                self.calls.submit(now, Op::Withdraw { resource, call: seq });
            }
        }
        owning |= self.calls.unapplied.iter().any(|(_, _, op)| match op {
            Op::Lock { connection: of, .. } => *of == Some(connection),
            Op::Put { connection: of, owner: KeyOwner::Connection, .. } => *of == connection,
            _ => false,
        });
        let node = self.me();
        owning |= self.state.locks.owns(&Owner::connection(node, connection));
        owning |= self.state.keys.owns(keys::Owner { node, connection: Some(connection) });
        if owning {
            self.calls.submit(now, Op::Close { connection });
        }
    }

    /// The daemon stops: nothing that waits will be answered.
    pub(super) fn refuse_all(&mut self) {
        for (_, call) in std::mem::take(&mut self.calls.waiting) {
            self.refuse(call.connection, call.id, ErrorKind::Stopping, "cluster-join is stopping".into());
        }
        for (connection, id) in self.watches.take() {
            self.refuse(connection, id, ErrorKind::Stopping, "cluster-join is stopping".into());
        }
    }

    /// Deadlines, and calls that cannot be decided here now.
    pub(super) fn watch_calls(&mut self, now: Now) {
        if !self.calls.unapplied.is_empty() && now.ms >= self.calls.progress + RESEND_MS.max(self.token_ms / 4) {
            self.calls.new_leader();
            self.calls.progress = now.ms;
        }
        let blocked = self.undecidable(now);
        let late: Vec<u64> = self
            .calls
            .waiting
            .iter()
            .filter(|(_, call)| {
                let late = call.deadline.is_some_and(|deadline| now.ms >= deadline);
                let hopeless = blocked.is_some()
                    && matches!(
                        call.op,
                        Op::Lock { now_or_never: true, .. }
                            | Op::Convert { now_or_never: true, .. }
                            | Op::Get { .. }
                            | Op::Keys { .. }
                    );
                (late || hopeless) && self.can_be_undone(&call.op)
            })
            .map(|(seq, _)| *seq)
            .collect();
        for seq in late {
            let Some(call) = self.calls.waiting.remove(&seq) else { continue };
            let (Op::Lock { resource, connection, session, mode, .. }
            | Op::Convert { resource, connection, session, mode, .. }) = &call.op
            else {
                let message = blocked.clone().unwrap_or_default();
                self.refuse(call.connection, call.id, ErrorKind::Inquorate, message);
                continue;
            };
            let owner = self.owner(*connection, session.as_deref());
            let holders = self.state.locks.in_the_way(resource, &owner, *mode);
            let failure = match (&blocked, call.deadline) {
                (Some(reason), None) => Failure {
                    kind: ErrorKind::Inquorate,
                    message: format!("{resource}: {reason}"),
                    holders: Vec::new(),
                },
                (Some(reason), Some(_)) => Failure {
                    kind: ErrorKind::Timeout,
                    message: format!("{resource}: the time to wait has passed, {reason}"),
                    holders: self.named(&holders),
                },
                (None, _) => {
                    let message = format!("{resource}: the time to wait has passed{}", self.held_by(&holders));
                    Failure { kind: ErrorKind::Timeout, message, holders: self.named(&holders) }
                }
            };
            let withdraw = Op::Withdraw { resource: resource.clone(), call: seq };
            self.answer(call.connection, call.id, Err(failure));
            self.calls.submit(now, withdraw);
        }
    }

    /// Whether a caller may be told no although the call might still take effect: giving up
    /// rights may not, since it cannot be taken back.
    fn can_be_undone(&self, op: &Op) -> bool {
        match op {
            Op::Lock { .. } | Op::Get { .. } | Op::Keys { .. } => true,
            Op::Convert { resource, connection, session, mode, .. } => {
                let owner = self.owner(*connection, session.as_deref());
                self.state.locks.held(resource, &owner).is_none_or(|held| mode.is_down_conversion_to(held))
            }
            _ => false,
        }
    }

    pub(super) fn decided(&mut self, now: Now, seq: u64, result: Result<Value, Refusal>) {
        if self.disarm_decided(now, seq, result.is_ok()) {
            return;
        }
        let Some(call) = self.calls.waiting.remove(&seq) else { return };
        match result {
            Ok(_) if matches!(call.op, Op::Get { .. } | Op::Keys { .. }) => {
                self.read(call.connection, call.id, &call.op);
            }
            Ok(Value::Updated { version, .. }) => self.update_committed(now, call.connection, call.id, version),
            Ok(value) => self.answer(call.connection, call.id, Ok(value)),
            // The others dropped this request while we were away; the client still waits.
            Err(Refusal { kind: ErrorKind::Inquorate, .. }) => {
                let again = self.calls.submit(now, call.op.clone());
                self.calls.waiting.insert(again, call);
            }
            Err(refusal) => {
                let message = refusal.message + &self.held_by(&refusal.holders);
                let holders = self.named(&refusal.holders);
                self.answer(call.connection, call.id, Err(Failure { kind: refusal.kind, message, holders }));
            }
        }
    }

    /// The state jumped ahead by a snapshot: what was decided on the way shows in where it is now.
    pub(super) fn restored(&mut self, now: Now) {
        if self.was_admitted || self.state.configured.current().is_some_and(|conf| conf.version >= self.conf.version) {
            self.adopt_current(now);
        }
        self.rewire(now);
        self.forced_applied();
        let member = self.state.members.get(&self.me());
        if self.was_admitted && member.is_none_or(|member| member.left) && self.calls.leave_waits() {
            self.left_now(now);
        }
        let member = self.state.members.get(&self.me());
        let Some((incarnation, next)) = member.map(|member| (member.incarnation, member.next_seq)) else { return };
        self.joined_myself(now, incarnation);
        if !self.admitted() {
            return;
        }
        self.calls.taken(now, next - 1);
        self.disarm_restored(now, next);
        let seqs: Vec<u64> = self.calls.waiting.range(..next).map(|(seq, _)| *seq).collect();
        for seq in seqs {
            let Some(op) = self.calls.waiting.get(&seq).map(|call| call.op.clone()) else { continue };
            match self.outcome(seq, &op) {
                Outcome::Waits => {}
                Outcome::Refused(kind) => {
                    let message = "refused while this host was out of the cluster".to_owned();
                    self.decided(now, seq, Err(Refusal { kind, message, holders: Vec::new() }));
                }
                Outcome::Is(value) => self.decided(now, seq, Ok(value)),
                Outcome::Isnt => {
                    let message = "refused while this host was out of the cluster".to_owned();
                    self.decided(now, seq, Err(Refusal { kind: ErrorKind::Busy, message, holders: Vec::new() }));
                }
            }
        }
    }

    fn outcome(&self, seq: u64, op: &Op) -> Outcome {
        let locks = &self.state.locks;
        let host = &Owner::host(self.me());
        match op {
            Op::Lock { resource, connection, session, mode, .. }
            | Op::Convert { resource, connection, session, mode, .. } => {
                locks.outcome(resource, &self.owner(*connection, session.as_deref()), *mode, seq)
            }
            Op::Unlock { resource, connection, session, .. } => {
                match locks.held(resource, &self.owner(*connection, session.as_deref())) {
                    None => Outcome::Is(Value::Done {}),
                    Some(_) => Outcome::Isnt,
                }
            }
            Op::Offer { resource, to } => locks.open_offer(resource, host, *to),
            Op::Accept { resource, offer } => locks.accepted(resource, host, *offer),
            Op::Retract { resource, .. } => match locks.held(resource, host) {
                Some(_) => Outcome::Is(Value::Done {}),
                None => Outcome::Isnt,
            },
            Op::Put { .. } | Op::Delete { .. } => match self.state.keys.result(self.me(), seq) {
                Some(Ok(revision)) => Outcome::Is(Value::Revision { revision }),
                Some(Err(kind)) => Outcome::Refused(kind),
                None => Outcome::Refused(ErrorKind::Gone),
            },
            Op::Fence { .. } | Op::FenceAck { .. } => self.fence_outcome(seq),
            Op::FenceTested { tested, .. } => Outcome::Is(Value::Tested(tested.clone())),
            Op::Unfence { .. } | Op::Armed { .. } => Outcome::Is(Value::Done {}),
            Op::Configure { conf } => {
                let mut history = self.state.configured.history();
                match history.find(|kept| kept.version == conf.version && kept.text == conf.text) {
                    Some(kept) => Outcome::Is(Value::Updated { version: kept.version, nodes: Vec::new() }),
                    None => Outcome::Isnt,
                }
            }
            Op::Leave(_) => Outcome::Isnt,
            Op::Stored(_) | Op::Withdraw { .. } | Op::Close { .. } | Op::Get { .. } | Op::Keys { .. } => {
                Outcome::Is(Value::Done {})
            }
        }
    }

    /// A lock's owner on this node.
    fn owner(&self, connection: Option<u64>, session: Option<&str>) -> Owner {
        Owner { node: self.me(), connection, session: session.map(str::to_owned) }
    }

    pub(super) fn named(&self, holders: &[Holder]) -> Vec<LockHolder> {
        holders
            .iter()
            .map(|holder| LockHolder {
                node: self.conf.name_of(holder.owner.node),
                mode: holder.mode,
                generation: holder.generation,
                since: holder.since,
                sticky: holder.owner.connection.is_none(),
                session: holder.owner.session.clone(),
                offered_to: holder.offered.map(|offer| (self.conf.name_of(offer.to), offer.number)),
                note: holder.note.clone(),
            })
            .collect()
    }

    /// For the end of a message: who has it, and whether that host is there to give it back.
    fn held_by(&self, holders: &[Holder]) -> String {
        let who: Vec<String> = holders.iter().take(3).map(|holder| self.holder_text(holder)).collect();
        match (who.is_empty(), holders.len() > who.len()) {
            (true, _) => String::new(),
            (false, more) => format!(": {}{}", who.join(", "), if more { " and others" } else { "" }),
        }
    }

    fn holder_text(&self, holder: &Holder) -> String {
        let node = self.conf.name_of(holder.owner.node);
        let verb = if holder.generation == 0 { "waited for" } else { "held" };
        let mut text = format!("{verb} by {node} in {} since {}", holder.mode, nines_proto::ctl::utc(holder.since));
        if !holder.note.is_empty() {
            text += &format!(" ({})", holder.note);
        }
        if let Some(member) = self.state.members.get(&holder.owner.node).filter(|member| !member.present) {
            text += &format!(
                "; {node} is lost since {} and keeps its locks until it returns",
                nines_proto::ctl::utc(member.since)
            );
        }
        text
    }
}
