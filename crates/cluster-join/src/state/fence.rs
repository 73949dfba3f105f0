//! Fencing in the replicated state: which run of which node has to be made certainly dead before
//! what it held is free, and how that ended.
//!
//! An operation belongs to one incarnation of one node. It ends by a success of its agents, by
//! the time after which the node's watchdog has certainly reset it, by a person's word, or by the
//! node's return; a report about any other operation or incarnation changes nothing. Locks are
//! freed by the very command that confirms, so nobody ever sees one without the other.

use std::collections::{BTreeMap, VecDeque};

use nines_proto::ctl::{ErrorKind, FenceEnd, FenceTested, Value};
use serde::{Deserialize, Serialize};

use super::{Effect, MemberRecord, Op, State};
use crate::lock::{CallId, Decided, Refusal};

/// Operations that are over and still told of.
const MAX_HISTORY: usize = 64;
/// Most calls that wait for one operation.
const MAX_WAITING: usize = 16;
/// A node fenced by agents twice within so many seconds waits for a person.
const HELD_WITHIN: u64 = 600;
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
    pending: BTreeMap<u64, Operation>,
    /// Oldest first.
    history: VecDeque<Operation>,
    tested: BTreeMap<u64, FenceTested>,
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

    /// A new run of `node` numbers its calls anew: nobody waits for those of the former one.
    pub(super) fn forget_calls(&mut self, node: u64) {
        for operation in self.pending.values_mut().chain(&mut self.history) {
            operation.waiting.retain(|call| call.node != node);
        }
    }

    fn begin(&mut self, operation: Operation) -> u64 {
        self.last += 1;
        let number = self.last;
        self.pending.insert(operation.node, Operation { number, ..operation });
        number
    }

    fn close(&mut self, node: u64, end: FenceEnd, time: u64) -> Option<Operation> {
        let mut operation = self.pending.remove(&node)?;
        (operation.ended, operation.end) = (Some(time), Some(end));
        self.history.push_back(operation.clone());
        if self.history.len() > MAX_HISTORY {
            self.history.pop_front();
        }
        Some(operation)
    }

    /// How often agents fenced `node` in the last minutes before `time`.
    fn recent(&self, node: u64, time: u64) -> usize {
        let recent = |operation: &&Operation| {
            operation.node == node
                && matches!(operation.end, Some(FenceEnd::Agent { .. }))
                && operation.ended.is_some_and(|ended| ended + HELD_WITHIN >= time)
        };
        self.history.iter().filter(recent).count()
    }
}

fn cut(text: &str) -> String {
    let length = (0..=MAX_TEXT.min(text.len())).rev().find(|length| text.is_char_boundary(*length)).unwrap_or_default();
    text[..length].to_owned()
}

impl MemberRecord {
    /// The record of a node that never joined.
    fn unknown(time: u64) -> Self {
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
    fn news(&mut self, news: News) {
        self.effects.push(Effect::Fence(news));
    }

    fn answer(&mut self, calls: &[CallId], result: &Result<Value, Refusal>) {
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

    /// Frees what the former boot of `node` had; how much that was, for people.
    pub(super) fn free(&mut self, node: u64, time: u64, decided: &mut Vec<Decided>) -> usize {
        let count = self.locks.owned_by(node) + self.keys.owned_by(node);
        self.locks.returned(node, true, time, decided);
        self.keys.drop_node(node, true);
        count
    }

    /// A lost node that holds something, or one that never came, is to be fenced.
    #[allow(clippy::too_many_arguments)] // the fields of one command
    pub(super) fn fence_asked(
        &mut self,
        node: u64,
        name: &str,
        incarnation: u64,
        who: &str,
        why: &str,
        time: u64,
        results: &mut Results<'_>,
    ) {
        let wanted = match self.members.get(&node) {
            Some(member) => {
                member.incarnation == incarnation
                    && !member.present
                    && !member.fenced
                    && !member.left
                    && (incarnation == 0 || self.protected(node))
            }
            None => incarnation == 0,
        };
        if wanted && self.fencing.pending(node).is_none() && !self.configured.lacks(node) {
            self.begin_fence(node, name, incarnation, who, why, time, Vec::new(), results);
        }
    }

    #[allow(clippy::too_many_arguments)] // the fields of one operation
    fn begin_fence(
        &mut self,
        node: u64,
        name: &str,
        incarnation: u64,
        who: &str,
        why: &str,
        time: u64,
        waiting: Vec<CallId>,
        results: &mut Results<'_>,
    ) -> u64 {
        let (who, why, name) = (cut(who), cut(why), name.to_owned());
        self.audit.record(time, "fence-asked", &name, &who, &why);
        let operation = self.fencing.begin(Operation {
            number: 0,
            node,
            name,
            incarnation,
            who,
            why: why.clone(),
            asked: time,
            attempts: 0,
            state: String::new(),
            ended: None,
            end: None,
            waiting,
        });
        results.news(News::Asked { node, operation, why });
        operation
    }

    /// An attempt ended.
    pub(super) fn fence_done(
        &mut self,
        operation: u64,
        incarnation: u64,
        end: Ended,
        time: u64,
        results: &mut Results<'_>,
    ) {
        let of_it = |pending: &&mut Operation| pending.number == operation && pending.incarnation == incarnation;
        let Some(pending) = self.fencing.pending.values_mut().find(of_it) else { return };
        let (node, name) = (pending.node, pending.name.clone());
        let member = self.members.get(&node);
        match end {
            Ended::Failed { attempt, what } => {
                if attempt != pending.attempts {
                    return;
                }
                pending.attempts += 1;
                pending.state = cut(&what);
                let attempts = pending.attempts;
                if attempts == 1 || attempts.is_multiple_of(10) {
                    let why = format!("operation {operation}, attempt {attempts}: {what}");
                    self.audit.record(time, "fence-failed", &name, "leader", &why);
                }
                results.news(News::Failed { node, operation, attempts, what: what.clone() });
                // Somebody wanted a living node dead and it could not be done: no reason to go on.
                if member.is_some_and(|member| member.present) {
                    self.void(node, &format!("it is a member and could not be fenced: {what}"), time, results);
                }
            }
            Ended::Agent { method, by, what } => {
                let how = format!("method {method}, run by {by}: {what}");
                self.confirm(node, FenceEnd::Agent { method, by: by.clone() }, &by, &how, time, results);
            }
            Ended::Watchdog { bound_ms } => {
                // Only a watchdog that ran when the node was last a member can have reset it.
                if member.is_some_and(|member| member.armed && !member.present) {
                    let how = format!("its watchdog has reset it: {bound_ms} ms have passed since its last lease");
                    self.confirm(node, FenceEnd::Watchdog, "leader", &how, time, results);
                }
            }
        }
    }

    /// The run of `node` that an operation is about is certainly over: in one step it is fenced
    /// and what it held is free.
    fn confirm(&mut self, node: u64, end: FenceEnd, who: &str, how: &str, time: u64, results: &mut Results<'_>) {
        let by_agent = matches!(end, FenceEnd::Agent { .. });
        let Some(operation) = self.fencing.close(node, end, time) else { return };
        let name = operation.name.clone();
        let number = operation.number;
        let member = self.members.entry(node).or_insert_with(|| MemberRecord::unknown(time));
        (member.present, member.fenced, member.armed) = (false, true, false);
        (member.since, member.left, member.unfenced) = (time, false, false);
        let boot = member.boot.clone();
        self.audit.record(time, "fenced", &name, who, &format!("operation {number}: {how}"));
        let freed = self.free(node, time, results.decided);
        if freed > 0 {
            let why = format!("{freed} locks and keys are free after operation {number}");
            self.audit.record(time, "recovered", &name, who, &why);
        }
        results.news(News::Fenced { node, operation: number, boot, how: how.to_owned() });
        if by_agent && self.fencing.recent(node, time) >= 2 {
            self.hold(node, &name, &format!("fenced twice within {HELD_WITHIN} seconds"), true, time, results);
        }
        results.answer(&operation.waiting, &Ok(Value::Fenced { operation: number }));
    }

    /// As [`Self::confirm`], for a fencing that was decided outside the log: by the survivor of a
    /// pair, before it could commit anything.
    #[allow(clippy::too_many_arguments)] // the fields of one operation
    pub fn confirmed_outside(
        &mut self,
        node: u64,
        name: &str,
        incarnation: u64,
        end: FenceEnd,
        who: &str,
        how: &str,
        time: u64,
        decided: &mut Vec<Decided>,
        effects: &mut Vec<Effect>,
    ) {
        let results = &mut Results { decided, effects };
        let former = self.members.get(&node).map_or(0, |member| member.incarnation);
        if former != incarnation || self.members.get(&node).is_some_and(|member| member.fenced) {
            return;
        }
        if self.fencing.pending(node).is_none() {
            self.begin_fence(node, name, incarnation, who, how, time, Vec::new(), results);
        }
        self.confirm(node, end, who, how, time, results);
    }

    /// The operation on `node`, if one waits, is not needed any more.
    pub(super) fn void(&mut self, node: u64, why: &str, time: u64, results: &mut Results<'_>) {
        let Some(operation) = self.fencing.close(node, FenceEnd::Void, time) else { return };
        let number = operation.number;
        self.audit.record(time, "fence-void", &operation.name, "leader", &format!("operation {number}: {why}"));
        results.news(News::Void { node, operation: number, why: why.to_owned() });
        let message = format!("{}: not fenced: {why}", operation.name);
        results.answer(&operation.waiting, &Err(Refusal::new(ErrorKind::Changed, message)));
    }

    /// Whether a node may join, and what its joining says about a fencing that waits: another
    /// boot is the end of the one that was to be fenced, the same boot makes it needless.
    ///
    /// One with leftovers is let in by a person, once. The leader asks before it proposes, but what it
    /// proposed before may use that up: only here is it known whether there still is such a word.
    pub(super) fn may_join(
        &mut self,
        node: u64,
        boot: &str,
        unclean: bool,
        time: u64,
        results: &mut Results<'_>,
    ) -> bool {
        if unclean && !self.may_have_leftovers(node, boot) {
            return false;
        }
        let Some(member) = self.members.get(&node) else {
            self.void(node, "it has joined", time, results);
            return true;
        };
        if member.fenced && member.boot == boot || member.held.as_ref().is_some_and(|hold| hold.firm) {
            return false;
        }
        if member.incarnation == 0 || member.boot == boot {
            self.void(node, "it came back before it was fenced", time, results);
        } else if let Some(operation) = self.fencing.close(node, FenceEnd::Returned, time) {
            let (number, how) = (operation.number, "its host has booted anew".to_owned());
            self.audit.record(time, "fenced", &operation.name, "leader", &format!("operation {number}: {how}"));
            let boot = member.boot.clone();
            results.news(News::Fenced { node, operation: number, boot, how });
            results.answer(&operation.waiting, &Ok(Value::Fenced { operation: number }));
        }
        true
    }

    /// Keeps a node out.
    pub(super) fn hold(&mut self, node: u64, name: &str, why: &str, firm: bool, time: u64, results: &mut Results<'_>) {
        if self.configured.lacks(node) {
            return;
        }
        let member = self.members.entry(node).or_insert_with(|| MemberRecord::unknown(time));
        if member.present || member.held.as_ref().is_some_and(|hold| hold.firm || hold.why == why) {
            return;
        }
        member.held = Some(Hold { why: cut(why), since: time, firm });
        self.audit.record(time, "held", name, "leader", why);
        results.news(News::Held { node, why: why.to_owned() });
    }

    /// Applies a call about fencing, or hands back one that is not.
    pub(super) fn fence_op(&mut self, id: CallId, time: u64, op: Op, results: &mut Results<'_>) -> Result<(), Op> {
        let result = match op {
            Op::Fence { node, name, who, why } => {
                self.fence_requested(id, node, &name, &who, &why, time, results);
                return Ok(());
            }
            Op::FenceAck { node, name, operation, incarnation, who } => {
                self.fence_acknowledged(node, &name, operation, incarnation, &who, time, results)
            }
            Op::FenceTested { node, tested } => Ok(self.fence_tested(node, tested)),
            Op::Unfence { node, name, who, devices } => {
                if devices {
                    if let Some(member) = self.members.get_mut(&node) {
                        member.unfenced = true;
                    }
                    self.audit.record(time, "unfenced", &name, &who, "its unfence devices say so");
                    results.news(News::Unfenced { node, who: who.clone() });
                }
                Ok(self.unfenced(node, &name, &who, time, results))
            }
            Op::Armed { name, armed } => self.armed(id.node, &name, armed, time, results),
            other => return Err(other),
        };
        results.answer(&[id], &result);
        Ok(())
    }

    /// A person wants a node fenced.
    #[allow(clippy::too_many_arguments)] // the fields of one call
    pub(super) fn fence_requested(
        &mut self,
        call: CallId,
        node: u64,
        name: &str,
        who: &str,
        why: &str,
        time: u64,
        results: &mut Results<'_>,
    ) {
        let refuse = |kind, message: String| Err(Refusal::new(kind, format!("{name}: {message}")));
        let record = self.members.get(&node);
        let others = self.members.iter().any(|(other, member)| *other != node && member.present);
        let refusal = if self.configured.lacks(node) {
            // Removed since it was asked for: it has no devices, and no name by which one could say that it
            // is off.
            refuse(ErrorKind::Unknown, "the configuration has it no more".into())
        } else if node == call.node || !others {
            refuse(ErrorKind::Invalid, "a host does not fence itself: ask on another member".into())
        } else if record.is_some_and(|member| member.fenced && !member.present) {
            refuse(ErrorKind::Invalid, "it is fenced, and has not come back since".into())
        } else if let Some(pending) = self.fencing.pending.get_mut(&node) {
            if pending.waiting.len() < MAX_WAITING {
                pending.waiting.push(call);
                return;
            }
            refuse(ErrorKind::Busy, format!("{MAX_WAITING} calls wait for operation {} already", pending.number))
        } else {
            let incarnation = record.map_or(0, |member| member.incarnation);
            self.begin_fence(node, name, incarnation, who, why, time, vec![call], results);
            return;
        };
        results.answer(&[call], &refusal);
    }

    /// A person says that a run of a node is over.
    ///
    /// # Errors
    /// No such operation waits, or it is about another run.
    #[allow(clippy::too_many_arguments)] // the fields of one call
    pub(super) fn fence_acknowledged(
        &mut self,
        node: u64,
        name: &str,
        operation: u64,
        incarnation: u64,
        who: &str,
        time: u64,
        results: &mut Results<'_>,
    ) -> Result<Value, Refusal> {
        let unknown = |message: String| Err(Refusal::new(ErrorKind::Unknown, format!("{name}: {message}")));
        let Some(pending) = self.fencing.pending(node) else {
            return unknown("no fencing of it waits".into());
        };
        if pending.number != operation || pending.incarnation != incarnation {
            let (number, run) = (pending.number, pending.incarnation);
            return unknown(format!(
                "operation {operation} for incarnation {incarnation} does not wait, operation {number} for incarnation {run} does"
            ));
        }
        if self.members.get(&node).is_some_and(|member| member.present) {
            return Err(Refusal::new(ErrorKind::Invalid, format!("{name}: it is a member: it is not off")));
        }
        let end = FenceEnd::Acknowledged { who: who.to_owned() };
        self.confirm(node, end, who, &format!("{who} says that it is off"), time, results);
        Ok(Value::Fenced { operation })
    }

    /// A test of a node's devices has ended.
    pub(super) fn fence_tested(&mut self, node: u64, mut tested: FenceTested) -> Value {
        tested.what = cut(&tested.what);
        self.fencing.tested.insert(node, tested.clone());
        Value::Tested(tested)
    }

    /// A person lets a held node in.
    pub(super) fn unfenced(&mut self, node: u64, name: &str, who: &str, time: u64, results: &mut Results<'_>) -> Value {
        if let Some(member) = self.members.get_mut(&node)
            && let Some(hold) = member.held.take()
        {
            member.waived = true;
            self.audit.record(time, "released", name, who, &format!("it was held: {}", hold.why));
            results.news(News::Released { node });
        }
        Value::Done {}
    }

    /// A node's watchdog runs, or no longer does. It runs for as long as the node holds anything.
    ///
    /// # Errors
    /// It holds something and would not be reset.
    pub(super) fn armed(
        &mut self,
        node: u64,
        name: &str,
        armed: bool,
        time: u64,
        results: &mut Results<'_>,
    ) -> Result<Value, Refusal> {
        if !armed && self.holds_anything(node) {
            return Err(Refusal::new(ErrorKind::Busy, format!("{name}: it holds something and stays armed")));
        }
        if let Some(member) = self.members.get_mut(&node)
            && member.armed != armed
        {
            member.armed = armed;
            let why = if armed { "its watchdog runs before it is granted anything" } else { "it holds nothing" };
            self.audit.record(time, "armed", name, if armed { "armed" } else { "disarmed" }, why);
            results.news(News::Armed { node, armed });
        }
        Ok(Value::Done {})
    }
}
