//! What is decided about the calls of this node, and what their callers are told.

use nines_proto::ctl::{Answer, ErrorKind, Failure, KeyOwner, LockHolder, Value};

use super::calls::Waiting;
use super::{Action, Engine, Now};
use crate::lock::{Holder, Outcome, Owner, Refusal};
use crate::state::{Op, keys};

/// Nothing moved for so long: propose again.
const RESEND_MS: u64 = 250;

impl Engine {
    pub(super) fn answer(&mut self, connection: u64, id: u64, result: Result<Value, Failure>) {
        self.out.push(Action::Answer { connection, answer: Answer { id, outcome: result.into() } });
    }

    pub(super) fn refuse(&mut self, connection: u64, id: u64, kind: ErrorKind, message: String) {
        self.answer(connection, id, Err(Failure { kind, message, holders: Vec::new() }));
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
    pub(super) fn can_be_undone(&self, op: &Op) -> bool {
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

    pub(super) fn outcome(&self, seq: u64, op: &Op) -> Outcome {
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
