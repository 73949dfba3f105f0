//! What strikes while faults last.

use crate::clock::{MS, SECOND};
use crate::host::Host;
use crate::world::{Happening, World};

impl World {
    /// Clients act on every host, and something may break.
    pub(crate) fn pulse(&mut self) {
        if self.healing {
            return;
        }
        let after = self.random.between(10 * MS, 50 * MS);
        self.after(after, Happening::Pulse);
        self.network_fault();
        self.link_fault();
        let id = self.random.between(1, self.hosts.len() as u64);
        self.host_fault(id);
        if self.random.one_in(20) {
            self.operator_acts(id);
        }
        self.steer(id);
        for id in self.ids() {
            if self.random.one_in(2) {
                self.client_acts(id);
            }
        }
        if self.plan.programs {
            for id in self.ids() {
                self.program_acts(id);
            }
        }
        if self.plan.named {
            for id in self.ids() {
                self.session_acts(id);
            }
        }
    }

    fn network_fault(&mut self) {
        if self.faults.partition && self.random.one_in(100) {
            let alone = self.random.between(1, self.hosts.len() as u64);
            let (one_way, partial) = (self.random.one_in(3), self.random.one_in(4));
            for other in self.ids().filter(|id| *id != alone) {
                if partial && self.random.one_in(2) {
                    continue;
                }
                self.cut.extend(self.ways(alone, other));
                if !one_way {
                    self.cut.extend(self.ways(other, alone));
                }
            }
            self.counts.one("partitions");
            let cut = &self.cut;
            self.trace.note(self.time, || format!("cables cut: {cut:?}"));
        }
        if !self.cut.is_empty() && self.random.one_in(60) {
            self.cut.clear();
            self.trace.note(self.time, || "cables mended".into());
        }
        if self.faults.sessions && !self.links.is_empty() && self.random.one_in(40) {
            let at = self.random.index(self.links.len());
            if let Some(way) = self.links.keys().nth(at).copied() {
                self.disconnect_way(way, 20 * MS);
            }
        }
    }

    fn host_fault(&mut self, id: u64) {
        if self.faults.crash && self.random.one_in(150) && self.host(id).daemon.is_some() {
            self.crash(id);
        }
        if self.faults.power && self.random.one_in(150) {
            self.power_fault(id);
        }
        if self.faults.power && self.random.one_in(1500) {
            // All of the machines at once.
            for id in self.ids() {
                self.power_fault(id);
            }
        }
        if self.faults.pause && self.random.one_in(100) {
            let span = self.random.pick(&[60 * MS, 300 * MS, 900 * MS, 2 * SECOND, 6 * SECOND]);
            self.counts.one("pauses");
            self.hold(id, span);
        }
        if self.faults.wall && self.random.one_in(200) {
            let jump = i64::try_from(self.random.below(7200)).unwrap_or_default() - 3600;
            self.host(id).clock.wall += jump;
        }
    }

    fn power_fault(&mut self, id: u64) {
        if !self.host(id).on {
            return;
        }
        self.counts.one("power cuts");
        self.power_off(id);
        let mut random = self.random.clone();
        // A disk that spoils its log stays the only one that did, and strikes when the others hold
        // a majority of everything. One that holds nothing yet is not of that majority, also where
        // nothing is applied yet: by the time it starts again the others may have, and then it cannot
        // tell that its log was always empty from its log being gone, and has no vote. Two of four
        // without a vote could go on no more than two of four that are broken.
        let front = self.check.consensus.front().max(1);
        let whole = |host: &&Host| {
            host.id != id && !host.disk.rotten && !host.disk.identity.catching_up && host.disk.last >= front
        };
        if self.faults.rot
            && random.one_in(3)
            && self.hosts.iter().filter(whole).count() > self.hosts.len() / 2
            && self.hosts.iter().all(|host| !host.disk.rotten)
        {
            if self.plan.identities && self.asking.one_in(2) {
                let mut asking = self.asking.clone();
                self.host(id).disk.rot_identity(&mut asking);
                self.asking = asking;
                self.counts.one("identities rotten");
            } else if self.host(id).disk.rot(&mut random) {
                self.counts.one("bits rotten");
            }
        }
        self.random = random;
        let after = self.random.between(500 * MS, 5 * SECOND);
        self.after(after, Happening::Boot { host: id });
    }
}
