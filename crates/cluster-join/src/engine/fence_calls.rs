//! Calls about fencing: who may ask for what, and which agents are run for that.

use fence::Job;
use nines_proto::ctl::{ErrorKind, FenceEnd, Request, Value};

use super::fencing::Purpose;
use super::{Action, Caller, Engine, Now};
use crate::state::Op;

/// Longest reason a person may give.
const MAX_WHY: usize = 255;

/// Most agents that run at once on behalf of callers.
const MAX_JOBS: usize = 16;

impl Engine {
    pub(super) fn who(&self, caller: &Caller) -> String {
        format!("{} on {}", caller.who, self.conf.name_of(self.me()))
    }

    pub(super) fn fence_call(&mut self, now: Now, caller: &Caller, id: u64, request: &Request) {
        let connection = caller.connection;
        if matches!(request, Request::Fences) {
            let fences = self.fences(now);
            return self.answer(connection, id, Ok(Value::Fences(fences)));
        }
        let (Request::Fence { node: name, .. }
        | Request::FenceAck { node: name, .. }
        | Request::FenceTest { node: name, .. }
        | Request::Unfence { node: name }) = request
        else {
            return;
        };
        let Some(node) = self.conf.nodes.iter().find(|node| node.name == *name).cloned() else {
            let message = format!("`{}' is not a node of this cluster", name.chars().take(64).collect::<String>());
            return self.refuse(connection, id, ErrorKind::Unknown, message);
        };
        if let Some((kind, message)) = self.cannot_submit(caller, name) {
            return self.refuse(connection, id, kind, message);
        }
        let who = self.who(caller);
        let (node, name, methods, unfence) = (node.id, node.name, node.methods, node.unfence);
        match request {
            Request::Fence { why, .. } => {
                if why.len() > MAX_WHY || why.chars().any(char::is_control) {
                    let message =
                        format!("{name}: the reason is longer than {MAX_WHY} bytes or has control characters");
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
                if methods.is_empty() {
                    let message = format!(
                        "{name}: cluster.conf has no fence method for it: switch it off by hand; if it is lost, acknowledge its fencing"
                    );
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
                if let Some(reason) = self.blocked(now) {
                    let message = format!("{name}: not quorate: {reason}");
                    return self.refuse(connection, id, ErrorKind::Inquorate, message);
                }
                self.submit_call(now, connection, id, Op::Fence { node, name, who, why: why.clone() });
            }
            Request::FenceAck { operation, incarnation, newest, .. } => {
                let said = (*operation, *incarnation, *newest);
                if self.pair_acknowledged(now, caller, id, node, said).is_some() {
                    return;
                }
                if let Some(by) = self.heard_by(now, node) {
                    let message = format!("{name}: {by} hears it: it is not off");
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
                if let Some(reason) = self.blocked(now) {
                    let message = format!("{name}: not quorate: {reason}");
                    return self.refuse(connection, id, ErrorKind::Inquorate, message);
                }
                let (operation, incarnation) = (*operation, *incarnation);
                // The word may be long on the way, and is about what was so when it was given: a number that
                // nobody can have read yet must not become right in the meantime.
                if operation > self.state.fencing.last() {
                    let message = format!("{name}: no operation {operation} is known here");
                    return self.refuse(connection, id, ErrorKind::Unknown, message);
                }
                self.submit_call(now, connection, id, Op::FenceAck { node, name, operation, incarnation, who });
            }
            Request::FenceTest { really, .. } => {
                let refusal = if methods.is_empty() {
                    Some(format!("{name}: cluster.conf has no fence method for it"))
                } else if *really && node == self.me() {
                    Some(format!("{name}: a host does not switch itself off: ask on another member"))
                } else if *really && self.state.protected(node) {
                    Some(format!("{name}: it holds locks: stop what runs there before it is power-cycled"))
                } else {
                    None
                };
                if let Some(message) = refusal {
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
                let purpose = Purpose::Test { node, really: *really, caller: caller.clone(), id };
                self.run_job(caller, id, name, purpose, fence::Action::Test(methods, *really));
            }
            Request::Unfence { .. } => {
                if let Some(reason) = self.blocked(now) {
                    let message = format!("{name}: not quorate: {reason}");
                    return self.refuse(connection, id, ErrorKind::Inquorate, message);
                }
                if unfence.is_empty() {
                    let op = Op::Unfence { node, name, who, devices: false, after: None };
                    return self.submit_call(now, connection, id, op);
                }
                if let Some(why) = self.stays_shut_out(now, node) {
                    return self.refuse(connection, id, ErrorKind::Invalid, format!("{name}: {why}"));
                }
                let after = self.state.fencing.last();
                let purpose = Purpose::Unfence { node, after, caller: caller.clone(), id };
                self.run_job(caller, id, name, purpose, fence::Action::Unfence(unfence));
            }
            _ => {}
        }
    }

    /// Why `node` must not get its access to storage back now: what ran there when it was fenced may
    /// still run, and would write again.
    fn stays_shut_out(&self, now: Now, node: u64) -> Option<&'static str> {
        if self.state.fencing.pending(node).is_some() {
            return Some("it waits to be fenced");
        }
        let boot = match self.peers.hello(node) {
            _ if node == self.me() => Some(&self.boot),
            Some(hello) if self.peers.present(now, node, self.token_ms) => Some(&hello.boot),
            _ => None,
        };
        match boot {
            None => Some("it is not heard, so nobody knows what runs there: start cluster-join on it"),
            Some(boot) if self.state.is_fenced_boot(node, boot) => {
                Some("this boot of it was fenced, and what still runs there would write again: reboot it")
            }
            Some(_) => None,
        }
    }

    fn run_job(&mut self, caller: &Caller, id: u64, node: String, purpose: Purpose, action: fence::Action) {
        if self.fencer.jobs.len() >= MAX_JOBS {
            let message = format!("{node}: {MAX_JOBS} jobs for fence agents run already");
            return self.refuse(caller.connection, id, ErrorKind::Busy, message);
        }
        let number = self.fencer.begin(purpose);
        self.out.push(Action::Fence(Job { number, node, action }));
    }

    /// A connection closed: nobody waits for its tests any more.
    pub(super) fn fence_closed(&mut self, connection: u64) {
        self.fencer.jobs.retain(|_, purpose| match purpose {
            Purpose::Fence { .. } | Purpose::Own => true,
            Purpose::Test { caller, .. } | Purpose::Unfence { caller, .. } => caller.connection != connection,
        });
    }

    /// The member that hears `node`, if any does.
    pub(super) fn heard_by(&self, now: Now, node: u64) -> Option<String> {
        if self.peers.present(now, node, self.token_ms) {
            return Some(self.conf.name_of(self.me()));
        }
        self.peers.heard_by(now, node, self.token_ms).map(|by| self.conf.name_of(by))
    }

    /// What a call for fencing led to, read from the state it left.
    pub(super) fn fence_outcome(&self, seq: u64) -> crate::lock::Outcome {
        use crate::lock::{CallId, Outcome};
        let call = CallId { node: self.me(), seq };
        match self.state.fencing.outcome(call) {
            Some(operation) => match &operation.end {
                None => Outcome::Waits,
                Some(FenceEnd::Void) => Outcome::Isnt,
                Some(_) => Outcome::Is(Value::Fenced { operation: operation.number }),
            },
            None => Outcome::Isnt,
        }
    }
}
