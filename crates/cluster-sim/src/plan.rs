//! What one history is like, drawn from its seed: how many nodes, and which faults there are.
//! Each history has some classes of faults and lacks others, so that rare things meet.

use std::time::Duration;

use cluster_conf::{ClusterNode, Conf, Device, Method, Watchdog};

use crate::conffile;
use crate::random::Random;

/// The classes of faults a history can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Daemons that end at any point of their work.
    pub crash: bool,
    /// Hosts that lose their power, and what was not synced with it.
    pub power: bool,
    /// Writes that a crash leaves half done.
    pub torn: bool,
    /// Bits that change on the disks of a minority.
    pub rot: bool,
    /// Daemons that are stopped for a while and go on with what they had heard.
    pub pause: bool,
    /// Disks that take their time.
    pub slow_disk: bool,
    /// Cables that carry nothing, both ways or one way, to all or to some.
    pub partition: bool,
    pub drop: bool,
    pub duplicate: bool,
    pub reorder: bool,
    /// Sessions that break although both ends are well.
    pub sessions: bool,
    /// Clocks of different speed.
    pub drift: bool,
    /// Agents that take their time.
    pub fence_slow: bool,
    /// Devices that do not answer.
    pub fence_dead: bool,
    /// Devices that work and say that they did not.
    pub fence_liar: bool,
    /// Wall clocks that jump.
    pub wall: bool,
}

impl Faults {
    pub const NONE: Self = Self {
        crash: false,
        power: false,
        torn: false,
        rot: false,
        pause: false,
        slow_disk: false,
        partition: false,
        drop: false,
        duplicate: false,
        reorder: false,
        sessions: false,
        drift: false,
        fence_slow: false,
        fence_dead: false,
        fence_liar: false,
        wall: false,
    };
    pub const ALL: Self = Self {
        crash: true,
        power: true,
        torn: true,
        rot: true,
        pause: true,
        slow_disk: true,
        partition: true,
        drop: true,
        duplicate: true,
        reorder: true,
        sessions: true,
        drift: true,
        fence_slow: true,
        fence_dead: true,
        fence_liar: true,
        wall: true,
    };

    /// Each class with even odds.
    #[must_use]
    pub fn some(random: &mut Random) -> Self {
        let mut class = || random.one_in(2);
        Self {
            crash: class(),
            power: class(),
            torn: class(),
            rot: class(),
            pause: class(),
            slow_disk: class(),
            partition: class(),
            drop: class(),
            duplicate: class(),
            reorder: class(),
            sessions: class(),
            drift: class(),
            fence_slow: class(),
            fence_dead: class(),
            fence_liar: class(),
            wall: class(),
        }
    }
}

/// One history's outline.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub conf: Conf,
    pub faults: Faults,
    /// How long faults last, in milliseconds.
    pub length_ms: u64,
    /// People change the configuration, and have nodes leave.
    pub reconfigures: bool,
    /// Programs use keys and value blocks, and withdraw what they asked for.
    pub programs: bool,
    /// There are two networks.
    pub two_links: bool,
    /// Hosts boot with something left over from before.
    pub leftovers: bool,
    /// Programs take locks for sessions by name.
    pub named: bool,
    /// Hosts reach their disks through a switch, whose ports agents open and close.
    pub fabric: bool,
    /// Devices say that they did what they did not. Not where two nodes are all there are: everything
    /// they promise rests on the device then, for each may go on without the other.
    pub liars: bool,
    /// A bit that changes may be one of the file that says whose the log is.
    pub identities: bool,
}

impl Plan {
    /// The history that belongs to `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut plan = Self::still(seed);
        let mut random = Random::new(seed ^ 0xc0f1_6fac_e0ff_5eed);
        if plan.conf.nodes.len() == 2 && random.one_in(2) {
            plan.conf.two_node = true;
            plan.conf.nodes.iter_mut().for_each(|node| node.methods = vec![Self::power()]);
        } else if random.one_in(2) {
            // A log that is lost counts on a majority of the others, which then changes.
            (plan.reconfigures, plan.faults.rot) = (true, false);
        }
        plan.conf.text = conffile::text(&plan.conf);
        plan.programs = random.one_in(2);
        plan.two_links = random.one_in(3);
        plan.leftovers = random.one_in(3);
        plan.identities = random.one_in(2);
        plan.named = random.one_in(2);
        if !plan.conf.two_node {
            plan.fabric = random.one_in(3);
            plan.liars = random.one_in(4);
        }
        if plan.fabric {
            let power = random.one_in(2);
            for node in &mut plan.conf.nodes {
                node.methods = vec![Self::port()];
                node.methods.extend(power.then(Self::power));
                node.unfence = vec![Self::switch("on")];
            }
            plan.conf.text = conffile::text(&plan.conf);
        }
        plan
    }

    /// The same without forced recoveries and with one configuration all the time.
    #[must_use]
    pub fn still(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0f91_a75e_ed00);
        let nodes = random.pick(&[1, 2, 2, 3, 3, 3, 3, 4, 5, 5]);
        let faults = Faults::some(&mut random);
        let length_ms = random.between(4_000, 14_000);
        let mut conf = Self::conf(nodes);
        if random.one_in(2) {
            let (timeout, quorum_grace) = (Duration::from_secs(2), Duration::from_secs(random.below(2)));
            conf.watchdog = Some(Watchdog { device: "/dev/watchdog".into(), timeout, quorum_grace });
        }
        let (clean, patient) = (random.one_in(2), random.below(3));
        conf.fence_daemon.clean_start = clean;
        conf.fence_daemon.post_join_delay = Some(Duration::from_secs(1 + patient));
        conf.fence_daemon.override_time = Duration::from_secs(1);
        for node in &mut conf.nodes {
            if random.one_in(2) {
                node.methods.push(Self::power());
            }
        }
        conf.text = conffile::text(&conf);
        Self { faults, length_ms, ..Self::plain(seed, conf) }
    }

    /// A history of `nodes` nodes with these faults.
    #[must_use]
    pub fn with(seed: u64, nodes: u64, faults: Faults) -> Self {
        Self { faults, ..Self::plain(seed, Self::conf(nodes)) }
    }

    /// A history in which nothing happens to a cluster of this configuration.
    fn plain(seed: u64, conf: Conf) -> Self {
        Self {
            seed,
            conf,
            faults: Faults::NONE,
            length_ms: 10_000,
            reconfigures: false,
            programs: false,
            two_links: false,
            leftovers: false,
            identities: false,
            named: false,
            fabric: false,
            liars: false,
        }
    }

    /// A pair of which one goes on alone when the other is fenced, and nothing else.
    #[must_use]
    pub fn pair(seed: u64) -> Self {
        let mut plan = Self::with(seed, 2, Faults::NONE);
        plan.conf.two_node = true;
        plan.conf.nodes.iter_mut().for_each(|node| node.methods = vec![Self::power()]);
        plan.conf.text = conffile::text(&plan.conf);
        plan
    }

    fn power() -> Method {
        let device = Device { name: "power".into(), agent: "fence_power".into(), attributes: Vec::new() };
        Method { name: "power".into(), devices: vec![device] }
    }

    fn switch(action: &str) -> Device {
        let attributes = vec![("action".into(), action.into())];
        Device { name: "port".into(), agent: "fence_port".into(), attributes }
    }

    fn port() -> Method {
        Method { name: "port".into(), devices: vec![Self::switch("off")] }
    }

    fn conf(nodes: u64) -> Conf {
        Conf::plain("sim", (1..=nodes).map(|id| ClusterNode::plain(id, format!("n{id}"))).collect())
    }
}
