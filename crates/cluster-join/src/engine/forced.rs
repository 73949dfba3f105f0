//! A pair whose other node is certainly off goes on alone.
//!
//! With two votes nothing is committed without both, so a node that was a member beside its peer
//! has every committed entry. When the peer is silent it is fenced, by the node with the lower
//! id at once, by the other one a few seconds later, so that not both do it. Only when that is
//! confirmed for the run of the peer that the log knows does the survivor make itself the only
//! voter: first it remembers durably that it does, then it writes the snapshot with itself alone,
//! then it leads, and the first thing it commits says so. A node that was started without its
//! peer may have missed that the peer went on alone, and waits for the peer or for a person.

use cluster_conf::Bound;
use fence::{Action as Do, End, Job};
use nines_proto::ctl::{ErrorKind, FenceEnd, FenceOperation, Note, utc};
use raft::Storage;
use raft::eraftpb::{ConfState, Entry, HardState};

use super::{Action, Caller, Engine, InFlight, Now};
use crate::log::{Forced, Loaded, Recovered, Write};
use crate::state::Command;

/// Jobs of pairs have numbers that no operation in the log has.
pub const JOBS: u64 = 1 << 63;
/// The node with the higher id lets the other one begin.
const HIGHER_ID_MS: u64 = 5000;

/// What this node knows of its peer, and does about it.
#[derive(Debug, Default)]
pub struct Pair {
    /// The run of the peer that was a member beside this very run of ours.
    met: Option<(u64, u64)>,
    work: Option<Work>,
    /// Decided: done in the next turn.
    go: Option<Forced>,
    campaign: bool,
    /// The log of the former run was read.
    started: bool,
    /// Who waits to be told that it is done.
    acknowledged: Vec<(u64, u64)>,
    proposed: Option<u64>,
}

/// The fencing of a peer that is silent.
#[derive(Debug)]
struct Work {
    peer: u64,
    incarnation: u64,
    /// Seconds since 1970.
    asked: u64,
    begin: u64,
    running: bool,
    attempts: u32,
    last: String,
    again: u64,
}

impl Engine {
    /// The only other voter, where the configuration says that this is a pair.
    fn peer_of_pair(&self) -> Option<u64> {
        let state = self.raw.store().conf_state();
        let me = self.me();
        if !self.conf.two_node || state.voters.len() != 2 || !state.voters_outgoing.is_empty() {
            return None;
        }
        let peer = state.voters.iter().copied().find(|node| *node != me)?;
        (state.voters.contains(&me) && self.conf.node(peer).is_some()).then_some(peer)
    }

    /// What a person names to acknowledge that the peer is off.
    fn pair_operation(&self) -> u64 {
        JOBS | (self.identity.forced.epoch + 1)
    }

    fn committed_run(&self, node: u64) -> u64 {
        self.state.members.get(&node).map_or(0, |member| member.incarnation)
    }

    /// A start after a crash between the decision and its effect.
    fn resume_forced(&mut self) {
        let forced = &self.identity.forced;
        let alone = self.voters() == [self.me()];
        if forced.epoch > self.state.forced.0 && forced.node == self.me() && !alone {
            self.pair.go = Some(forced.clone());
        }
    }

    pub(super) fn watch_pair(&mut self, now: Now) {
        let Some(peer) = self.peer_of_pair() else {
            self.pair.work = None;
            return;
        };
        let incarnation = self.committed_run(peer);
        if self.peers.present(now, peer, self.token_ms) {
            let member = self.state.members.get(&peer).is_some_and(|member| member.present);
            if member && self.admitted() && self.raw.raft.leader_id != 0 {
                self.pair.met = Some((peer, incarnation));
            }
            if self.pair.work.as_ref().is_some_and(|work| !work.running) {
                self.pair.work = None;
            }
            return;
        }
        if self.pair.met != Some((peer, incarnation)) || self.is_leaving() || self.stopping || self.pair.go.is_some() {
            return;
        }
        let heard = self.peers.heard_ms(now, peer).unwrap_or(now.ms);
        if self.pair.work.is_none() {
            let delay = if self.me() < peer || self.has_delay(peer) { 0 } else { HIGHER_ID_MS };
            let fail = u64::try_from(self.conf.fence_daemon.post_fail_delay.as_millis()).unwrap_or(u64::MAX);
            let begin = (heard + self.token_ms).max(now.ms).saturating_add(delay).saturating_add(fail);
            let name = self.conf.name_of(peer);
            self.log(format!(
                "{name} is silent: it is fenced in {} s, then this node goes on alone",
                (delay + fail) / 1000
            ));
            let (asked, again, last) = (now.unix, 0, String::new());
            self.pair.work = Some(Work { peer, incarnation, asked, begin, running: false, attempts: 0, last, again });
        }
        let armed = self.state.members.get(&peer).is_some_and(|member| member.armed);
        if let Some(bound) = Bound::of(&self.conf).filter(|_| armed) {
            // Whatever proof of membership it has it had from an answer of ours to something heard.
            let bound = u64::try_from(bound.after_election().as_millis()).unwrap_or(u64::MAX);
            if now.ms >= heard.saturating_add(bound) {
                let how = format!("its watchdog has reset it: {bound} ms have passed since it was last heard");
                let who = self.conf.name_of(self.me());
                return self.go_alone(peer, incarnation, FenceEnd::Watchdog, how, who);
            }
        }
        let (operation, methods) = (self.pair_operation(), self.conf.node(peer).map(|node| node.methods.clone()));
        let Some(work) = &mut self.pair.work else { return };
        let methods = methods.unwrap_or_default();
        if !work.running && now.ms >= work.begin && now.ms >= work.again && !methods.is_empty() {
            work.running = true;
            let job = Job { number: operation, node: self.conf.name_of(peer), action: Do::Fence(methods) };
            self.out.push(Action::Fence(job));
        }
    }

    /// Whether the devices themselves make one of two hosts wait.
    fn has_delay(&self, peer: u64) -> bool {
        let devices =
            self.conf.node(peer).into_iter().flat_map(|node| &node.methods).flat_map(|method| &method.devices);
        devices.flat_map(|device| &device.attributes).any(|(name, _)| name == "delay")
    }

    /// The end of a job of [`Self::watch_pair`].
    pub(super) fn pair_fenced(&mut self, now: Now, number: u64, end: End) {
        let current = self.pair_operation();
        let Some(work) = self.pair.work.as_mut().filter(|work| work.running && number == current) else { return };
        work.running = false;
        let (peer, incarnation) = (work.peer, work.incarnation);
        let name = self.conf.name_of(peer);
        let back = self.peers.present(now, peer, self.token_ms) || self.committed_run(peer) != incarnation;
        match end {
            _ if back => {
                self.pair.work = None;
                self.log(format!("{name} is back: this node does not go on alone"));
            }
            End::Done { method, what } => {
                let by = self.conf.name_of(self.me());
                let how = format!("method {method}, run by {by}: {what}");
                self.go_alone(peer, incarnation, FenceEnd::Agent { method, by: by.clone() }, how, by);
            }
            End::Failed { what } => {
                let override_ms = u64::try_from(self.conf.fence_daemon.override_time.as_millis()).unwrap_or(u64::MAX);
                let Some(work) = &mut self.pair.work else { return };
                work.attempts += 1;
                work.again = now.ms.saturating_add(override_ms);
                work.last.clone_from(&what);
                let attempts = work.attempts;
                if attempts == 1 || attempts.is_multiple_of(10) {
                    self.log(format!("{name} is not fenced (attempt {attempts}): {what}"));
                }
            }
        }
    }

    /// A person says that the peer is off. `None`: this is not about the other one of a pair.
    pub(super) fn pair_acknowledged(
        &mut self,
        now: Now,
        caller: &Caller,
        id: u64,
        node: u64,
        (operation, incarnation, newest): (u64, u64, bool),
    ) -> Option<()> {
        let peer = self.peer_of_pair().filter(|peer| *peer == node)?;
        self.blocked(now)?;
        let name = self.conf.name_of(peer);
        let known = self.committed_run(peer);
        let refusal = if self.peers.present(now, peer, self.token_ms) {
            Some((ErrorKind::Busy, format!("{name} is heard: it is not off")))
        } else if self.identity.catching_up || self.applied() == 0 || !self.state.members.contains_key(&self.me()) {
            Some((ErrorKind::Invalid, format!("this node's log is empty: only {name} has what the cluster decided")))
        } else if incarnation != known {
            let message = format!("{name}'s last run that the log knows is {known}, not {incarnation}");
            Some((ErrorKind::Changed, message))
        } else if operation != self.pair_operation() && !newest {
            Some((ErrorKind::Unknown, format!("{name}: no operation {operation} is pending")))
        } else if self.pair.met != Some((peer, known)) && !newest {
            let message = format!(
                "{name} was not a member beside this run of cluster-join, and may have gone on without this node: \
                 if it did not, and is certainly off, say so with --i-am-the-newest"
            );
            Some((ErrorKind::Invalid, message))
        } else {
            None
        };
        if let Some((kind, message)) = refusal {
            self.refuse(caller.connection, id, kind, message);
            return Some(());
        }
        let who = format!("{} on {}", caller.who, self.conf.name_of(self.me()));
        let how = if newest { "acknowledged, with this log as the newest" } else { "acknowledged" };
        self.pair.acknowledged.push((caller.connection, id));
        self.go_alone(peer, known, FenceEnd::Acknowledged { who: who.clone() }, how.into(), who);
        Some(())
    }

    fn go_alone(&mut self, peer: u64, incarnation: u64, end: FenceEnd, how: String, who: String) {
        let epoch = self.identity.forced.epoch.max(self.state.forced.0) + 1;
        self.pair.work = None;
        self.pair.go = Some(Forced { epoch, node: self.me(), peer, incarnation, end: Some(end), how, who });
    }

    /// Makes this node the only voter: what has to be durable before it leads.
    ///
    /// # Errors
    /// The state does not encode.
    pub(super) fn forced_write(&mut self) -> anyhow::Result<Option<Write>> {
        if std::mem::take(&mut self.pair.campaign) {
            // Where an entry has to be applied first, the next election does it.
            let _ = self.raw.campaign();
        }
        if !self.pair.started && self.applied() > 0 && self.applied() >= self.raw.raft.raft_log.committed {
            self.pair.started = true;
            self.resume_forced();
        }
        let Some(forced) = self.pair.go.take() else { return Ok(None) };
        let name = self.conf.name_of(forced.peer);
        self.log(format!("{name} is certainly off ({}): this node goes on alone", forced.how));
        self.identity.forced = forced;
        self.out.push(Action::Identity(self.identity.clone()));
        let alone = ConfState { voters: vec![self.me()], ..ConfState::default() };
        let applied = self.applied();
        let mut snapshot = self.snapshot()?;
        snapshot.mut_metadata().set_conf_state(alone.clone());
        let store = self.raw.store();
        let hard_state: HardState = store.hard_state().clone();
        let entries: Vec<Entry> = store.entries().iter().filter(|entry| entry.index > applied).cloned().collect();
        debug_assert_eq!(store.term(applied).ok(), Some(snapshot.get_metadata().term));
        let log = Recovered { hard_state, entries: entries.clone(), number: self.batch, ..Recovered::default() };
        self.rebuild(alone, Loaded { snapshot: Some(snapshot.clone()), log }, applied)?;
        let write = self.replace(&snapshot, &entries)?;
        self.in_flight = Some(InFlight::Shortened);
        self.pair.campaign = true;
        Ok(Some(write))
    }

    /// What a leader that went on alone has to commit first.
    pub(super) fn forced_command(&mut self, now: Now) -> Option<Command> {
        let forced = &self.identity.forced;
        let again = self.pair.proposed.is_none_or(|at| now.ms >= at + self.token_ms);
        if forced.epoch <= self.state.forced.0 || forced.node != self.me() || !again {
            return None;
        }
        self.pair.proposed = Some(now.ms);
        Some(Command::Forced { forced: Box::new(forced.clone()), time: now.unix })
    }

    /// The state has it that a node of a pair went on alone.
    pub(super) fn forced_applied(&mut self) {
        for (connection, id) in std::mem::take(&mut self.pair.acknowledged) {
            self.answer(connection, id, Ok(nines_proto::ctl::Value::Done {}));
        }
        let (epoch, node) = self.state.forced;
        if epoch > self.identity.forced.epoch {
            self.take_epoch(epoch, node);
        }
    }

    fn take_epoch(&mut self, epoch: u64, node: u64) {
        self.identity.forced = Forced { epoch, node, ..Forced::default() };
        self.out.push(Action::Identity(self.identity.clone()));
        self.reconnect();
    }

    /// A node greets that went on without this one, or with one that did: what this node's log has
    /// beyond that is nobody's. True when there is nothing more to make of the greeting.
    pub(super) fn left_behind(&mut self, now: Now, node: u64, (epoch, by): (u64, u64)) -> bool {
        if epoch <= self.identity.forced.epoch || by == self.me() {
            return false;
        }
        if self.blank {
            self.take_epoch(epoch, by);
            return false;
        }
        let line = format!(
            "node {} went on without this one: this node's log is dropped and read anew from there",
            self.conf.name_of(node)
        );
        self.log(line.clone());
        self.identity.start_over = true;
        self.identity.catching_up = true;
        self.take_epoch(epoch, by);
        if self.was_admitted {
            // Clients of this run hold what may be somebody else's by now.
            self.out.push(Action::Exit(line));
            return true;
        }
        self.pair = Pair::default();
        self.state = crate::state::State::default();
        self.state_at = 0;
        self.blank = true;
        self.batch = 0;
        let begin = super::start::formation(&self.identity);
        if self.rebuild(begin, Loaded::default(), 0).is_err() {
            self.out.push(Action::Exit(line));
        }
        self.rewire(now);
        false
    }

    /// What the other one of a pair has to do with why nothing can be granted.
    pub(super) fn pair_reason(&self, now: Now) -> Option<String> {
        let peer = self.peer_of_pair()?;
        let name = self.conf.name_of(peer);
        if self.peers.present(now, peer, self.token_ms) {
            return None;
        }
        let acknowledge = format!("when it is certainly off: cluster-fence --ack {name}");
        let Some(work) = &self.pair.work else {
            if self.pair.met != Some((peer, self.committed_run(peer))) {
                return Some(format!(
                    "it may have gone on without this node: start it, or {acknowledge} --i-am-the-newest"
                ));
            }
            return None;
        };
        let methods = self.conf.node(peer).is_some_and(|node| !node.methods.is_empty());
        Some(if !methods {
            format!("{name} has no fence method; {acknowledge}")
        } else if work.attempts > 0 {
            format!("{name} is not fenced after {} attempts ({}); {acknowledge}", work.attempts, work.last)
        } else if work.running {
            format!("{name} is being fenced, then this node goes on alone")
        } else {
            let left = work.begin.saturating_sub(now.ms).div_ceil(1000);
            format!("{name} is fenced in {left} s, then this node goes on alone")
        })
    }

    /// The same as a note, with the command alone.
    pub(super) fn pair_notes(&self, now: Now) -> Vec<Note> {
        let (Some(what), Some(peer)) = (self.pair_reason(now), self.peer_of_pair()) else { return Vec::new() };
        let newest = if self.pair.work.is_none() { " --i-am-the-newest" } else { "" };
        let command = format!("cluster-fence --ack {}{newest}", self.conf.name_of(peer));
        vec![Note { what, command: Some(command) }]
    }

    /// The fencing that waits outside the log, for the list of them.
    pub(super) fn pair_pending(&self, now: Now) -> Option<FenceOperation> {
        let peer = self.peer_of_pair().filter(|peer| !self.peers.present(now, *peer, self.token_ms))?;
        self.blocked(now)?;
        let name = self.conf.name_of(peer);
        let since = self.peers.last_heard(peer);
        let why =
            since.map_or_else(|| "not heard since the start".into(), |since| format!("silent since {}", utc(since)));
        let work = self.pair.work.as_ref();
        Some(FenceOperation {
            operation: self.pair_operation(),
            node: name,
            incarnation: self.committed_run(peer),
            who: self.conf.name_of(self.me()),
            why,
            asked: work.map_or(now.unix, |work| work.asked),
            attempts: work.map_or(0, |work| work.attempts),
            state: self.pair_reason(now).unwrap_or_default(),
            ended: None,
            end: None,
        })
    }
}
