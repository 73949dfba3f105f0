//! The course of a fencing: how it begins, how it ends, and what that frees.

use nines_proto::ctl::{ErrorKind, FenceEnd, Value};

use super::fence::{Ended, HELD_WITHIN, Hold, News, Operation, Results, cut};
use super::{Effect, MemberRecord, State};
use crate::lock::{CallId, Decided, Refusal};

/// Tells whoever looks on, and whoever asked, that the run an operation is about is over.
fn over(operation: &Operation, boot: String, how: String, results: &mut Results<'_>) {
    let Operation { node, number, waiting, .. } = operation;
    results.news(News::Fenced { node: *node, operation: *number, boot, how });
    results.answer(waiting, &Ok(Value::Fenced { operation: *number }));
}

/// That a run of a node is to be fenced, since when, and who wants it and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub node: u64,
    pub name: &'a str,
    /// 0 is one that never came.
    pub incarnation: u64,
    pub who: &'a str,
    pub why: &'a str,
    pub time: u64,
}

impl State {
    /// Frees what the former boot of `node` had; how much that was, for people.
    pub(super) fn free(&mut self, node: u64, time: u64, decided: &mut Vec<Decided>) -> usize {
        let count = self.locks.owned_by(node) + self.keys.owned_by(node);
        self.locks.returned(node, true, time, decided);
        self.keys.drop_node(node, true);
        count
    }

    /// A lost node that holds something, or one that never came, is to be fenced.
    pub(super) fn fence_asked(&mut self, asked: Wanted<'_>, results: &mut Results<'_>) {
        let Wanted { node, incarnation, .. } = asked;
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
            self.begin_fence(asked, Vec::new(), results);
        }
    }

    /// Begins an operation, whose number is returned and whose end is told to those who wait.
    pub(super) fn begin_fence(&mut self, asked: Wanted<'_>, waiting: Vec<CallId>, results: &mut Results<'_>) -> u64 {
        let Wanted { node, name, incarnation, who, why, time } = asked;
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
    pub(super) fn confirm(
        &mut self,
        node: u64,
        end: FenceEnd,
        who: &str,
        how: &str,
        time: u64,
        results: &mut Results<'_>,
    ) {
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
        over(&operation, boot, how.to_owned(), results);
        if by_agent && self.fencing.recent(node, time) >= 2 {
            self.hold(node, &name, &format!("fenced twice within {HELD_WITHIN} seconds"), true, time, results);
        }
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
            self.begin_fence(Wanted { node, name, incarnation, who, why: how, time }, Vec::new(), results);
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
            over(&operation, boot, how, results);
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
}
