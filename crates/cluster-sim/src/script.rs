//! Histories that are told step by step, for what chance brings together too rarely.

use nines_proto::ctl::{Mode, Request};

use crate::clock::MS;
use crate::host::{Client, Does};
use crate::net::Way;
use crate::world::{Happening, World};

impl World {
    /// Some time passes.
    pub fn go_on(&mut self, ms: u64) {
        let until = self.time + ms * MS;
        self.run_until(until);
    }

    /// The host loses its power, until it is switched on by hand.
    pub fn cut_power(&mut self, id: u64) {
        self.dark.insert(id);
        self.power_off(id);
    }

    pub fn switch_on(&mut self, id: u64) {
        self.dark.remove(&id);
        self.after(MS, Happening::Boot { host: id });
    }

    /// A network carries nothing from now on.
    pub fn cut_network(&mut self, ring: usize) {
        let ids = self.ids();
        self.cut.extend(ids.clone().flat_map(|from| ids.clone().map(move |to| Way { from, to, ring })));
    }

    /// All networks carry everything again.
    pub fn mend_networks(&mut self) {
        self.cut.clear();
    }

    /// A client on the host asks for a lock and waits for it.
    pub fn takes(&mut self, id: u64, resource: &str) {
        let (resource, mode, sticky) = (resource.to_owned(), Mode::Ex, false);
        let client = Client { resource: resource.clone(), mode, sticky, does: Does::Asking };
        let connection = self.connect(id, client);
        let (session, note) = (None, String::new());
        self.call(id, connection, Request::Lock { resource, mode, wait_ms: None, sticky, session, note });
    }

    /// Whether a client on the host has the lock.
    #[must_use]
    pub fn has(&self, id: u64, resource: &str) -> bool {
        self.hosts
            .iter()
            .filter(|host| host.id == id)
            .flat_map(|host| host.clients.values())
            .any(|client| client.resource == resource && matches!(client.does, Does::Holding(_)))
    }

    /// Whether the host's daemon leads.
    #[must_use]
    pub fn leads(&self, id: u64) -> bool {
        self.engines().any(|(node, engine)| node == id && engine.leads())
    }
}
