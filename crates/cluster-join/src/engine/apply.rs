//! What the log says, applied to the state, and what that means for this node.

use raft::eraftpb::{Entry, EntryType};

use super::{Action, Engine, Now};
use crate::state::{Command, Effect};

impl Engine {
    pub(super) fn apply(&mut self, now: Now, entries: Vec<Entry>) {
        for entry in entries {
            self.state_at = entry.index;
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                self.change_voters(now, &entry);
                continue;
            }
            if entry.data.is_empty() {
                continue;
            }
            let commands: Vec<Command> = match serde_json::from_slice(&entry.data) {
                Ok(commands) => commands,
                Err(error) => {
                    // Every node finds the same and goes on alike.
                    let line = format!("entry {} is not a change this version knows: {error}", entry.index);
                    self.log(line);
                    continue;
                }
            };
            let mut effects = Vec::new();
            for command in commands {
                self.state.apply(command, &mut effects);
                for effect in effects.drain(..) {
                    self.effect(now, effect);
                }
            }
        }
        self.watch_own_end();
    }

    fn effect(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Joined { node, incarnation, restarted } => {
                let name = self.conf.name_of(node);
                let how = if restarted { "joined" } else { "is back" };
                // What this node reads of the past at its start is no news.
                if self.admitted() || node == self.me() && incarnation == self.identity.incarnation {
                    self.log(format!("node {name} {how} (incarnation {incarnation})"));
                }
                if node == self.me() {
                    self.joined_myself(now, incarnation);
                }
            }
            Effect::Lost { node } => {
                if self.admitted() {
                    let name = self.conf.name_of(node);
                    let until = if self.state.protected(node) {
                        "; what it holds stays its own until it is fenced"
                    } else {
                        ""
                    };
                    self.log(format!("node {name} is lost{until}"));
                }
            }
            Effect::Left { node } => {
                if node == self.me() && self.was_admitted {
                    self.left_now(now);
                } else if self.admitted() {
                    let name = self.conf.name_of(node);
                    self.log(format!("node {name} left"));
                }
            }
            Effect::Forced => self.forced_applied(),
            Effect::Configured { version } => {
                // What was in force before this node's own file is no help in finding the others.
                if version >= self.conf.version || self.was_admitted {
                    self.adopt_current(now);
                }
            }
            Effect::Taken { node, seq } if node == self.me() && self.listens() => self.calls.taken(now, seq),
            Effect::Gap { node, wanted } if node == self.me() && self.listens() => self.calls.resend(now, wanted),
            Effect::Decided(decided) if decided.call.node == self.me() && self.listens() => {
                self.decided(now, decided.call.seq, decided.result);
            }
            Effect::Fence(news) => self.fence_news(now, &news),
            Effect::Taken { .. } | Effect::Gap { .. } | Effect::Decided(_) => {}
        }
    }

    /// Whether the log knows this very run of the daemon.
    pub(super) fn admitted(&self) -> bool {
        let member = self.state.members.get(&self.me());
        member.is_some_and(|member| {
            member.incarnation == self.identity.incarnation && member.store == self.identity.store
        })
    }

    /// Whether what is decided about this node's calls is about this run: one that was a member and
    /// has just been removed still has clients.
    fn listens(&self) -> bool {
        self.admitted() || self.was_admitted && !self.state.members.contains_key(&self.me())
    }

    pub(super) fn joined_myself(&mut self, now: Now, incarnation: u64) {
        if !self.admitted() && incarnation >= self.identity.incarnation {
            self.known_as_later(incarnation);
        } else if self.admitted() {
            self.was_admitted = true;
            self.adopt_current(now);
            // What was asked while we were taken for lost fell on deaf ears.
            self.calls.new_leader();
            if self.identity.catching_up {
                self.identity.catching_up = false;
                self.out.push(Action::Identity(self.identity.clone()));
                self.log("caught up: this node votes again");
            }
        }
    }

    /// The cluster knows this node by an incarnation that ours does not come after: its state
    /// directory was emptied or set back, or somebody else runs as this node.
    pub(super) fn known_as_later(&mut self, incarnation: u64) {
        if self.was_admitted {
            let line =
                format!("another daemon has joined as this node (incarnation {incarnation}): two hosts of one name?");
            return self.out.push(Action::Exit(line));
        }
        self.identity.incarnation = incarnation + 1;
        self.out.push(Action::Identity(self.identity.clone()));
        self.reconnect();
    }
}
