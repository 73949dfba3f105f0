//! What the leader does about lost nodes: it asks for their fencing through the log, runs the agents,
//! and reports what came of it through the log again.

use std::collections::BTreeMap;

use cluster_conf::Bound;
use fence::{End, Job};
use nines_proto::ctl::{ErrorKind, FenceTested, Value, utc};

use super::{Action, Caller, Engine, Now};
use crate::peer::Hello;
use crate::state::fence::{Ended, Operation};
use crate::state::{Command, Op};

/// What a job is run for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
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
        after: u64,
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
    pub(super) jobs: BTreeMap<u64, Purpose>,
    /// Not before this is the next attempt at a node.
    pub(super) retry: BTreeMap<u64, u64>,
    /// When this daemon first saw a majority.
    quorate_at: Option<u64>,
    /// Since when the log has each node as lost, on our clock.
    lost_at: BTreeMap<u64, u64>,
    /// When something about a node was last proposed.
    pub(super) proposed: BTreeMap<u64, u64>,
    /// What agents said, until the log knows it.
    results: Vec<Command>,
    results_sent: Option<u64>,
    /// When the lead was last offered to another, because this node is the victim.
    handed_over: Option<u64>,
}

impl Fencer {
    pub(super) fn begin(&mut self, purpose: Purpose) -> u64 {
        self.last_job += 1;
        self.jobs.insert(self.last_job, purpose);
        self.last_job
    }

    /// A job that unfences this host.
    pub(super) fn begin_own(&mut self) -> u64 {
        self.begin(Purpose::Own)
    }

    pub(super) fn runs(&self, of: u64) -> bool {
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
    pub(super) fn start_agents(&mut self, now: Now) {
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
            Purpose::Unfence { node, after, caller, id } => match end {
                End::Done { .. } => {
                    let (name, who) = (self.conf.name_of(node), self.who(&caller));
                    let op = Op::Unfence { node, name, who, devices: true, after: Some(after) };
                    self.submit_call(now, caller.connection, id, op);
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
}
