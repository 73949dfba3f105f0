//! People who change the configuration: nodes come, go, lose their votes and leave, while all else
//! goes wrong. What they do is drawn apart, so that a history without them stays the same.

use cluster_conf::{ClusterNode, Conf};
use cluster_join::engine::Event;
use cluster_join::log::Identity;
use nines_proto::ctl::{Mode, Request};

use crate::clock::{MS, SECOND};
use crate::conffile;
use crate::disk::Disk;
use crate::host::{Client, Does};
use crate::world::{Happening, World};

impl World {
    /// Perhaps somebody does something about the configuration, on host `id`.
    pub(crate) fn steer(&mut self, id: u64) {
        if !self.plan.reconfigures || !self.steering.one_in(30) || self.host(id).leaving {
            return;
        }
        let Some(conf) = self.configuration_at(id) else { return };
        match self.steering.below(8) {
            0 | 1 => self.add_or_remove(id, conf),
            2 => self.change_vote(id, conf),
            3 => {
                let other = self.steering.between(1, self.hosts.len() as u64);
                self.change_vote(id, conf.clone());
                self.change_vote(other, conf);
            }
            4 | 5 => self.leave(id, false, false),
            6 => self.leave(id, false, true),
            _ if conf.nodes.len() > 2 && self.voters_follow(id, &conf) => self.leave(id, true, true),
            _ => {}
        }
    }

    /// The configuration in force as a host's daemon has it.
    fn configuration_at(&self, id: u64) -> Option<Conf> {
        let host = self.hosts.iter().find(|host| host.id == id)?;
        let current = host.daemon.as_ref()?.engine.state().configured.current()?;
        Conf::parse("cluster.conf", &current.text).ok()
    }

    /// Whether nobody votes any more who was removed; somebody careful waits for that.
    fn voters_follow(&self, id: u64, conf: &Conf) -> bool {
        let engine = self.engines().find(|(node, _)| *node == id);
        engine.is_some_and(|(_, engine)| {
            let state = engine.conf_state();
            state.voters.iter().chain(&state.voters_outgoing).all(|node| conf.node(*node).is_some())
        }) && conf.nodes.iter().all(|node| {
            // And for those that stay: who has just come may not vote yet.
            let mut running = self.engines().filter(|(id, _)| *id == node.id);
            running.any(|(_, engine)| engine.probe().applied + 8 >= self.check.consensus.front())
        })
    }

    fn update(&mut self, id: u64, mut conf: Conf) {
        if self.host(id).daemon.is_none() {
            return;
        }
        conf.version += 1;
        self.counts.one("updates asked for");
        let text = conffile::text(&conf);
        self.types(id, Request::ConfUpdate { text });
    }

    fn add_or_remove(&mut self, id: u64, mut conf: Conf) {
        let missing = self.ids().find(|node| conf.node(*node).is_none());
        match missing {
            Some(node) if self.steering.one_in(2) => {
                let (methods, unfence) = (conf.nodes[0].methods.clone(), conf.nodes[0].unfence.clone());
                conf.nodes.push(ClusterNode { methods, unfence, ..ClusterNode::plain(node, format!("n{node}")) });
                conf.nodes.sort_by_key(|node| node.id);
            }
            _ => {
                if conf.nodes.len() < 3 || !self.voters_follow(id, &conf) {
                    return;
                }
                conf.nodes.remove(self.steering.index(conf.nodes.len()));
                if conf.voters().is_empty() {
                    return;
                }
            }
        }
        self.update(id, conf);
    }

    fn change_vote(&mut self, id: u64, mut conf: Conf) {
        let at = self.steering.index(conf.nodes.len());
        conf.nodes[at].votes = 1 - conf.nodes[at].votes.min(1);
        if !conf.voters().is_empty() {
            self.update(id, conf);
        }
    }

    /// Somebody ends what uses locks on a host, then has it leave.
    fn leave(&mut self, id: u64, remove: bool, force: bool) {
        if self.host(id).daemon.is_none() {
            return;
        }
        self.host(id).leaving = true;
        for connection in self.host(id).clients.keys().copied().collect::<Vec<_>>() {
            self.hang_up(id, connection);
        }
        for connection in self.host(id).programs.keys().copied().collect::<Vec<_>>() {
            self.program_ends(id, connection);
        }
        for connection in self.host(id).takers.keys().copied().collect::<Vec<_>>() {
            self.taker_ends(id, connection);
        }
        if force {
            for taken in std::mem::take(&mut self.host(id).taken).into_values() {
                self.check.storage.gone(taken.number);
            }
            for domain in std::mem::take(&mut self.host(id).domains).into_values() {
                domain.number.and_then(|number| self.check.storage.gone(number));
            }
        }
        self.trace.note(self.time, || format!("n{id} is told to leave, remove {remove}, force {force}"));
        let client = Client { resource: String::new(), mode: Mode::Nl, sticky: false, does: Does::Leaving };
        let connection = self.connect(id, client);
        self.call(id, connection, Request::Leave { remove, force });
    }

    /// The daemon was told to end, as by a signal: it ends soon, and is started again later.
    pub(crate) fn stopping(&mut self, id: u64, run: u64) {
        self.report(id, run, Event::Stop);
        self.after(300 * MS, Happening::Ended { host: id, run });
    }

    pub(crate) fn ended(&mut self, id: u64, run: u64) {
        if self.host(id).daemon.as_ref().is_none_or(|daemon| daemon.run != run) {
            return;
        }
        self.trace.note(self.time, || format!("n{id}'s daemon has ended"));
        self.lose_daemon(id);
        let boot = self.host(id).boot;
        let after = self.steering.between(SECOND, 5 * SECOND);
        self.after(after, Happening::Start { host: id, boot });
    }

    /// The engine wants this to be the file; the disk may not take it.
    pub(crate) fn configure(&mut self, id: u64, version: u32, text: String) {
        let verdict = self.check.membership.m6_only_committed(id, version, &text);
        self.check.that(verdict);
        let Some(run) = self.host(id).daemon.as_ref().map(|daemon| daemon.run) else { return };
        let full = self.faults.slow_disk && self.steering.one_in(10);
        let after = self.steering.between(MS, 50 * MS);
        self.after(after, Happening::Stored { host: id, run, version, text: (!full).then_some(text) });
    }

    pub(crate) fn stored(&mut self, id: u64, run: u64, version: u32, text: Option<String>) {
        let host = self.host(id);
        if host.daemon.as_ref().is_none_or(|daemon| daemon.run != run) {
            return;
        }
        let result = match text {
            Some(text) => {
                host.file = text;
                Ok(String::new())
            }
            None => Err("no space left on device".into()),
        };
        self.step(id, Event::Stored { version, result });
    }

    /// The configuration in force has other nodes than before: hosts are prepared for it.
    pub(crate) fn hosts_follow(&mut self) {
        for id in self.ids() {
            let wanted = self.wanted().contains(&id);
            let host = self.host(id);
            if !wanted {
                host.outside = true;
            } else if host.outside {
                host.outside = false;
                let after = self.steering.between(50 * MS, 2 * SECOND);
                self.after(after, Happening::Prepare { host: id });
            }
        }
    }

    /// The nodes of the configuration in force.
    pub(crate) fn wanted(&self) -> Vec<u64> {
        self.check.membership.wanted().unwrap_or_else(|| self.conf.nodes.iter().map(|node| node.id).collect())
    }

    /// Somebody gives a host that was added its file, and sees to it that it begins with nothing;
    /// somebody else forgets that.
    pub(crate) fn prepare(&mut self, id: u64) {
        if self.host(id).outside {
            return;
        }
        // Another person was faster. To empty it now were to lose a log that may be one of two that count,
        // which no rule could make up for.
        let store = self.host(id).disk.identity.store.clone();
        if self.check.membership.knows(id, &store) {
            return;
        }
        let texts = self.check.membership.files_with(id);
        if texts.is_empty() {
            return;
        }
        let text = self.steering.index(texts.len());
        let text = texts[text].clone();
        let used = self.host(id).disk.identity.incarnation > 0;
        if used && !self.healing && self.steering.one_in(2) {
            self.trace.note(self.time, || format!("n{id} gets a file and keeps its old log"));
            self.counts.one("removed logs that came back");
        } else {
            self.wipe(id, &text);
        }
        let host = self.host(id);
        host.file = text;
        let (boot, on) = (host.boot, host.on);
        self.after(MS, if on { Happening::Start { host: id, boot } } else { Happening::Boot { host: id } });
    }

    /// The host begins with an empty directory. Runs keep their own numbers, for the checks.
    fn wipe(&mut self, id: u64, text: &str) {
        self.trace.note(self.time, || format!("n{id} gets a file and an empty log"));
        self.counts.one("nodes added");
        if self.host(id).daemon.is_some() {
            self.power_off(id);
        }
        let number = self.number();
        let Ok(conf) = Conf::parse("cluster.conf", text) else { return };
        let host = self.host(id);
        let identity = Identity {
            incarnation: host.disk.identity.incarnation,
            ..Identity::new(&conf, id, format!("s{id}.{number}"))
        };
        // One that was removed may vote until the others can do without it, and be added again before. As
        // where a log is lost, what it had acknowledged is missing on its disk, and it does not vote before
        // it has caught up.
        let former = host.disk.last.max(host.disk.former);
        (host.disk, host.version) = (Disk { former, ..Disk::new(identity) }, 0);
    }

    /// While faults are over: what an operator who reads the status does.
    pub(crate) fn put_in_order(&mut self) {
        if !self.plan.reconfigures {
            return;
        }
        let wanted = self.wanted();
        let newest = self.engines().max_by_key(|(_, engine)| engine.probe().applied);
        let Some(state) = newest.map(|(_, engine)| engine.conf_state()) else { return };
        for id in self.ids() {
            let votes = state.voters.contains(&id) || state.voters_outgoing.contains(&id);
            let host = self.host(id);
            let (runs, store) = (host.daemon.is_some(), host.disk.identity.store.clone());
            if !wanted.contains(&id) {
                if runs && !votes {
                    self.power_off(id);
                }
            } else if self.check.membership.is_removed(&store) {
                self.prepare(id);
            }
        }
    }
}
