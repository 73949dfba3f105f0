//! The hypervisors: what runs under a host's own locks goes on without the daemon and without
//! the client that started it, and ends only when it is stopped, has moved, or the host dies.

use nines_proto::ctl::{ErrorKind, Mode, Outcome, Request, Value};

use crate::check::Held;
use crate::clock::{MS, SECOND};
use crate::host::{Client, Does, Domain};
use crate::world::{Happening, World};

impl World {
    /// A host has a lock of its own: its domain starts.
    pub(crate) fn domain_runs(&mut self, id: u64, resource: String, mode: Mode, generation: u64) {
        let known = self.host(id).domains.get(&resource);
        if known.is_some_and(|domain| (domain.mode, domain.generation) == (mode, generation)) {
            return;
        }
        let held = Held { node: id, resource: resource.clone(), mode, generation };
        let number = self.told(held, true);
        self.host(id).domains.insert(resource, Domain { mode, generation, number, offer: None });
    }

    /// Something is done about one of the host's domains: it is stopped, or moves elsewhere.
    pub(crate) fn domain_acts(&mut self, id: u64) {
        let count = self.host(id).domains.len();
        if count == 0 {
            return;
        }
        let at = self.random.index(count);
        let Some((resource, domain)) = self.host(id).domains.iter().nth(at) else { return };
        let (resource, running) = (resource.clone(), domain.number.is_some());
        if !running {
            return;
        }
        let others: Vec<u64> = self.ids().filter(|other| *other != id).collect();
        if self.random.one_in(2) && !others.is_empty() {
            let to = self.random.pick(&others);
            self.offer(id, resource, to);
        } else {
            self.stop_domain(id, resource);
        }
    }

    pub(crate) fn stop_domain(&mut self, id: u64, resource: String) {
        if let Some(number) = self.host(id).domains.remove(&resource).and_then(|domain| domain.number) {
            self.check.storage.gone(number);
        }
        self.trace.note(self.time, || format!("n{id} stops the domain of {resource}"));
        let client = Client { resource: resource.clone(), mode: Mode::Nl, sticky: true, does: Does::Returning };
        let connection = self.connect(id, client);
        self.call(id, connection, Request::Unlock { resource, sticky: true, session: None, value: None });
    }

    fn offer(&mut self, id: u64, resource: String, to: u64) {
        if let Some(number) = self.pause(id, &resource) {
            self.check.storage.gone(number);
        }
        self.trace.note(self.time, || format!("n{id} offers {resource} to n{to}"));
        let client = Client { resource: resource.clone(), mode: Mode::Nl, sticky: true, does: Does::Offering(to) };
        let connection = self.connect(id, client);
        let boot = self.host(id).boot;
        let after = self.random.between(100 * MS, 3 * SECOND);
        self.after(after, Happening::GiveUpMoving { host: id, boot, resource: resource.clone() });
        self.call(id, connection, Request::Offer { resource, to: format!("n{to}") });
    }

    fn pause(&mut self, id: u64, resource: &str) -> Option<u64> {
        self.host(id).domains.get_mut(resource)?.number.take()
    }

    pub(crate) fn accept(&mut self, id: u64, resource: String, offer: u64, mode: Mode) {
        let host = self.host(id);
        if host.daemon.is_none() || host.leaving || host.domains.contains_key(&resource) {
            return;
        }
        let client = Client { resource: resource.clone(), mode, sticky: true, does: Does::Accepting };
        let connection = self.connect(id, client);
        self.call(id, connection, Request::Accept { resource, offer });
    }

    /// The source has waited for the target long enough: it takes the domain back, if that is
    /// still possible.
    pub(crate) fn give_up_moving(&mut self, id: u64, boot: u64, resource: String) {
        let host = self.host(id);
        if host.boot != boot || !host.on {
            return;
        }
        let Some(domain) = host.domains.get(&resource).filter(|domain| domain.number.is_none()).cloned() else {
            return;
        };
        let Some(offer) = domain.offer else {
            // Nobody can accept an offer whose number nobody knows; but it may be known soon.
            let offering = |client: &Client| client.resource == resource && matches!(client.does, Does::Offering(_));
            let asking = host.clients.values().any(offering);
            if asking && host.daemon.is_some() {
                return self.after(SECOND, Happening::GiveUpMoving { host: id, boot, resource });
            }
            return self.domain_goes_on(id, &resource, &domain);
        };
        if self.host(id).daemon.is_none() {
            return self.after(SECOND, Happening::GiveUpMoving { host: id, boot, resource });
        }
        let client = Client { resource: resource.clone(), mode: Mode::Nl, sticky: true, does: Does::Retracting(offer) };
        let connection = self.connect(id, client);
        self.call(id, connection, Request::Retract { resource, offer });
    }

    /// The program that moved a domain is gone; another one will look after it.
    pub(crate) fn look_after(&mut self, host: u64, client: &Client) {
        if matches!(client.does, Does::Offering(_) | Does::Retracting(_)) {
            let (boot, resource) = (self.host(host).boot, client.resource.clone());
            self.after(SECOND, Happening::GiveUpMoving { host, boot, resource });
        }
    }

    /// The paused domain, if it still has this offer.
    fn offered(&mut self, id: u64, resource: &str, offer: u64) -> Option<Domain> {
        let domain = self.host(id).domains.get(resource)?;
        (domain.number.is_none() && domain.offer == Some(offer)).then(|| domain.clone())
    }

    fn domain_goes_on(&mut self, id: u64, resource: &str, domain: &Domain) {
        let Domain { mode, generation, .. } = *domain;
        let held = Held { node: id, resource: resource.to_owned(), mode, generation };
        let number = match self.check.storage.resumed(held) {
            Ok(number) => Some(number),
            Err(violation) => return self.check.that(Err(violation)),
        };
        if let Some(domain) = self.host(id).domains.get_mut(resource) {
            (domain.number, domain.offer) = (number, None);
        }
    }

    pub(crate) fn moving_answered(
        &mut self,
        id: u64,
        connection: u64,
        (resource, mode): (&str, Mode),
        does: Does,
        outcome: Outcome,
    ) {
        self.hang_up_soon(id, connection);
        let again = Happening::GiveUpMoving { host: id, boot: self.host(id).boot, resource: resource.to_owned() };
        match (does, outcome) {
            (Does::Offering(to), Outcome::Ok(Value::Offered { offer })) => {
                if let Some(domain) = self.host(id).domains.get_mut(resource) {
                    domain.offer = Some(offer);
                    let mode = domain.mode;
                    let after = self.random.between(MS, 2 * SECOND);
                    let what = Happening::Accept { host: to, resource: resource.to_owned(), offer, mode };
                    self.after(after, what);
                }
            }
            (Does::Accepting, Outcome::Ok(Value::Granted { generation, .. })) => {
                self.counts.one("migrations");
                self.domain_runs(id, resource.to_owned(), mode, generation);
            }
            (Does::Retracting(offer), Outcome::Ok(_)) => {
                if let Some(domain) = self.offered(id, resource, offer) {
                    self.domain_goes_on(id, resource, &domain);
                }
            }
            // It was accepted: the copy here is destroyed.
            (Does::Retracting(offer), Outcome::Error(failure)) if failure.kind == ErrorKind::NotHeld => {
                if self.offered(id, resource, offer).is_some() {
                    self.host(id).domains.remove(resource);
                }
            }
            (Does::Retracting(_), Outcome::Error(_)) => self.after(SECOND, again),
            (Does::Offering(_) | Does::Accepting, Outcome::Error(_)) => {}
            (does, outcome) => {
                let what = || format!("n{id} client {connection} was told {outcome:?} while {does:?}");
                self.check.that(crate::check::must("l5_answers_fit", false, what));
            }
        }
    }
}
