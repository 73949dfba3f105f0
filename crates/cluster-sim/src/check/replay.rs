//! The newest state once more, made by applying every committed command one by one: what must hold
//! has to hold behind each of them, not only where a node happened to be looked at.

use cluster_join::engine::Engine;
use cluster_join::lock::Holder;
use cluster_join::state::{Command, Effect, Op, State};
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};

use super::{Check, Fencing, Verdict, must};
use crate::count::Counts;

/// A resource, its holders, and who waits in the order of service.
pub type Lock = (String, Vec<Holder>, Vec<Holder>);

/// The state behind an entry, and its locks as a list.
#[derive(Debug, Default)]
pub struct Replay {
    pub state: State,
    pub locks: Vec<Lock>,
    at: u64,
}

/// A command and what it did.
#[derive(Debug)]
pub struct Step<'a> {
    pub command: &'a Command,
    pub effects: &'a [Effect],
    pub state: &'a State,
    /// The locks before it and behind it.
    pub before: &'a [Lock],
    pub after: &'a [Lock],
}

/// What is so, whatever the cluster believes.
pub struct Truth<'a> {
    /// Whether a node is on in that boot, and can write to the storage.
    pub alive: &'a dyn Fn(u64, u64) -> bool,
    /// Whether a node has nothing of an earlier life in that boot.
    pub clean: &'a dyn Fn(u64, &str) -> bool,
    /// There are watchdogs.
    pub watchdogs: bool,
}

impl std::fmt::Debug for Truth<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Truth").field("watchdogs", &self.watchdogs).finish_non_exhaustive()
    }
}

impl Step<'_> {
    /// The call the command is, and whose.
    pub fn call(&self) -> Option<(u64, u64, &Op)> {
        match self.command {
            Command::Call { node, seq, call, .. } => Some((*node, *seq, call)),
            _ => None,
        }
    }
}

/// What an entry of the log changes, as the engine reads it.
fn commands(entry: &Entry) -> Vec<Command> {
    if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
        let change = ConfChangeV2::parse_from_bytes(&entry.data).unwrap_or_default();
        let command = serde_json::from_slice::<Command>(&change.context).ok();
        return command.filter(|command| matches!(command, Command::Voters { .. })).into_iter().collect();
    }
    serde_json::from_slice(&entry.data).unwrap_or_default()
}

fn list(state: &State) -> Vec<Lock> {
    state.locks.list().map(|(resource, granted, waiting)| (resource.to_owned(), granted, waiting)).collect()
}

/// Whether a command leaves all locks as they are.
fn spares_locks(command: &Command) -> bool {
    let Command::Call { call, .. } = command else { return false };
    matches!(call, Op::Put { .. } | Op::Delete { .. } | Op::Get { .. } | Op::Keys { .. } | Op::Armed { .. })
}

/// Whether a command leaves members and fencings as they are.
fn spares_members(command: &Command) -> bool {
    let Command::Call { call, .. } = command else { return false };
    !matches!(call, Op::Fence { .. } | Op::FenceAck { .. } | Op::Unfence { .. } | Op::Leave(_) | Op::Configure { .. })
}

impl Check {
    /// Follows the log to where `engine` has come, and looks at the state behind every command.
    ///
    /// # Errors
    /// A promise is broken there.
    pub fn follow<'a>(
        &mut self,
        engine: &'a Engine,
        others: impl Iterator<Item = &'a Engine>,
        truth: &Truth<'_>,
        counts: &mut Counts,
    ) -> Verdict {
        let applied = engine.probe().applied;
        // Where the log was cut before anybody looked, another node may still have all of it.
        let whole = |engine: &'a Engine| engine.entries(self.replay.at + 1, applied);
        let same = |entries: &&[Entry]| entries.iter().all(|entry| self.consensus.has(entry.index, entry.term));
        let Some(entries) = whole(engine).or_else(|| others.filter_map(whole).find(same)) else {
            // Nobody has: this goes on from the state there is.
            counts.some("entries not replayed", applied - self.replay.at);
            self.storage.granted(engine.state().locks.generation());
            self.replay = Replay { state: engine.state().clone(), locks: list(engine.state()), at: applied };
            self.values.jump();
            self.keys.jump(&self.replay.state.keys);
            return self.look(None, truth, counts);
        };
        let mut effects = Vec::new();
        for command in entries.iter().flat_map(commands) {
            effects.clear();
            self.replay.state.apply(command.clone(), &mut effects);
            counts.some("nodes lost", effects.iter().filter(|it| matches!(it, Effect::Lost { .. })).count() as u64);
            let before = if spares_locks(&command) {
                None
            } else {
                let now = list(&self.replay.state);
                Some(std::mem::replace(&mut self.replay.locks, now))
            };
            self.step(&command, &effects, before.as_deref())?;
            self.look(Some(&command), truth, counts)?;
        }
        self.replay.at = applied;
        self.storage.granted(self.replay.state.locks.generation());
        must("c6_same_state", !applied.is_multiple_of(8) || self.replay.state == *engine.state(), || {
            format!("entry {applied} makes another state than a node has that applied it")
        })
    }

    /// What a command did to queues, values and keys.
    fn step(&mut self, command: &Command, effects: &[Effect], before: Option<&[Lock]>) -> Verdict {
        let Replay { state, locks: after, .. } = &self.replay;
        let step = Step { command, effects, state, before: before.unwrap_or(after), after };
        Fencing::m3_only_this_run(&step)?;
        if before.is_some() {
            super::queues::l5_in_turn(&step)?;
            super::queues::l5_nobody_forgotten(&step)?;
            super::queues::l6_no_deadlock(&step)?;
        }
        self.values.follow(&step)?;
        self.keys.follow(&step)
    }

    /// The state as it is now, behind `command`.
    fn look(&mut self, command: Option<&Command>, truth: &Truth<'_>, counts: &mut Counts) -> Verdict {
        let Replay { state, locks, .. } = &self.replay;
        super::Storage::l1_granted_go_together(locks)?;
        if truth.watchdogs {
            Fencing::f8_holders_are_armed(state, locks)?;
        }
        if command.is_some_and(spares_members) {
            return Ok(());
        }
        self.membership.m3_one_incarnation(state)?;
        for node in self.fencing.f1_confirmed_is_dead(state, truth.alive, counts)? {
            self.storage.not_judged(node);
        }
        Fencing::m4_fenced_has_nothing(state)?;
        self.fencing.f3_fenced_boot_stays_out(state)?;
        self.fencing.f9_clean_when_let_in(state, truth.clean)
    }
}
