//! Calls about fencing, and what the leader does about lost nodes: it asks for their fencing
//! through the log, runs the agents, and reports what came of it through the log again.

use std::collections::BTreeMap;

use fence::{End, Job};
use nines_proto::ctl::{
    ErrorKind, FenceEnd, FenceNode, FenceOperation, FenceTested, Fences, MemberState, Note, Request, Value, utc,
};

use super::{Action, Caller, Engine, Now};
use crate::peer::Hello;
use crate::state::fence::{Ended, News, Operation};
use crate::state::{Command, Op};
use cluster_conf::Bound;

/// Longest reason a person may give.
const MAX_WHY: usize = 255;
/// Most agents that run at once on behalf of callers.
const MAX_JOBS: usize = 16;

/// What a job is run for.
#[derive(Debug, Clone)]
enum Purpose {
    /// The operation and incarnation, and how many attempts there were before.
    Fence {
        node: u64,
        operation: u64,
        incarnation: u64,
        attempt: u32,
    },
    Test {
        node: u64,
        really: bool,
        caller: Caller,
        id: u64,
    },
    Unfence {
        node: u64,
        caller: Caller,
        id: u64,
    },
    /// This host itself, at its start.
    Own,
}

/// What this node has under way about fencing; none of it outlives the daemon.
#[derive(Debug, Default)]
pub struct Fencer {
    last_job: u64,
    jobs: BTreeMap<u64, Purpose>,
    /// Not before this is the next attempt at a node.
    retry: BTreeMap<u64, u64>,
    /// When this daemon first saw a majority.
    quorate_at: Option<u64>,
    /// Since when the log has each node as lost, on our clock.
    lost_at: BTreeMap<u64, u64>,
    /// When something about a node was last proposed.
    proposed: BTreeMap<u64, u64>,
    /// What agents said, until the log knows it.
    results: Vec<Command>,
    results_sent: Option<u64>,
    /// When the lead was last offered to another, because this node is the victim.
    handed_over: Option<u64>,
}

impl Fencer {
    fn begin(&mut self, purpose: Purpose) -> u64 {
        self.last_job += 1;
        self.jobs.insert(self.last_job, purpose);
        self.last_job
    }

    /// A job that unfences this host.
    pub(super) fn begin_own(&mut self) -> u64 {
        self.begin(Purpose::Own)
    }

    fn runs(&self, of: u64) -> bool {
        self.jobs.values().any(|purpose| matches!(purpose, Purpose::Fence { operation, .. } if *operation == of))
    }

    /// Whether agents may be switching `of` off just now.
    fn at_work_on(&self, of: u64) -> bool {
        self.jobs.values().any(|purpose| matches!(purpose, Purpose::Fence { node, .. } if *node == of))
    }
}

impl Engine {
    /// What the leader has to tell the log about fencing; and from any node, what its agents did.
    pub(super) fn fence_changes(&mut self, now: Now) -> Vec<Command> {
        let mut commands = self.fence_results(now);
        if !self.leads() {
            return commands;
        }
        for at in 0..self.conf.nodes.len() {
            let node = self.conf.nodes[at].id;
            let again = self.fencer.proposed.get(&node).is_none_or(|at| now.ms >= at + self.token_ms);
            if node != self.me()
                && again
                && let Some(command) = self.fence_change(now, node)
            {
                if self.blocked(now).is_some() {
                    break;
                }
                self.fencer.proposed.insert(node, now.ms);
                commands.push(command);
            }
        }
        commands
    }

    fn fence_change(&self, now: Now, node: u64) -> Option<Command> {
        if let Some(pending) = self.state.fencing.pending(node) {
            let member = self.state.members.get(&node)?;
            let moment = self.dead_by(node).filter(|_| member.armed && !member.present)?;
            let bound = Bound::of(&self.conf)?;
            return (now.ms >= moment).then(|| Command::FenceDone {
                operation: pending.number,
                incarnation: pending.incarnation,
                end: Ended::Watchdog { bound_ms: u64::try_from(bound.after_lease().as_millis()).unwrap_or(u64::MAX) },
                time: now.unix,
            });
        }
        if self.peers.present(now, node, self.token_ms) {
            let hello = self.peers.hello(node)?;
            let why = self.leftovers_of(hello)?;
            let name = self.conf.name_of(node);
            let known = self.state.members.get(&node).and_then(|member| member.held.as_ref());
            let told = known.is_some_and(|hold| hold.firm || hold.why == why);
            return (!told).then_some(Command::Held { node, name, why, time: now.unix });
        }
        let (incarnation, why) = self.to_be_fenced(now, node)?;
        let (name, who) = (self.conf.name_of(node), format!("leader {}", self.conf.name_of(self.me())));
        Some(Command::FenceAsked { node, name, incarnation, who, why, time: now.unix })
    }

    /// Which run of a silent node has to be fenced now, and why.
    fn to_be_fenced(&self, now: Now, node: u64) -> Option<(u64, String)> {
        let since_quorum = now.ms.saturating_sub(self.fencer.quorate_at?);
        let waited_for_join = || {
            self.conf.fence_daemon.post_join_delay.is_some_and(|delay| u128::from(since_quorum) >= delay.as_millis())
        };
        match self.state.members.get(&node).filter(|member| member.incarnation > 0) {
            Some(member) => {
                if member.present || member.fenced || member.left || !self.state.protected(node) {
                    return None;
                }
                let lost_for = now.ms.saturating_sub(*self.fencer.lost_at.get(&node)?);
                let waited = match self.peers.last_heard(node) {
                    Some(_) => u128::from(lost_for) >= self.conf.fence_daemon.post_fail_delay.as_millis(),
                    None => waited_for_join(),
                };
                let count = self.state.locks.owned_by(node);
                let armed = if member.armed { ", its watchdog is armed" } else { "" };
                let why = format!("lost since {} holding {count} locks{armed}", utc(member.since));
                waited.then_some((member.incarnation, why))
            }
            None => {
                let unknown = !self.conf.fence_daemon.clean_start
                    && self.conf.node(node).is_some_and(|node| !node.methods.is_empty())
                    && self.state.members.get(&node).is_none_or(|member| !member.fenced)
                    && self.peers.last_heard(node).is_none();
                (unknown && waited_for_join()).then(|| (0, "it never joined, so nobody knows what it does".to_owned()))
            }
        }
    }

    /// What this node's agents did and the log does not know yet.
    fn fence_results(&mut self, now: Now) -> Vec<Command> {
        let fencing = &self.state.fencing;
        self.fencer.results.retain(|command| match command {
            Command::FenceDone { operation, end, .. } => fencing.all_pending().any(|pending| {
                let news = !matches!(end, Ended::Failed { attempt, .. } if *attempt < pending.attempts);
                pending.number == *operation && news
            }),
            _ => false,
        });
        let again = self.fencer.results_sent.is_none_or(|at| now.ms >= at + self.token_ms);
        if !again || self.raw.raft.leader_id == 0 || self.fencer.results.is_empty() {
            return Vec::new();
        }
        self.fencer.results_sent = Some(now.ms);
        self.fencer.results.clone()
    }

    /// With every tick: what has become of the nodes, and which agents are to be started.
    pub(super) fn watch_fencing(&mut self, now: Now) {
        if self.fencer.quorate_at.is_none() && self.quorate == Some(true) {
            self.fencer.quorate_at = Some(now.ms);
        }
        let members = &self.state.members;
        self.fencer.lost_at.retain(|node, _| members.get(node).is_some_and(|member| !member.present));
        for node in members.iter().filter(|(_, member)| !member.present).map(|(node, _)| *node) {
            self.fencer.lost_at.entry(node).or_insert(now.ms);
        }
        self.start_agents(now);
    }

    /// Runs the agents of every operation that waits. A new leader runs them once more: that a
    /// node is off is true however often it is switched off.
    fn start_agents(&mut self, now: Now) {
        if !self.leads() || self.blocked(now).is_some() {
            return;
        }
        let due: Vec<Operation> = self.state.fencing.all_pending().cloned().collect();
        for operation in due {
            let Operation { number, node, name, incarnation, attempts, .. } = operation;
            let finished = self
                .fencer
                .results
                .iter()
                .any(|command| matches!(command, Command::FenceDone { operation, .. } if *operation == number));
            if node == self.me() && self.heirs().iter().all(|heir| *heir == node) {
                if !finished {
                    let what = "it has the only vote, and nobody switches off himself: give another node one".into();
                    let end = Ended::Failed { attempt: attempts, what };
                    self.fencer.results.push(Command::FenceDone {
                        operation: number,
                        incarnation,
                        end,
                        time: now.unix,
                    });
                }
                continue;
            }
            if node == self.me() {
                // Nobody switches off himself: another has to lead for that.
                if self.fencer.handed_over.is_none_or(|at| now.ms >= at + self.token_ms)
                    && let Some(heir) = self.peers.heir(&self.heirs())
                {
                    self.fencer.handed_over = Some(now.ms);
                    self.raw.transfer_leader(heir);
                }
                continue;
            }
            let Some(methods) = self.conf.node(node).map(|node| node.methods.clone()) else { continue };
            // A lost node that is heard again is about to join, or is held for a person to look at.
            let member = self.state.members.get(&node).is_some_and(|member| member.present);
            let back = !member && self.peers.present(now, node, self.token_ms);
            let early = self.fencer.retry.get(&node).is_some_and(|at| now.ms < *at);
            if methods.is_empty() || back || early || finished || self.fencer.runs(number) {
                continue;
            }
            let purpose = Purpose::Fence { node, operation: number, incarnation, attempt: attempts };
            let job = self.fencer.begin(purpose);
            self.out.push(Action::Fence(Job { number: job, node: name, action: fence::Action::Fence(methods) }));
        }
    }

    /// A job's agents have ended.
    pub(super) fn fence_ended(&mut self, now: Now, number: u64, end: End) {
        let Some(purpose) = self.fencer.jobs.remove(&number) else { return };
        match purpose {
            Purpose::Fence { node, operation, incarnation, attempt } => {
                let end = match end {
                    End::Done { method, what } => Ended::Agent { method, by: self.conf.name_of(self.me()), what },
                    End::Failed { what } => Ended::Failed { attempt, what },
                };
                let pause = u64::try_from(self.conf.fence_daemon.override_time.as_millis()).unwrap_or(u64::MAX);
                self.fencer.retry.insert(node, now.ms.saturating_add(pause));
                self.fencer.results.push(Command::FenceDone { operation, incarnation, end, time: now.unix });
                self.fencer.results_sent = None;
            }
            Purpose::Test { node, really, caller, id } => {
                let (good, what) = match end {
                    End::Done { method, what } => (true, format!("method {method}: {what}")),
                    End::Failed { what } => (false, what),
                };
                let tested = FenceTested { time: now.unix, good, really, what };
                // What was seen is told even when it cannot be recorded now.
                if self.blocked(now).is_some() {
                    return self.answer(caller.connection, id, Ok(Value::Tested(tested)));
                }
                self.submit_call(now, caller.connection, id, Op::FenceTested { node, tested });
            }
            Purpose::Own => self.own_unfence_ended(now, end),
            Purpose::Unfence { node, caller, id } => match end {
                End::Done { .. } => {
                    let (name, who) = (self.conf.name_of(node), self.who(&caller));
                    self.submit_call(now, caller.connection, id, Op::Unfence { node, name, who, devices: true });
                }
                End::Failed { what } => {
                    let message = format!("{}: not unfenced: {what}", self.conf.name_of(node));
                    self.refuse(caller.connection, id, ErrorKind::Invalid, message);
                }
            },
        }
    }

    /// Whether the leader lets a node in that it hears.
    pub(super) fn lets_in(&self, hello: &Hello) -> bool {
        let member = self.state.members.get(&hello.node);
        !self.fencer.at_work_on(hello.node)
            && !self.state.is_fenced_boot(hello.node, &hello.boot)
            && !member.is_some_and(|member| member.held.as_ref().is_some_and(|hold| hold.firm))
            && self.leftovers_of(hello).is_none()
    }

    /// What a node of a new boot has from before it joined, which nobody's locks protect.
    fn leftovers_of(&self, hello: &Hello) -> Option<String> {
        let excused = self.state.may_have_leftovers(hello.node, &hello.boot);
        (!excused && !hello.leftovers.is_empty()).then(|| format!("it has {}", hello.leftovers.join(", ")))
    }

    /// The end of this node's own boot as far as the cluster is concerned: its log says so.
    pub(super) fn watch_own_end(&mut self) {
        if self.state.is_fenced_boot(self.me(), &self.boot) && !self.fenced_out {
            self.fenced_out = true;
            let why = "this boot of this host has been fenced: what it held is others' now; reboot it";
            self.out.push(Action::Exit(why.into()));
        }
    }

    pub(super) fn fence_news(&mut self, now: Now, news: &News) {
        if let News::Armed { node, .. } = news
            && *node != self.me()
        {
            return;
        }
        if self.admitted() {
            let line = match news {
                News::Asked { node, operation, why } => {
                    format!("node {} is to be fenced (operation {operation}): {why}", self.conf.name_of(*node))
                }
                News::Failed { node, operation, attempts, what } => {
                    let name = self.conf.name_of(*node);
                    format!("node {name} is not fenced (operation {operation}, attempt {attempts}): {what}")
                }
                News::Fenced { node, operation, how, .. } => {
                    format!("node {} is fenced (operation {operation}): {how}", self.conf.name_of(*node))
                }
                News::Void { node, operation, why } => {
                    format!("node {} is not fenced (operation {operation}): {why}", self.conf.name_of(*node))
                }
                News::Held { node, why } => format!("node {} is not let in: {why}", self.conf.name_of(*node)),
                News::Released { node } => format!("node {} may join again", self.conf.name_of(*node)),
                News::Unfenced { node, who } => format!("node {} is unfenced by {who}", self.conf.name_of(*node)),
                News::Armed { armed: true, .. } => "the watchdog is armed".to_owned(),
                News::Armed { .. } => "this host holds nothing: the watchdog is disarmed".to_owned(),
            };
            self.log(line);
        }
        match news {
            News::Asked { .. } => self.start_agents(now),
            News::Void { node, .. } | News::Fenced { node, .. } => {
                self.fencer.retry.remove(node);
                self.fencer.proposed.remove(node);
            }
            // Somebody else saw to it, while this run of the daemon was there to be let in.
            News::Unfenced { node, .. } if *node == self.me() && self.admitted() => self.unfenced(now),
            _ => {}
        }
    }

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
                    return self.submit_call(now, connection, id, Op::Unfence { node, name, who, devices: false });
                }
                let purpose = Purpose::Unfence { node, caller: caller.clone(), id };
                self.run_job(caller, id, name, purpose, fence::Action::Unfence(unfence));
            }
            _ => {}
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
    fn heard_by(&self, now: Now, node: u64) -> Option<String> {
        if self.peers.present(now, node, self.token_ms) {
            return Some(self.conf.name_of(self.me()));
        }
        self.peers.heard_by(now, node, self.token_ms).map(|by| self.conf.name_of(by))
    }

    fn told(&self, now: Now, operation: &Operation) -> FenceOperation {
        let Operation { number, node, name, incarnation, who, why, asked, attempts, ended, end, .. } =
            operation.clone();
        let state = if end.is_some() { operation.state.clone() } else { self.waits_for(now, node, operation) };
        FenceOperation { operation: number, node: name, incarnation, who, why, asked, attempts, state, ended, end }
    }

    /// What an operation waits for.
    fn waits_for(&self, now: Now, node: u64, operation: &Operation) -> String {
        let mut parts = Vec::new();
        if !operation.state.is_empty() {
            parts.push(operation.state.clone());
        }
        if self.fencer.runs(operation.number) {
            parts.push("agents run".into());
        } else if self.conf.node(node).is_none_or(|node| node.methods.is_empty()) {
            parts.push("cluster.conf has no method for it".into());
        }
        if self.state.members.get(&node).is_some_and(|member| member.armed)
            && let Some(moment) = self.dead_by(node)
        {
            parts.push(format!(
                "its watchdog has reset it in {} s at the latest",
                moment.saturating_sub(now.ms).div_ceil(1000)
            ));
        }
        parts.join("; ")
    }

    fn fences(&self, now: Now) -> Fences {
        let bound = Bound::of(&self.conf).map(|bound| {
            let bound = bound.after_lease();
            bound.as_secs() + u64::from(bound.subsec_nanos() > 0)
        });
        let nodes = self.conf.nodes.iter().map(|node| {
            let methods = node.methods.iter().map(|method| {
                let devices = method.devices.iter().map(|device| format!("{} ({})", device.name, device.agent));
                format!("{}: {}", method.name, devices.collect::<Vec<_>>().join(", "))
            });
            let member = self.state.members.get(&node.id);
            FenceNode {
                node: node.name.clone(),
                methods: methods.collect(),
                bound,
                armed: member.is_some_and(|member| member.armed),
                held: member.is_some_and(|member| member.held.is_some()),
                tested: self.state.fencing.tested(node.id).cloned(),
            }
        });
        let mut pending: Vec<_> = self.state.fencing.all_pending().map(|operation| self.told(now, operation)).collect();
        // Of a pair without a majority only what is outside the log goes on.
        if let Some(outside) = self.pair_pending(now) {
            pending.retain(|operation| operation.node != outside.node);
            pending.insert(0, outside);
        }
        Fences {
            pending,
            history: self.state.fencing.history().map(|operation| self.told(now, operation)).collect(),
            nodes: nodes.collect(),
        }
    }

    /// What is not well, and what to type.
    pub(super) fn fence_notes(&self, now: Now) -> Vec<Note> {
        let mut notes = Vec::new();
        for operation in self.state.fencing.all_pending() {
            let name = &operation.name;
            let mut what = format!("{name} waits to be fenced (operation {}): {}", operation.number, operation.why);
            let state = self.waits_for(now, operation.node, operation);
            if !state.is_empty() {
                what += &format!("; {state}");
            }
            let command = if self.heard_by(now, operation.node).is_some() {
                None
            } else {
                Some(format!("cluster-fence --ack {name}"))
            };
            notes.push(Note { what, command });
        }
        for (node, member) in &self.state.members {
            let Some(hold) = &member.held else { continue };
            let name = self.conf.name_of(*node);
            let what = format!("{name} is not let in since {}: {}", utc(hold.since), hold.why);
            notes.push(Note { what, command: Some(format!("cluster-fence unfence {name}")) });
        }
        notes
    }

    /// A node's state where fencing has a say in it.
    pub(super) fn fence_state(&self, now: Now, node: u64) -> Option<MemberState> {
        let member = self.state.members.get(&node).filter(|member| !member.present)?;
        let here = self.peers.present(now, node, self.token_ms);
        if member.held.is_some() && here {
            Some(MemberState::Held)
        } else if member.left {
            Some(MemberState::Left)
        } else if member.fenced {
            Some(MemberState::Fenced)
        } else if member.incarnation == 0 {
            Some(MemberState::Absent)
        } else {
            None
        }
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
