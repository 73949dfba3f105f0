//! What the library wants written and sent, in the order that makes it safe: what a message
//! promises is durable before the message leaves. And the log's length, bounded by snapshots.

use raft::Storage;
use raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};

use super::{Action, Engine, InFlight, LogLength, Now};
use crate::log::{Write, encode_batch, encode_snapshot, header};
use crate::peer::Peer;
use crate::state::State;

/// Whether who votes is another one behind these entries.
fn changes_voters(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.get_entry_type() == EntryType::EntryConfChangeV2)
}

impl Engine {
    /// The next write that must be durable before the engine goes on, or `None` when there is
    /// nothing left to do until the next event. Actions that do not depend on the write are
    /// ready before it.
    ///
    /// # Errors
    /// The state does not encode.
    pub fn turn(&mut self, now: Now) -> anyhow::Result<Option<Write>> {
        loop {
            if self.identity.start_over {
                self.batch = 0;
                self.in_flight = Some(InFlight::Emptied);
                return Ok(Some(Write::StartOver { log: header() }));
            }
            if let Some(write) = self.forced_write()? {
                return Ok(Some(write));
            }
            if std::mem::take(&mut self.commit_due) {
                let messages = std::mem::take(&mut self.withheld);
                self.in_flight = Some(InFlight::Committed { messages });
                return Ok(Some(self.append(&[])?));
            }
            self.propose(now);
            if let Some(write) = self.shorten()? {
                self.in_flight = Some(InFlight::Shortened);
                return Ok(Some(write));
            }
            if !self.raw.has_ready() {
                self.provide_snapshot()?;
                self.serve_watches();
                self.provide_configuration(now);
                return Ok(None);
            }
            let mut ready = self.raw.ready();
            // The library has a leader send beside its own write: its term was made durable when
            // it asked for votes. One that votes alone asks nobody, and leads in the same turn.
            let term = self.raw.store().hard_state().term;
            let new_term = ready.hs().is_some_and(|hard_state| hard_state.term != term);
            // That the voters have changed is durable before others hear of it: one that votes no more then
            // goes, and a start that did not know of the change would wait for its vote for ever.
            let changes = changes_voters(ready.committed_entries());
            let mut messages = ready.take_messages();
            if !new_term && !changes {
                self.send(std::mem::take(&mut messages))?;
            }
            if let Some(hard_state) = ready.hs() {
                self.raw.mut_store().set_hard_state(hard_state.clone());
            }
            let snapshot = Some(ready.snapshot().clone()).filter(|snapshot| snapshot.get_metadata().index > 0);
            if let Some(snapshot) = &snapshot {
                self.state = State::decode(snapshot.get_data())?;
                self.state_at = snapshot.get_metadata().index;
                self.raw.mut_store().restore(snapshot);
                self.restored(now);
                self.watch_own_end();
            }
            self.raw.mut_store().append(ready.entries());
            self.blank &= ready.entries().is_empty() && snapshot.is_none();
            let write = match snapshot {
                Some(snapshot) => Some(self.replace(&snapshot, ready.entries())?),
                None if ready.must_sync() || changes => Some(self.append(ready.entries())?),
                None => None,
            };
            self.apply(now, ready.take_committed_entries());
            messages.extend(ready.take_persisted_messages());
            self.in_flight = Some(InFlight::Ready { ready: Box::new(ready), messages });
            if write.is_some() {
                return Ok(write);
            }
            self.written(now)?;
        }
    }

    /// The write [`Engine::turn`] asked for is durable.
    ///
    /// # Errors
    /// A message does not encode.
    pub fn written(&mut self, now: Now) -> anyhow::Result<()> {
        let (ready, messages) = match self.in_flight.take() {
            Some(InFlight::Ready { ready, messages }) => (ready, messages),
            Some(InFlight::Emptied) => {
                self.identity.start_over = false;
                self.out.push(Action::Identity(self.identity.clone()));
                return Ok(());
            }
            Some(InFlight::Committed { messages }) => return self.send(messages),
            Some(InFlight::Shortened) | None => return Ok(()),
        };
        self.send(messages)?;
        let mut light = self.raw.advance(*ready);
        if let Some(commit) = light.commit_index() {
            let mut hard_state = self.raw.store().hard_state().clone();
            hard_state.commit = commit;
            self.raw.mut_store().set_hard_state(hard_state);
        }
        let committed = light.take_committed_entries();
        if changes_voters(&committed) {
            (self.commit_due, self.withheld) = (true, light.take_messages());
        } else {
            self.send(light.take_messages())?;
        }
        self.apply(now, committed);
        self.raw.advance_apply();
        self.watch_leader(now);
        self.spread_elections();
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) -> anyhow::Result<()> {
        for message in messages {
            let to = message.to;
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.peers.snapshot_sent(to);
            }
            let bytes = Peer::Raft(Box::new(message)).encode()?;
            self.out.push(Action::Send { to, bytes });
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> anyhow::Result<Write> {
        self.batch += 1;
        let mut bytes = Vec::new();
        encode_batch(self.batch, self.raw.store().hard_state(), entries, &mut bytes)?;
        Ok(Write::Append(bytes))
    }

    /// A new log that begins with `snapshot`.
    pub(super) fn replace(&mut self, snapshot: &Snapshot, entries: &[Entry]) -> anyhow::Result<Write> {
        self.batch = 1;
        let mut log = header();
        encode_batch(self.batch, self.raw.store().hard_state(), entries, &mut log)?;
        Ok(Write::Replace { index: snapshot.get_metadata().index, snapshot: encode_snapshot(snapshot)?, log })
    }

    /// Rewrites the log shorter when it has become long.
    fn shorten(&mut self) -> anyhow::Result<Option<Write>> {
        // A crash came between a snapshot and the log that begins with it.
        if self.raw.mut_store().take_outdated() {
            let snapshot = self.snapshot()?;
            return Ok(Some(self.replace(&snapshot, &[])?));
        }
        let (entries, bytes) = self.raw.store().size();
        let applied = self.applied();
        let first = self.raw.store().first_index()?;
        let LogLength { most, tail: keep } = self.log_length;
        if (entries < most.0 && bytes < most.1) || applied < first {
            return Ok(None);
        }
        let (mut tail, mut tail_bytes) = (0, 0);
        for entry in self.raw.store().entries().iter().rev().skip_while(|entry| entry.index > applied) {
            tail_bytes += entry.data.len();
            if tail == keep.0 || tail_bytes > keep.1 {
                break;
            }
            tail += 1;
        }
        // The first entry that is kept tells the term before those that are of use.
        let cut = (applied + 1 - (tail as u64)).clamp(first, applied);
        let kept: Vec<Entry> = self.raw.store().entries().iter().filter(|entry| entry.index >= cut).cloned().collect();
        if kept.len() == entries && bytes < 2 * most.1 && entries < 2 * most.0 {
            return Ok(None);
        }
        let snapshot = self.snapshot()?;
        let write = self.replace(&snapshot, &kept)?;
        self.raw.mut_store().cut(cut);
        Ok(Some(write))
    }

    pub(super) fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let index = self.applied();
        let mut snapshot = Snapshot { data: self.state.encode()?.into(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = self.raw.store().term(index)?;
        metadata.set_conf_state(self.raw.store().conf_state().clone());
        Ok(snapshot)
    }

    /// Makes the snapshot that a node far behind was found to need.
    fn provide_snapshot(&mut self) -> anyhow::Result<()> {
        if self.raw.store().snapshot_wanted() {
            let snapshot = self.snapshot()?;
            self.raw.mut_store().offer(snapshot);
        }
        Ok(())
    }
}
