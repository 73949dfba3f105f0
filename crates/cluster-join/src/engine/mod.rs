//! The membership engine of one node: the consensus library, the replicated state, and what this
//! node's clients asked for. It has no clock, no socket and no disk of its own: events go in with
//! the time at which they happened, actions and writes come out, and the caller performs them.
//!
//! ```text
//! step(event)...  then  while let Some(write) = turn() { make it durable; written() }
//! ```

mod answers;
mod apply;
mod calls;
mod early;
mod fence_calls;
mod fence_view;
mod fencing;
mod forced;
mod greeting;
mod joining;
mod keys;
mod lease;
mod links;
mod membership;
mod peers;
mod probe;
mod quorum;
mod ready;
mod request;
mod start;
mod status;
mod step;
mod unfence;
mod voters;

use std::collections::BTreeMap;

use calls::Calls;
use cluster_conf::Conf;
use early::Early;
use fence::{End, Job};
use fencing::Fencer;
use keys::Watches;
use lease::Leases;
use membership::Membership;
use nines_proto::ctl::{Answer, Call};
use peers::Peers;
use raft::eraftpb::Message;
use raft::{RawNode, Ready, StateRole};
use start::TICKS;
use unfence::Unfence;

use crate::log::{Identity, Store};
use crate::peer::Hello;
use crate::state::State;
pub use lease::{Reset, Watchdog};
pub use probe::Probe;

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
    /// The voters have changed and no write says so yet; until then these messages wait.
    commit_due: bool,
    withheld: Vec<Message>,
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
    Ready {
        ready: Box<Ready>,
        messages: Vec<Message>,
    },
    /// That the voters changed, and what may be sent then.
    Committed {
        messages: Vec<Message>,
    },
    Shortened,
    Emptied,
}

impl Engine {
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
}
