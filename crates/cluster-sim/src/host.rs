//! One machine: its power, clocks and disk, the daemon, its clients and its domains.

use std::collections::BTreeMap;

use cluster_join::engine::{Action, Engine, Event};
use cluster_join::log::Write;
use nines_proto::ctl::Mode;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::programs::Program;
use crate::sessions::{Key, Taken, Taker};

#[derive(Debug)]
pub struct Host {
    pub id: u64,
    /// Counts boots; the daemon's name for this one.
    pub boot: u64,
    pub on: bool,
    pub clock: Clock,
    pub disk: Disk,
    pub daemon: Option<Daemon>,
    /// By connection.
    pub clients: BTreeMap<u64, Client>,
    /// By connection as well.
    pub programs: BTreeMap<u64, Program>,
    /// By connection as well: calls about locks of sessions.
    pub takers: BTreeMap<u64, Taker>,
    /// What runs under locks of sessions.
    pub taken: BTreeMap<Key, Taken>,
    /// The revision up to which its programs have watched.
    pub watched: u64,
    pub next_connection: u64,
    /// What runs under a sticky lock, by resource.
    pub domains: BTreeMap<String, Domain>,
    /// Processes whose daemon is gone and that will notice: their numbers at the storage.
    pub orphans: Vec<u64>,
    pub orphans_until: u64,
    pub watchdog: Option<Watchdog>,
    /// Its port at the storage switch lets it write.
    pub port: bool,
    /// In this boot the port has been open.
    pub had_access: bool,
    /// What it has of its former boot that only a member may have.
    pub leftovers: Vec<String>,
    /// Its cluster.conf.
    pub file: String,
    /// The configuration its state had last.
    pub version: u32,
    /// It was told to leave: nobody there asks for anything.
    pub leaving: bool,
    /// The configuration in force has not got it.
    pub outside: bool,
}

/// A host's watchdog, armed. Times are true.
#[derive(Debug, Clone, Copy)]
pub struct Watchdog {
    /// Up to when the daemon may feed it.
    pub until: u64,
    /// When the host is dead unless it is fed before.
    pub fires: u64,
}

/// A run of the daemon.
#[derive(Debug)]
pub struct Daemon {
    pub engine: Engine,
    /// Different for every run of every host.
    pub run: u64,
    pub started: u64,
    /// When its timer is set to fire, 0 for never.
    pub timer: u64,
    /// It is stopped: what arrives waits.
    pub held: bool,
    pub inbox: Vec<Event>,
    /// Under way to the disk.
    pub writing: Option<Write>,
    /// Decided before it was stopped, done when it goes on.
    pub late: Vec<Action>,
    /// What was seen of it last.
    pub applied: u64,
    pub term: u64,
    pub led: bool,
    /// The nodes it keeps sessions with.
    pub wired: Vec<u64>,
    /// It wants to end.
    pub told: bool,
}

/// Asks for one lock, holds it, perhaps in other modes, and gives it back.
#[derive(Debug, Clone)]
pub struct Client {
    pub resource: String,
    pub mode: Mode,
    pub sticky: bool,
    pub does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Asking,
    /// Has withdrawn what it asked for, and stays.
    Cancelled,
    /// Its number at the storage.
    Holding(u64),
    /// Asked for another mode.
    Converting(u64, Mode),
    Returning,
    /// Has the host leave.
    Leaving,
    /// Offers a domain's lock to another host.
    Offering(u64),
    Accepting,
    /// Withdraws that offer.
    Retracting(u64),
}

/// What runs on the host for as long as the host does, under a sticky lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub mode: Mode,
    pub generation: u64,
    /// Its number at the storage; none while it is paused for a migration.
    pub number: Option<u64>,
    /// The offer by which it is to move, as far as it is known.
    pub offer: Option<u64>,
}
