//! What a fencing took away beside power, this host gets back when it has joined: its own `<unfence>`
//! devices are asked for it, and before they said yes nothing is granted to it.
//!
//! Not sooner than it has joined, for only the log knows that this boot is not one that was fenced.
//! And not again while it holds something: it had its access when it got that, and should it be
//! fenced in the meantime, an agent that opens late would undo it. For
//! the same reason its own agents are waited for when another member has seen to it before they end.

use fence::{Action as Task, End, Job};
use nines_proto::ctl::Note;

use super::{Action, Engine, Now};
use crate::state::Op;

/// How far this run of the daemon is.
#[derive(Debug, Default)]
pub struct Unfence {
    done: bool,
    running: bool,
    /// The last fencing when its agents were started.
    after: u64,
    /// Not before this is the next attempt.
    again: u64,
    /// Why the last one failed.
    failed: Option<String>,
}

impl Engine {
    /// Whether nothing keeps this host from its storage as far as its devices say.
    pub(super) fn is_unfenced(&self) -> bool {
        self.unfence.done || self.conf.node(self.me()).is_none_or(|node| node.unfence.is_empty())
    }

    /// Why nothing is granted yet.
    pub(super) fn not_unfenced(&self) -> Option<String> {
        if self.is_unfenced() {
            return None;
        }
        let state = match &self.unfence.failed {
            Some(what) => what.as_str(),
            None if self.unfence.running => "its agents run",
            None => "it has not joined yet",
        };
        Some(format!("this host is not unfenced: {state}"))
    }

    /// With every tick: whether to ask the devices now.
    pub(super) fn watch_unfence(&mut self, now: Now) {
        let member = self.state.members.get(&self.me()).filter(|member| member.present && !member.fenced);
        let Some(member) = member.filter(|_| !self.unfence.done && self.admitted()) else { return };
        let devices = self.conf.node(self.me()).map(|node| node.unfence.clone()).unwrap_or_default();
        if self.unfence.running {
            return;
        }
        if devices.is_empty() || member.unfenced || self.state.holds_anything(self.me()) {
            return self.unfenced(now);
        }
        if self.stopping || self.blocked(now).is_some() {
            return;
        }
        if now.ms >= self.unfence.again {
            (self.unfence.running, self.unfence.after) = (true, self.state.fencing.last());
            let node = self.conf.name_of(self.me());
            let number = self.fencer.begin_own();
            self.out.push(Action::Fence(Job { number, node, action: Task::Unfence(devices) }));
        }
    }

    /// This host's own devices have answered.
    pub(super) fn own_unfence_ended(&mut self, now: Now, end: End) {
        self.unfence.running = false;
        match end {
            End::Done { .. } => {
                let name = self.conf.name_of(self.me());
                let (who, after) = (format!("{name} itself"), Some(self.unfence.after));
                self.submit(now, Op::Unfence { node: self.me(), who, name, devices: true, after });
                self.unfenced(now);
            }
            End::Failed { what } => {
                let pause = u64::try_from(self.conf.fence_daemon.override_time.as_millis()).unwrap_or(u64::MAX);
                self.unfence.again = now.ms.saturating_add(pause);
                if self.unfence.failed.as_ref() != Some(&what) {
                    self.log(format!("this host is not unfenced, so nothing is granted: {what}"));
                }
                self.unfence.failed = Some(what);
            }
        }
    }

    /// It has its access, whoever saw to it.
    pub(super) fn unfenced(&mut self, now: Now) {
        self.unfence.done = true;
        self.unfence.failed = None;
        self.take_early(now);
    }

    pub(super) fn unfence_notes(&self) -> Vec<Note> {
        let failed = self.unfence.failed.as_ref().filter(|_| !self.is_unfenced());
        let name = self.conf.name_of(self.me());
        let note = |what: &String| Note {
            what: format!("this host is not unfenced, so nothing is granted to it: {what}"),
            command: Some(format!("on another member: cluster-fence unfence {name}")),
        };
        failed.map(note).into_iter().collect()
    }
}
