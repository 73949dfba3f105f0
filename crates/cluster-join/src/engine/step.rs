//! Events: time that passes, messages, and what this node has to propose.

use std::collections::VecDeque;

use nines_proto::ctl::ErrorKind;
use raft::eraftpb::{Message, MessageType};

use super::start::TICKS;
use super::{Engine, Event, Now, forced};
use crate::peer::Peer;
use crate::state::{Command, State};

impl Engine {
    /// Takes note of an event.
    pub fn step(&mut self, now: Now, event: Event) {
        self.pass_time(now);
        match event {
            Event::Tick => {}
            Event::PeerUp { link, ring, hello } => self.peer_up(now, link, ring, hello),
            Event::PeerDown { link, node } => {
                if self.peers.down(node, link) {
                    self.raw.report_unreachable(node);
                }
            }
            Event::Message { link, node, bytes } => {
                if self.peers.heard(now, node, link) {
                    self.message(now, node, &bytes);
                }
            }
            Event::Call { caller, call } => self.call(now, &caller, call),
            Event::Closed { connection } => self.closed(now, connection),
            Event::Fenced { number, end } if number >= forced::JOBS => self.pair_fenced(now, number, end),
            Event::Fenced { number, end } => self.fence_ended(now, number, end),
            Event::Armed(result) => self.watchdog_opened(now, result),
            Event::Stored { version, result } => self.conf_stored(now, version, result),
            Event::Stop => self.stop(),
        }
        self.spread_elections();
    }

    fn pass_time(&mut self, now: Now) {
        let mut ticks = 0;
        let late = now.ms.saturating_sub(self.next_tick);
        if late > 2 * self.tick_ms() {
            self.peers.overslept(now, late, self.token_ms);
        }
        while now.ms >= self.next_tick {
            // After a pause of the whole process the missed ticks say nothing about the others.
            if ticks == 4 {
                self.next_tick = now.ms;
            }
            ticks += 1;
            self.next_tick += self.tick_ms();
            // A node that is catching up must not stand for election, which is all it would do.
            if !self.identity.catching_up && self.raw.tick() && !self.leads() {
                self.attempts += 1;
            }
            self.spread_elections();
        }
        if ticks > 0 {
            self.watch_peers(now);
            self.watch_fencing(now);
            self.watch_lease(now);
            self.watch_unfence(now);
            self.watch_early(now);
            self.watch_calls(now);
            self.watch_membership(now);
            self.watch_pair(now);
        }
    }

    /// The library draws election times from a generator of its own; ours can be repeated.
    pub(super) fn spread_elections(&mut self) {
        let raft = &mut self.raw.raft;
        let mut hash = self.seed ^ (raft.id << 48) ^ (raft.term << 16) ^ self.attempts;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let ticks = TICKS as usize;
        let spread = usize::try_from((hash ^ (hash >> 31)) % (ticks as u64 / 2)).unwrap_or_default();
        raft.set_randomized_election_timeout(ticks + spread);
    }

    fn message(&mut self, now: Now, from: u64, bytes: &[u8]) {
        let message = match Peer::decode(bytes, from, self.me()) {
            Ok(Peer::Ping { incarnation, stamp, hears }) => return self.pinged(now, from, incarnation, stamp, hears),
            Ok(Peer::Pong { incarnation, stamp, lease }) => return self.ponged(now, from, incarnation, stamp, lease),
            Ok(Peer::Configuration(text)) => return self.learn(now, from, &text),
            // It went on without what this node has, or has not gone on with it yet.
            Ok(Peer::Raft(_)) if self.peers.epoch(from) < self.identity.forced.epoch => return,
            Ok(Peer::Raft(message)) => *message,
            Err(error) => {
                self.malformed += 1;
                // The first ones, and then ever fewer of them.
                if self.malformed.is_power_of_two() {
                    let line = format!("node {}: {error:#}", self.conf.name_of(from));
                    self.log(line);
                }
                return;
            }
        };
        if let Some(message) = self.acceptable(message) {
            // What the library refuses, an answer to no question or of an old term, is no news.
            let _ = self.raw.step(message);
        }
    }

    /// Keeps from the library what it takes for impossible, and from the elections a node that
    /// has forgotten what it promised.
    fn acceptable(&mut self, mut message: Message) -> Option<Message> {
        let last = self.raw.raft.raft_log.last_index();
        match message.get_msg_type() {
            // One of two may vote all the same: whatever was decided, the other one has.
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
                if self.identity.catching_up && !self.peers.pairs_with(message.from, self.me()) =>
            {
                return None;
            }
            // A no to a candidate of a lower priority carries this node's term, and a new cluster has
            // none yet, which the library takes for impossible. Silence is a no as well.
            MessageType::MsgRequestPreVote
                if self.raw.raft.term == 0 && message.get_priority() < self.raw.raft.priority =>
            {
                return None;
            }
            MessageType::MsgTimeoutNow if self.identity.catching_up => return None,
            // The leader may remember what this node's log held before it was emptied.
            MessageType::MsgHeartbeat => message.commit = message.commit.min(last),
            MessageType::MsgAppendResponse if !message.reject && message.index > last => return None,
            MessageType::MsgSnapshot => {
                let snapshot = message.get_snapshot();
                if State::decode(snapshot.get_data()).is_err() {
                    let line = format!("node {}: a snapshot of another cluster", self.conf.name_of(message.from));
                    self.log(line);
                    return None;
                }
            }
            _ => {}
        }
        Some(message)
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.refuse_all();
        self.refuse_early(ErrorKind::Stopping, "cluster-join is stopping");
        if self.leads()
            && let Some(heir) = self.peers.heir(&self.heirs())
        {
            self.raw.transfer_leader(heir);
        }
    }

    /// Commands waiting to be proposed, packed into one entry a turn.
    pub(super) fn propose(&mut self, now: Now) {
        let mut commands: Vec<Command> = Vec::new();
        if self.leads() {
            commands.extend(self.forced_command(now));
            commands.extend(self.member_changes(now));
            if let Some(change) = self.voters_change(now) {
                // Refused while another one is under way; this one is then made anew.
                let _ = self.raw.propose_conf_change(Vec::new(), change);
            }
        }
        commands.extend(self.fence_changes(now));
        let calls = if self.raw.raft.leader_id != 0 && self.admitted() { self.calls.unsent() } else { VecDeque::new() };
        let last = calls.back().map(|(seq, _, _)| *seq);
        let (node, incarnation) = (self.me(), self.identity.incarnation);
        commands.extend(calls.into_iter().map(|(seq, time, call)| Command::Call {
            node,
            incarnation,
            seq,
            time,
            call,
        }));
        if commands.is_empty() {
            return;
        }
        // Every command has a JSON form; one that had none would be as good as lost on the way.
        let Ok(data) = serde_json::to_vec(&commands) else { return };
        if self.raw.propose(Vec::new(), data).is_ok()
            && let Some(last) = last
        {
            self.calls.sent(now, last);
        }
    }
}
