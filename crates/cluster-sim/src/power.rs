//! Fence devices and watchdogs: what takes a host down that may no longer act.

use std::time::Duration;

use cluster_join::engine::{Event, Watchdog as Order};
use cluster_join::log::Forced;
use fence::{Action, End, Job};

use crate::check::{Fencing, must};
use crate::clock::{MS, SECOND};
use crate::host::Watchdog;
use crate::world::{Happening, World};

/// How late, at most, the process that feeds a watchdog notices that it should not, and how long
/// a reset takes: what the bound of cluster.conf allows for.
const DECIDE: u64 = SECOND;
const RESET: u64 = 500 * MS;

impl World {
    /// Tells a run of a daemon something, if it is still there.
    pub(crate) fn report(&mut self, id: u64, run: u64, event: Event) {
        if self.host(id).daemon.as_ref().is_some_and(|daemon| daemon.run == run) {
            self.step(id, event);
        }
    }

    pub(crate) fn watchdog_order(&mut self, id: u64, order: Order) {
        self.trace.note(self.time, || format!("n{id}'s watchdog: {order:?}"));
        let time = self.time;
        let host = self.host(id);
        let (clock, Some(daemon)) = (host.clock, &host.daemon) else { return };
        let (run, started) = (daemon.run, daemon.started);
        if let Order::Arm { until_ms } | Order::Pet { until_ms } = order
            && daemon.engine.conf_state().voters != [id]
        {
            let grace = self.conf.watchdog.as_ref().map_or(Duration::ZERO, |watchdog| watchdog.quorum_grace);
            let lease = self.conf.token + grace + Duration::from_millis(2);
            let lease = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
            let until = clock.when(started, until_ms);
            let verdict = self.check.fencing.f8_lease_from_its_proof(id, until, lease + lease / 500);
            self.check.that(verdict);
        }
        match order {
            Order::Arm { until_ms } => {
                self.counts.one("watchdogs armed");
                self.host(id).watchdog = Some(Watchdog { until: clock.when(started, until_ms), fires: 0 });
                self.fed(id);
                self.after(MS, Happening::Armed { host: id, run });
            }
            Order::Pet { until_ms } => {
                let Some(watchdog) = self.host(id).watchdog.as_mut().filter(|dog| dog.fires == 0 || dog.fires > time)
                else {
                    return;
                };
                watchdog.until = clock.when(started, until_ms);
                self.fed(id);
            }
            Order::Disarm => {
                self.counts.one("watchdogs closed");
                self.check.that(Fencing::f8_closed_by_the_log(id, &self.check.replay.state));
                self.host(id).watchdog = None;
            }
        }
    }

    /// The daemon runs and feeds the watchdog for as long as it may; its last time may be late.
    pub(crate) fn fed(&mut self, id: u64) {
        let Some(timeout) = self.timeout() else { return };
        let late = if self.faults.pause && self.random.one_in(4) { self.random.between(0, DECIDE) } else { 0 };
        let (time, early) = (self.time, self.random.between(0, timeout / 4));
        let reset = self.random.between(0, RESET);
        let Some(watchdog) = self.host(id).watchdog.as_mut() else { return };
        if watchdog.until < time && watchdog.fires > 0 {
            return;
        }
        let last = if late > 0 { watchdog.until + late } else { watchdog.until.saturating_sub(early).max(time) };
        watchdog.fires = last + timeout + reset;
        self.watch_watchdog(id);
    }

    /// Nobody feeds it from now on.
    pub(crate) fn not_fed(&mut self, id: u64) {
        let Some(timeout) = self.timeout() else { return };
        let (time, early) = (self.time, self.random.between(0, timeout / 4));
        let reset = self.random.between(0, RESET);
        let Some(watchdog) = self.host(id).watchdog.as_mut().filter(|dog| dog.until > time) else { return };
        watchdog.fires = time.saturating_sub(early) + timeout + reset;
        self.watch_watchdog(id);
    }

    fn timeout(&self) -> Option<u64> {
        let timeout = self.conf.watchdog.as_ref()?.timeout;
        u64::try_from(timeout.as_micros()).ok()
    }

    fn watch_watchdog(&mut self, id: u64) {
        let time = self.time;
        let host = self.host(id);
        let boot = host.boot;
        let Some(watchdog) = host.watchdog else { return };
        let fires = watchdog.fires;
        self.after(fires.saturating_sub(time), Happening::WatchdogEnds { host: id, boot });
    }

    pub(crate) fn watchdog_ends(&mut self, id: u64, boot: u64) {
        let time = self.time;
        let host = self.host(id);
        if host.boot == boot && host.on && host.watchdog.is_some_and(|watchdog| watchdog.fires <= time) {
            self.counts.one("watchdog resets");
            self.trace.note(time, || format!("n{id} is reset by its watchdog"));
            self.power_cut(id);
        }
    }

    /// The host is off, and switched on again later.
    pub(crate) fn power_cut(&mut self, host: u64) {
        if self.host(host).on {
            self.power_off(host);
            let after = self.random.between(500 * MS, 4 * SECOND);
            self.after(after, Happening::Boot { host });
        }
    }

    /// Agents run on host `id`.
    pub(crate) fn agents(&mut self, id: u64, job: Job) {
        let Some(run) = self.host(id).daemon.as_ref().map(|daemon| daemon.run) else { return };
        let Job { number, node, action } = job;
        let target = self.ids().find(|other| format!("n{other}") == node).unwrap_or_default();
        self.trace.note(self.time, || format!("n{id} runs agents against n{target}: job {number}, {action:?}"));
        let done = || End::Done { method: "power".into(), what: "off".into() };
        let failed = || End::Failed { what: "no answer".into() };
        let methods = match action {
            Action::Fence(methods) => methods,
            Action::Unfence(_) => return self.open_port(id, run, number, target),
            Action::Test(..) => {
                return self.after(100 * MS, Happening::Fenced { host: id, run, number, end: done() });
            }
        };
        self.check.that(must("f5_never_oneself", target != id, || format!("node {id} fences itself")));
        self.counts.one("agents run");
        let (mut took, mut end) = (0, failed());
        for method in methods {
            took += self.random.between(100 * MS, 1500 * MS);
            if self.faults.fence_slow && self.random.one_in(3) {
                took += self.random.between(0, 8 * SECOND);
            }
            let dead = self.faults.fence_dead && self.random.one_in(2);
            let lies = self.plan.liars && !self.healing && self.asking.one_in(3);
            if !dead && !lies {
                let port = method.devices.iter().all(|device| device.name == "port");
                let cut = Happening::PowerCut { host: target };
                self.after(took, if port { Happening::PortCloses { host: target } } else { cut });
            }
            // A device may do its work and lose the answer.
            let lost = self.faults.fence_liar && self.random.one_in(3);
            if !dead && !lost {
                end = End::Done { method: method.name, what: "off".into() };
                if lies {
                    self.counts.one("lies");
                    let boot = self.host(target).boot;
                    self.check.fencing.lied(target, boot);
                }
                break;
            }
        }
        self.after(took + MS, Happening::Fenced { host: id, run, number, end });
    }

    /// Agents of a storage switch on host `id` give `target` its access.
    fn open_port(&mut self, id: u64, run: u64, number: u64, target: u64) {
        let mut took = self.asking.between(50 * MS, 500 * MS);
        // A person who types this waits for it.
        if target == id && self.faults.fence_slow && self.asking.one_in(3) {
            took += self.asking.between(0, 8 * SECOND);
        }
        let dead = self.faults.fence_dead && self.asking.one_in(2);
        if !dead {
            self.after(took, Happening::PortOpens { host: target, by: id, run });
        }
        let done = End::Done { method: "unfence".into(), what: "on".into() };
        let end = if dead { End::Failed { what: "no answer".into() } } else { done };
        self.after(took + MS, Happening::Fenced { host: id, run, number, end });
    }

    pub(crate) fn port_closes(&mut self, id: u64) {
        self.trace.note(self.time, || format!("n{id}'s port at the storage switch is closed"));
        self.counts.one("ports closed");
        self.host(id).port = false;
        self.check.storage.close(id);
    }

    pub(crate) fn port_opens(&mut self, id: u64, by: u64, run: u64) {
        if self.host(by).daemon.as_ref().is_none_or(|daemon| daemon.run != run) {
            return;
        }
        self.trace.note(self.time, || format!("n{id}'s port at the storage switch is opened by n{by}"));
        self.counts.one("ports opened");
        let host = self.host(id);
        (host.port, host.had_access) = (true, true);
        let verdict = self.check.storage.open(id);
        self.check.that(verdict);
    }

    /// A node of a pair decides to go on alone.
    pub(crate) fn alone(&mut self, id: u64, forced: &Forced) {
        self.counts.one("forced recoveries");
        let hosts = &self.hosts;
        let alive = |node: u64, boot: u64| {
            hosts.iter().any(|host| host.id == node && host.on && host.port && host.boot == boot)
        };
        let verdict = self.check.fencing.f7_one_goes_on(id, forced, alive);
        self.check.that(verdict);
    }
}
