//! The membership engine of one node: the consensus library, the replicated state, and what this
//! node's clients asked for. It has no clock, no socket and no disk of its own: events go in with
//! the time at which they happened, actions and writes come out, and the caller performs them.
//!
//! ```text
//! step(event)...  then  while let Some(write) = turn() { make it durable; written() }
//! ```

mod calls;
mod early;
mod fencing;
mod forced;
mod keys;
mod lease;
mod membership;
mod peers;
mod probe;
mod ready;
mod status;
mod unfence;
mod voters;

use std::collections::{BTreeMap, VecDeque};

use cluster_conf::Conf;
use nines_proto::ctl::{Answer, Call, ErrorKind};
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, Ready, StateRole};

use fence::{End, Job};

use crate::log::{Identity, Loaded, Store};
use crate::peer::{Hello, Peer, plausible};
use crate::state::{Command, Effect, State};
use calls::Calls;
use early::Early;
use fencing::Fencer;
use keys::Watches;
use lease::Leases;
pub use lease::{Reset, Watchdog};
use membership::Membership;
use peers::Peers;
pub use probe::Probe;
use unfence::Unfence;

/// The time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps.
    pub ms: u64,
    /// Seconds since 1970, for people.
    pub unix: u64,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub connection: u64,
    pub may_steer: bool,
    /// For the audit log: `uid 0`.
    pub who: String,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// Another node's session with us opened, over the network `ring`; `link` is its number.
    PeerUp { link: u64, ring: usize, hello: Hello },
    /// That session ended.
    PeerDown { link: u64, node: u64 },
    /// Something arrived over it.
    Message { link: u64, node: u64, bytes: Vec<u8> },
    /// A client on this host asks for something; only one that `may_steer` changes anything.
    Call { caller: Caller, call: Call },
    /// A client's connection closed.
    Closed { connection: u64 },
    /// A fence job of [`Action::Fence`] ended.
    Fenced { number: u64, end: End },
    /// The watchdog was opened, as [`Watchdog::Arm`] wants, or why it could not be.
    Armed(Result<(), String>),
    /// [`Action::Configuration`] is done: what else is not well, or why it is not on the disk.
    Stored { version: u32, result: Result<String, String> },
    /// The daemon is about to end.
    Stop,
}

/// What is to be done for the node.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Send {
        to: u64,
        bytes: Vec<u8>,
    },
    Answer {
        connection: u64,
        answer: Answer,
    },
    /// For people.
    Log(String),
    /// Remember this durably before anything else.
    Identity(Identity),
    /// Open all sessions anew, with the greeting as it is now.
    Reconnect,
    /// Run agents, and report the end as [`Event::Fenced`].
    Fence(Job),
    Watchdog(Watchdog),
    /// Remember durably that and why this host is about to be reset, or forget it.
    Reset(Option<Reset>),
    /// Make this the file, durably, and find out where its nodes are.
    Configuration {
        version: u32,
        text: String,
    },
    /// Keep sessions with these nodes, and with no others.
    Wire(Vec<u64>),
    /// End as if told to by a signal.
    Stop,
    /// This process must end.
    Exit(String),
}

/// Ticks of the consensus library in one token time.
const TICKS: u32 = 20;
/// How long the log may become, in entries and bytes, before it is rewritten shorter, and what
/// it then keeps for nodes that are a little behind.
#[derive(Debug, Clone, Copy)]
pub struct LogLength {
    pub most: (usize, usize),
    pub tail: (usize, usize),
}

impl LogLength {
    pub const USUAL: Self = Self { most: (8192, 4 << 20), tail: (1024, 1 << 20) };
}

/// One node of the cluster.
pub struct Engine {
    conf: Conf,
    identity: Identity,
    boot: String,
    /// Of each node on each network that it shares with this one.
    addresses: BTreeMap<u64, Vec<String>>,
    token_ms: u64,
    raw: RawNode<Store>,
    state: State,
    /// The entry behind which `state` is; the library is told a little later.
    state_at: u64,
    peers: Peers,
    calls: Calls,
    watches: Watches,
    fencer: Fencer,
    leases: Leases,
    early: Early,
    unfence: Unfence,
    /// What this host has from before the cluster let it in, for people.
    leftovers: Vec<String>,
    /// This boot was fenced, and that was told.
    fenced_out: bool,
    membership: Membership,
    pair: forced::Pair,
    /// Number of the last batch in the log file.
    batch: u64,
    in_flight: Option<InFlight>,
    next_tick: u64,
    /// Elections this node began or that ended, and a random number: both spread election times.
    attempts: u64,
    seed: u64,
    /// The leader last told of, and since when it is none.
    leader: u64,
    leaderless_since: Option<u64>,
    quorate: Option<bool>,
    /// The log was empty at start and nothing was added since.
    blank: bool,
    /// The log has known this very run of the daemon.
    was_admitted: bool,
    stopping: bool,
    /// How often this run began to greet anew.
    greeting: u64,
    /// Messages of other nodes that none of this version sends.
    malformed: u64,
    log_length: LogLength,
    out: Vec<Action>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.identity.node).finish_non_exhaustive()
    }
}

/// A write whose completion [`Engine::written`] tells.
enum InFlight {
    Ready { ready: Box<Ready>, messages: Vec<Message> },
    Shortened,
    Emptied,
}

/// Who votes before the first entry of the log.
fn formation(identity: &Identity) -> ConfState {
    ConfState { voters: identity.voters.clone(), learners: identity.learners.clone(), ..ConfState::default() }
}

fn raw_node(id: u64, applied: u64, store: Store) -> anyhow::Result<RawNode<Store>> {
    let ticks = TICKS as usize;
    let config = Config {
        id,
        election_tick: ticks,
        heartbeat_tick: ticks / 5,
        min_election_tick: ticks,
        max_election_tick: ticks + ticks / 2,
        applied,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        check_quorum: true,
        pre_vote: true,
        batch_append: true,
        max_committed_size_per_ready: 16 << 20,
        ..Config::default()
    };
    Ok(RawNode::new(&config, store, &slog::Logger::root(slog::Discard, slog::o!()))?)
}

impl Engine {
    /// An engine that goes on where `loaded` ends.
    ///
    /// # Errors
    /// Log and snapshot do not belong together.
    pub fn new(
        conf: Conf,
        identity: Identity,
        boot: String,
        loaded: Loaded,
        seed: u64,
        now: Now,
    ) -> anyhow::Result<Self> {
        let loaded = if identity.start_over { Loaded::default() } else { loaded };
        let mut conf_state = formation(&identity);
        let mut state = State::default();
        let mut applied = 0;
        if let Some(snapshot) = &loaded.snapshot {
            anyhow::ensure!(plausible(snapshot.get_metadata().get_conf_state()), "the snapshot has impossible voters");
            conf_state = snapshot.get_metadata().get_conf_state().clone();
            applied = snapshot.get_metadata().index;
            state = State::decode(snapshot.get_data())?;
        }
        let batch = loaded.log.number;
        let store = Store::new(conf_state, loaded)?;
        let blank = store.last() == 0;
        let raw = raw_node(identity.node, applied, store)?;
        let token_ms = u64::try_from(conf.token.as_millis())?;
        let mut engine = Self {
            peers: Peers::new(&conf, identity.node, now),
            calls: Calls::default(),
            fencer: Fencer::default(),
            leases: Leases::new(now),
            early: Early::default(),
            unfence: Unfence::default(),
            leftovers: Vec::new(),
            fenced_out: false,
            watches: Watches::default(),
            membership: Membership::new(&conf),
            pair: forced::Pair::default(),
            token_ms,
            conf,
            identity,
            boot,
            addresses: BTreeMap::new(),
            raw,
            state,
            state_at: applied,
            batch,
            in_flight: None,
            next_tick: now.ms,
            attempts: 0,
            seed,
            leader: 0,
            leaderless_since: Some(now.ms),
            quorate: None,
            blank,
            was_admitted: false,
            stopping: false,
            greeting: 0,
            malformed: 0,
            log_length: LogLength::USUAL,
            out: Vec::new(),
        };
        engine.spread_elections();
        engine.set_priority();
        if let Some(current) = engine.state.configured.current().cloned()
            && current.version >= engine.conf.version
        {
            engine.adopt(now, current.version, &current.text);
        }
        engine.rewire(now);
        Ok(engine)
    }

    /// Goes on as if started with this on the disk.
    fn rebuild(&mut self, conf_state: ConfState, loaded: Loaded, applied: u64) -> anyhow::Result<()> {
        let store = Store::new(conf_state, loaded)?;
        self.raw = raw_node(self.me(), applied, store)?;
        self.in_flight = None;
        self.set_priority();
        self.spread_elections();
        Ok(())
    }

    /// Another length for the log than [`LogLength::USUAL`].
    pub fn set_log_length(&mut self, log_length: LogLength) {
        self.log_length = log_length;
    }

    /// The nodes' addresses on each network that they share with this one.
    pub fn set_addresses(&mut self, addresses: BTreeMap<u64, Vec<String>>) {
        self.addresses = addresses;
    }

    /// What this host has that only a member may have: it is not let in with a boot that the
    /// cluster does not know before that is gone. The others are to be greeted anew.
    pub fn set_leftovers(&mut self, leftovers: Vec<String>) {
        self.leftovers = leftovers;
        self.greeting += 1;
    }

    /// What was said in the sessions there are is not so any more.
    fn reconnect(&mut self) {
        self.greeting += 1;
        self.out.push(Action::Reconnect);
    }

    fn me(&self) -> u64 {
        self.identity.node
    }

    fn log(&mut self, line: impl Into<String>) {
        self.out.push(Action::Log(line.into()));
    }

    fn tick_ms(&self) -> u64 {
        (self.token_ms / u64::from(TICKS)).max(1)
    }

    /// What is to be done now, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    /// When the engine wants a [`Event::Tick`] at the latest. Calls are looked at with every tick
    /// and no sooner: one whose time has passed and that cannot be undone must not keep the daemon
    /// busy.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        self.next_tick
    }

    /// Whether this node leads, and so would be missed when it stops.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Whether something of this node's own is still under way that should precede its end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.leads() || self.is_disarming()
    }

    /// The replicated state as of the last entry applied here.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last entry applied here.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    /// How this node introduces itself now.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let known = self.state.members.iter();
        Hello {
            protocol: crate::peer::PROTOCOL,
            cluster: self.conf.name.clone(),
            config_version: self.conf.version,
            node: self.me(),
            incarnation: self.identity.incarnation,
            greeting: self.greeting,
            boot: self.boot.clone(),
            store: self.identity.store.clone(),
            leftovers: self.leftovers.clone(),
            voters: self.identity.voters.clone(),
            learners: self.identity.learners.clone(),
            nodes: self.membership.wired.iter().copied().chain([self.me()]).collect(),
            voting: self.voters(),
            forced: (self.identity.forced.epoch, self.identity.forced.node),
            last: self.raw.store().last(),
            commit: self.raw.raft.raft_log.committed,
            known: known.map(|(node, member)| (*node, (member.incarnation, member.store.clone()))).collect(),
        }
    }

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
    fn spread_elections(&mut self) {
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

    fn apply(&mut self, now: Now, entries: Vec<Entry>) {
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
    fn admitted(&self) -> bool {
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

    fn joined_myself(&mut self, now: Now, incarnation: u64) {
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
    fn known_as_later(&mut self, incarnation: u64) {
        if self.was_admitted {
            let line =
                format!("another daemon has joined as this node (incarnation {incarnation}): two hosts of one name?");
            return self.out.push(Action::Exit(line));
        }
        self.identity.incarnation = incarnation + 1;
        self.out.push(Action::Identity(self.identity.clone()));
        self.reconnect();
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
    fn propose(&mut self, now: Now) {
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
