//! Faults end; then everything that was asked for must be decided.

use std::collections::BTreeSet;

use cluster_join::engine::Engine;
use nines_proto::ctl::{Mode, Request};

use crate::check::must;
use crate::clock::{MS, SECOND};
use crate::host::{Client, Does, Host};
use crate::plan::Faults;
use crate::world::{Happening, World};

/// How long, at most, until all is decided.
const PATIENCE: u64 = 60 * SECOND;

impl World {
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::NONE;
        self.healing = true;
        self.cut.clear();
        self.trace.note(self.time, || "faults end".into());
        for id in self.ids() {
            if !self.host(id).on {
                self.after(MS, Happening::Boot { host: id });
            }
        }
        let until = self.time + PATIENCE;
        let (mut calm, mut rounds) = (false, 0);
        while self.time < until && self.check.violation.is_none() {
            let next = self.time + 100 * MS;
            self.run_until(next);
            if self.check.violation.is_some() {
                return;
            }
            rounds += 1;
            if rounds % 10 == 0 {
                self.put_in_order();
                self.give_access();
            }
            if rounds % 20 == 0 {
                let id = self.random.between(1, self.hosts.len() as u64);
                self.operator_acts(id);
            }
            if !calm {
                calm = self.agree();
                if calm {
                    let lost = self.newest().map(|(_, engine)| self.check.storage.l7_nothing_lost(engine.state()));
                    self.check.that(lost.unwrap_or(Ok(())));
                }
                continue;
            }
            if self.all_given_back() {
                return self.last_look();
            }
        }
        let waits = self.what_waits();
        self.check.that(must("liveness", false, || format!("{} s after the last fault: {waits}", PATIENCE / SECOND)));
    }

    /// A member whose disks an agent that came late has taken away is rebooted, and asks for them.
    fn give_access(&mut self) {
        let Some((_, engine)) = self.newest() else { return };
        let members = engine.state().members.iter().filter(|(_, member)| member.present && member.unfenced);
        let shut = members.map(|(node, _)| *node).filter(|node| {
            self.hosts.iter().any(|host| host.id == *node && host.daemon.is_some() && host.had_access && !host.port)
        });
        for id in shut.collect::<Vec<_>>() {
            self.counts.one("members shut out");
            self.power_cut(id);
        }
    }

    /// Whether every node is a member and has applied the same entries.
    fn agree(&self) -> bool {
        let wanted = self.wanted();
        let here = || self.engines().filter(|(id, _)| wanted.contains(id));
        let applied: BTreeSet<u64> = here().map(|(_, engine)| engine.probe().applied).collect();
        let members = |state: &cluster_join::state::State| {
            wanted.iter().all(|id| {
                let Some(host) = self.hosts.iter().find(|host| host.id == *id) else { return false };
                state
                    .members
                    .get(&host.id)
                    .is_some_and(|member| member.present && member.incarnation == host.disk.identity.incarnation)
            })
        };
        let moving = self.hosts.iter().any(|host| host.domains.values().any(|domain| domain.number.is_none()));
        !moving
            && here().count() == wanted.len()
            && applied.len() == 1
            && here().all(|(_, engine)| members(engine.state()))
    }

    /// Whoever holds something lets go, whoever waits gets his turn: true when all have.
    fn all_given_back(&mut self) -> bool {
        for id in self.ids() {
            if self.host(id).daemon.is_none() {
                continue;
            }
            let clients = self.host(id).clients.iter();
            let holders: Vec<(u64, u64)> = clients
                .filter_map(|(connection, client)| match client.does {
                    Does::Holding(number) => Some((*connection, number)),
                    _ => None,
                })
                .collect();
            for (connection, number) in holders {
                self.give_back(id, connection, number);
            }
            let running = self.host(id).domains.iter().filter(|(_, domain)| domain.number.is_some());
            for resource in running.map(|(resource, _)| resource.clone()).collect::<Vec<_>>() {
                self.stop_domain(id, resource);
            }
        }
        for (id, resource) in self.left_over() {
            if self.host(id).daemon.is_none() {
                continue;
            }
            let client = Client { resource: resource.clone(), mode: Mode::Nl, sticky: true, does: Does::Returning };
            let connection = self.connect(id, client);
            self.call(id, connection, Request::Unlock { resource, sticky: true, session: None, value: None });
        }
        self.sessions_end();
        self.cancelled_end();
        let ended = self.programs_end();
        let used = |host: &Host| !(host.clients.is_empty() && host.domains.is_empty() && host.taken.is_empty());
        let waiting = self.hosts.iter().any(|host| used(host) || !host.takers.is_empty());
        let wanted = self.wanted();
        let free = self
            .engines()
            .filter(|(id, _)| wanted.contains(id))
            .all(|(_, engine)| engine.state().locks.list().next().is_none());
        !waiting && ended && free && self.agree()
    }

    /// Clients that withdrew what they asked for go when it is as if they had never asked.
    fn cancelled_end(&mut self) {
        let Some((_, engine)) = self.newest() else { return };
        let owners: Vec<_> = engine
            .state()
            .locks
            .list()
            .flat_map(|(_, granted, waiting)| granted.into_iter().chain(waiting))
            .filter_map(|holder| Some((holder.owner.node, holder.owner.connection?)))
            .collect();
        for id in self.ids() {
            let clients = self.host(id).clients.iter();
            let over: Vec<u64> = clients
                .filter(|(connection, client)| client.does == Does::Cancelled && !owners.contains(&(id, **connection)))
                .map(|(connection, _)| *connection)
                .collect();
            for connection in over {
                self.hang_up(id, connection);
            }
        }
    }

    /// The daemon that has applied the most.
    pub(crate) fn newest(&self) -> Option<(u64, &Engine)> {
        self.engines().max_by_key(|(id, engine)| (engine.probe().applied, std::cmp::Reverse(*id)))
    }

    /// Sticky locks in the state that no domain runs under and no client is about to give back.
    fn left_over(&self) -> Vec<(u64, String)> {
        let mut left = Vec::new();
        let Some((_, engine)) = self.newest() else { return left };
        for (resource, granted, _) in engine.state().locks.list() {
            for grant in
                granted.iter().filter(|grant| grant.owner.connection.is_none() && grant.owner.session.is_none())
            {
                let Some(host) = self.hosts.iter().find(|host| host.id == grant.owner.node) else { continue };
                let used = host.domains.contains_key(resource)
                    || host.clients.values().any(|client| client.sticky && client.resource == resource);
                if !used {
                    left.push((host.id, resource.to_owned()));
                }
            }
        }
        left
    }

    fn last_look(&mut self) {
        let at: Vec<(u64, u64)> = self.engines().map(|(id, engine)| (id, engine.probe().applied)).collect();
        for (id, applied) in at {
            let Some(daemon) = &self.hosts[usize::try_from(id - 1).unwrap_or_default()].daemon else { continue };
            let verdict = self.check.consensus.c6_same_state(id, applied, daemon.engine.state(), true);
            self.check.that(verdict);
        }
    }

    fn what_waits(&self) -> String {
        let mut what = Vec::new();
        for host in &self.hosts {
            what.extend(host.takers.iter().map(|it| format!("n{} taker {it:?}", host.id)));
            what.extend(host.taken.iter().map(|it| format!("n{} runs {it:?}", host.id)));
            what.extend(host.programs.iter().map(|it| format!("n{} program {it:?}", host.id)));
            what.extend(host.clients.iter().map(|(connection, client)| {
                format!("n{} client {connection} is {:?} {}", host.id, client.does, client.resource)
            }));
            what.extend(
                host.domains.iter().map(|(resource, domain)| format!("n{} runs {resource}: {domain:?}", host.id)),
            );
            match &host.daemon {
                Some(daemon) => what.push(format!("n{}: {:?}", host.id, daemon.engine.probe())),
                None => what.push(format!("n{} does not run", host.id)),
            }
        }
        if let Some((id, engine)) = self.newest() {
            what.push(format!("members as n{id} has them: {:?}", engine.state().members));
            what.extend(
                engine
                    .state()
                    .locks
                    .list()
                    .map(|(resource, granted, waiting)| format!("{resource}: {granted:?} waiting {waiting:?}")),
            );
        }
        what.join("; ")
    }
}
