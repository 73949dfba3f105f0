//! The machines and what happens to them, one thing after another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use cluster_conf::Conf;
use cluster_join::engine::Event;
use cluster_join::log::Identity;

use nines_proto::ctl::Mode;

use fence::End;

use crate::check::Check;
use crate::clock::{Clock, MS};
use crate::count::Counts;
use crate::disk::Disk;
use crate::host::Host;
use crate::net::Way;
use crate::plan::{Faults, Plan};
use crate::random::Random;
use crate::trace::Trace;

/// Something that is going to happen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Bytes of a session arrive; those with the same number, other than 0, are the same.
    Packet {
        way: Way,
        link: u64,
        number: u64,
        bytes: Vec<u8>,
    },
    /// A node tries to open a session.
    Dial(Way),
    /// A node notices that a session ended.
    Down {
        way: Way,
        link: u64,
    },
    /// A daemon's timer.
    Timer {
        host: u64,
        run: u64,
    },
    /// A stopped daemon goes on.
    Resume {
        host: u64,
        run: u64,
    },
    /// A write has reached the disk.
    Written {
        host: u64,
        run: u64,
    },
    /// init starts the daemon, in that boot.
    Start {
        host: u64,
        boot: u64,
    },
    /// The machine is switched on.
    Boot {
        host: u64,
    },
    /// A client without a daemon notices.
    OrphanEnds {
        host: u64,
        number: u64,
    },
    HangUp {
        host: u64,
        connection: u64,
    },
    /// The target of a migration takes the domain's lock.
    Accept {
        host: u64,
        resource: String,
        offer: u64,
        mode: Mode,
    },
    /// The source of a migration has waited long enough.
    GiveUpMoving {
        host: u64,
        boot: u64,
        resource: String,
    },
    /// The daemon hears that the watchdog is open.
    Armed {
        host: u64,
        run: u64,
    },
    /// The watchdog's time may be over.
    WatchdogEnds {
        host: u64,
        boot: u64,
    },
    /// A fence device cuts a host's power.
    PowerCut {
        host: u64,
    },
    /// The storage switch closes a host's port.
    PortCloses {
        host: u64,
    },
    /// It opens a host's port, if the daemon on host `by` is still there whose agent says so: agents
    /// die with their daemon.
    PortOpens {
        host: u64,
        by: u64,
        run: u64,
    },
    /// Agents are done, and whoever ran them may still be there.
    Fenced {
        host: u64,
        run: u64,
        number: u64,
        end: End,
    },
    /// The daemon is told to end.
    Stopping {
        host: u64,
        run: u64,
    },
    /// It has ended.
    Ended {
        host: u64,
        run: u64,
    },
    /// A configuration is on the disk, or the disk did not take it.
    Stored {
        host: u64,
        run: u64,
        version: u32,
        text: Option<String>,
    },
    /// What a host had left over from before is gone.
    Cleaned {
        host: u64,
        boot: u64,
    },
    /// Somebody readies a host that was added.
    Prepare {
        host: u64,
    },
    /// Clients act and faults strike.
    Pulse,
}

#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: u64,
    number: u64,
    what: Happening,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One history.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    /// For what people do about the configuration.
    pub(crate) steering: Random,
    /// For what programs do.
    pub(crate) asking: Random,
    /// Microseconds of true time.
    pub(crate) time: u64,
    numbers: u64,
    queue: BinaryHeap<Reverse<Due>>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) links: BTreeMap<Way, u64>,
    pub(crate) dialling: BTreeSet<Way>,
    pub(crate) cut: BTreeSet<Way>,
    /// Numbers of what arrived over one of two networks.
    pub(crate) arrived: BTreeSet<u64>,
    /// Hosts that nobody switches on.
    pub(crate) dark: BTreeSet<u64>,
    pub(crate) conf: Conf,
    /// Faults are over, and nobody asks for anything new.
    pub(crate) healing: bool,
    pub check: Check,
    pub trace: Trace,
    pub counts: Counts,
}

impl World {
    #[must_use]
    pub fn new(plan: Plan, traced: bool) -> Self {
        let mut world = Self::quiet(plan, traced);
        world.after(100 * MS, Happening::Pulse);
        world
    }

    /// Hosts that start, and to which nothing happens by itself.
    #[must_use]
    pub fn quiet(plan: Plan, traced: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let (conf, faults) = (plan.conf.clone(), plan.faults);
        let plan_seed = plan.seed;
        let spare = plan.reconfigures.then_some(conf.nodes.len() as u64 + 1);
        let hosts = conf.nodes.iter().map(|node| node.id).chain(spare).map(|id| {
            let identity = Identity::new(&conf, id, format!("s{id}"));
            let drift_ppm = if faults.drift { i64::try_from(random.below(2001)).unwrap_or(1000) - 1000 } else { 0 };
            Host {
                id,
                boot: 1,
                on: true,
                clock: Clock { drift_ppm, wall: 0 },
                disk: Disk::new(identity),
                daemon: None,
                clients: BTreeMap::new(),
                programs: BTreeMap::new(),
                takers: BTreeMap::new(),
                taken: BTreeMap::new(),
                port: !plan.fabric,
                had_access: !plan.fabric,
                watched: 0,
                leftovers: Vec::new(),
                next_connection: 1,
                domains: BTreeMap::new(),
                orphans: Vec::new(),
                orphans_until: 0,
                watchdog: None,
                file: conf.text.clone(),
                version: 0,
                leaving: false,
                outside: conf.node(id).is_none(),
            }
        });
        let hosts = hosts.collect();
        let mut world = Self {
            plan,
            faults,
            random,
            steering: Random::new(!plan_seed),
            asking: Random::new(plan_seed ^ 0x6b65_7973),
            time: MS,
            numbers: 0,
            queue: BinaryHeap::new(),
            hosts,
            links: BTreeMap::new(),
            dialling: BTreeSet::new(),
            cut: BTreeSet::new(),
            arrived: BTreeSet::new(),
            dark: BTreeSet::new(),
            conf,
            healing: false,
            check: Check::default(),
            trace: Trace::new(traced),
            counts: Counts::default(),
        };
        for host in 1..=world.conf.nodes.len() as u64 {
            let after = world.random.below(200 * MS);
            world.after(after, Happening::Start { host, boot: 1 });
        }
        world
    }

    pub(crate) fn host(&mut self, id: u64) -> &mut Host {
        &mut self.hosts[usize::try_from(id - 1).unwrap_or_default()]
    }

    pub(crate) fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.hosts.len() as u64
    }

    /// A number no two things of this history share.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn after(&mut self, span: u64, what: Happening) {
        let (at, number) = (self.time + span, self.number());
        self.queue.push(Reverse(Due { at, number, what }));
    }

    /// Goes on until `until`, or until a promise is broken.
    pub(crate) fn run_until(&mut self, until: u64) {
        while self.check.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(due)) if due.at <= until => {}
                _ => {
                    self.time = until;
                    return;
                }
            }
            let Some(Reverse(due)) = self.queue.pop() else { return };
            self.time = due.at;
            self.happen(due.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Packet { way, link, number, bytes } => self.arrive(way, link, number, bytes),
            Happening::Dial(way) => self.dial(way),
            Happening::Down { way, link } => self.step(way.to, Event::PeerDown { link, node: way.from }),
            Happening::Timer { host, run } => self.timer(host, run),
            Happening::Resume { host, run } => self.resume(host, run),
            Happening::Written { host, run } => self.written(host, run),
            Happening::Start { host, boot } => self.start(host, boot),
            Happening::Boot { host } => self.boot(host),
            Happening::OrphanEnds { host, number } => {
                self.check.storage.gone(number);
                self.host(host).orphans.retain(|orphan| *orphan != number);
            }
            Happening::HangUp { host, connection } => self.hang_up(host, connection),
            Happening::Accept { host, resource, offer, mode } => self.accept(host, resource, offer, mode),
            Happening::GiveUpMoving { host, boot, resource } => self.give_up_moving(host, boot, resource),
            Happening::Armed { host, run } => self.report(host, run, Event::Armed(Ok(()))),
            Happening::WatchdogEnds { host, boot } => self.watchdog_ends(host, boot),
            Happening::PowerCut { host } => self.power_cut(host),
            Happening::PortCloses { host } => self.port_closes(host),
            Happening::PortOpens { host, by, run } => self.port_opens(host, by, run),
            Happening::Fenced { host, run, number, end } => self.report(host, run, Event::Fenced { number, end }),
            Happening::Stopping { host, run } => self.stopping(host, run),
            Happening::Ended { host, run } => self.ended(host, run),
            Happening::Stored { host, run, version, text } => self.stored(host, run, version, text),
            Happening::Prepare { host } => self.prepare(host),
            Happening::Cleaned { host, boot } => self.cleaned(host, boot),
            Happening::Pulse => self.pulse(),
        }
    }

    /// Runs the whole history: faults for as long as planned, then peace, in which everything
    /// that was asked for must be decided.
    pub fn run(&mut self) {
        self.run_until(self.plan.length_ms * MS);
        if self.check.violation.is_none() {
            self.heal();
        }
        self.counts.some("configurations changed", self.check.membership.changes());
        self.counts.one("histories");
        self.counts.some("simulated seconds", self.time / crate::clock::SECOND);
    }
}
