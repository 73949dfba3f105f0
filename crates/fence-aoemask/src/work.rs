//! Bringing every target to the goal: ask, edit, read back, until all are there or time is up.
//!
//! A target is whoever answers for a shelf and slot at an interface; each that does is brought
//! there, and one of which nothing is heard is not denied anything. Nothing counts but a list read
//! after the last edit: an edit's own answer may be lost, or be that of an earlier one.

use std::io;
use std::time::{Duration, Instant};

use nines_cli::log;
use nines_proto::aoe::Address;
use nines_proto::mac::Mac;

use crate::goal::{Goal, Step};
use crate::wire::{Heard, Port, What, hear};

/// After which a question without an answer is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a second target of the same shelf and slot may take to be heard.
const SETTLE: Duration = Duration::from_millis(200);
/// Edits after which a target is taken for one that does not keep them.
const MOST_EDITS: u32 = 8;
/// Targets that are remembered of one shelf and slot: more is somebody playing tricks.
const MOST_SERVERS: usize = 16;

/// A shelf and slot at an interface.
#[derive(Debug)]
pub struct Site {
    pub port: usize,
    pub address: Address,
    pub servers: Vec<Server>,
}

/// Who answers there.
#[derive(Debug)]
pub struct Server {
    pub mac: Mac,
    pub end: End,
    firmware: Option<u16>,
    /// Of the last list that was asked for; answers with another come too late.
    tag: u32,
    asked: Instant,
    edits: u32,
}

/// How far a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Questions are open; what it last refused.
    Open(String),
    /// It has this list, which is what was wanted.
    Reached(Vec<Mac>),
    Refused(String),
}

/// All of it.
#[derive(Debug)]
pub struct Work<'a> {
    pub ports: &'a [Port],
    pub sites: Vec<Site>,
    goal: Goal,
    verbose: bool,
    /// The first tag of this run and the last one that was used.
    first: u32,
    tag: u32,
}

impl<'a> Work<'a> {
    #[must_use]
    pub fn new(ports: &'a [Port], places: &[(usize, Address)], goal: Goal, verbose: bool, tag: u32) -> Self {
        let site = |(port, address): &(usize, Address)| Site { port: *port, address: *address, servers: Vec::new() };
        // Bit 31 keeps the answers away from the kernel's driver; far from the end it never wraps.
        let first = tag & 0x3fff_ffff | 1 << 31;
        Self { ports, sites: places.iter().map(site).collect(), goal, verbose, first, tag: first }
    }

    /// Works until every site is at its end or `patience` is over.
    ///
    /// # Errors
    /// An interface fails.
    pub fn run(&mut self, patience: Duration) -> io::Result<()> {
        let started = Instant::now();
        let until = started + patience;
        let mut search = started;
        loop {
            let now = Instant::now();
            if now >= until || (now >= started + SETTLE && self.at_its_end()) {
                return Ok(());
            }
            if now >= search {
                self.search()?;
                search = now + AGAIN;
            }
            self.ask_again(now)?;
            if let Some(heard) = hear(self.ports, search.min(until).min(now + AGAIN))? {
                self.take(heard)?;
            }
        }
    }

    fn at_its_end(&self) -> bool {
        let ended = |server: &Server| !matches!(server.end, End::Open(_));
        self.sites.iter().all(|site| !site.servers.is_empty() && site.servers.iter().all(ended))
    }

    fn next_tag(&mut self) -> u32 {
        self.tag += 1;
        self.tag
    }

    /// Asks who there is, at sites where nobody is known or somebody may be slow.
    fn search(&mut self) -> io::Result<()> {
        for at in 0..self.sites.len() {
            let tag = self.next_tag();
            let Site { port, address, .. } = self.sites[at];
            self.ports[port].config(Mac::BROADCAST, address, tag)?;
        }
        Ok(())
    }

    fn ask_again(&mut self, now: Instant) -> io::Result<()> {
        for site in 0..self.sites.len() {
            for server in 0..self.sites[site].servers.len() {
                let known = &self.sites[site].servers[server];
                if matches!(known.end, End::Open(_)) && now >= known.asked + AGAIN {
                    self.ask(site, server)?;
                }
            }
        }
        Ok(())
    }

    /// Asks a server for its list.
    fn ask(&mut self, site: usize, server: usize) -> io::Result<()> {
        let tag = self.next_tag();
        let Site { port, address, servers } = &mut self.sites[site];
        let server = &mut servers[server];
        (server.tag, server.asked) = (tag, Instant::now());
        self.ports[*port].mask(server.mac, *address, &[], tag)
    }

    fn take(&mut self, heard: Heard) -> io::Result<()> {
        let Heard { port, server: mac, address, tag, what } = heard;
        let Some(site) = self.sites.iter().position(|site| site.port == port && site.address == address) else {
            return Ok(());
        };
        let known = self.sites[site].servers.iter().position(|server| server.mac == mac);
        match (known, what) {
            (None, What::Firmware(firmware))
                if self.sites[site].servers.len() < MOST_SERVERS && (self.first..=self.tag).contains(&tag) =>
            {
                let (end, firmware) = (End::Open(String::new()), Some(firmware));
                let asked = Instant::now();
                self.sites[site].servers.push(Server { mac, end, firmware, tag: 0, asked, edits: 0 });
                self.ask(site, self.sites[site].servers.len() - 1)
            }
            (Some(server), What::List(list)) if self.sites[site].servers[server].tag == tag => {
                self.judge(site, server, list)
            }
            (Some(server), What::Refused(why)) if self.sites[site].servers[server].tag == tag => {
                let server = &mut self.sites[site].servers[server];
                if matches!(server.end, End::Open(_)) {
                    server.end = End::Open(why);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the next step with a list that was read after everything that was sent before.
    fn judge(&mut self, site: usize, at: usize, list: Vec<Mac>) -> io::Result<()> {
        let Site { port, address, servers } = &mut self.sites[site];
        let server = &mut servers[at];
        let (Some(firmware), End::Open(_)) = (server.firmware, &server.end) else { return Ok(()) };
        if self.verbose {
            let shown: Vec<String> = list.iter().map(Mac::to_string).collect();
            log(format_args!("{address} at {} of {}: serves {}", server.mac, self.ports[*port].name, shown.join(" ")));
        }
        match self.goal.step(&list, firmware) {
            Step::Reached => server.end = End::Reached(list),
            Step::Refuse(why) => server.end = End::Refused(why),
            Step::Edit(_) if server.edits >= MOST_EDITS => {
                server.end = End::Refused(format!("{MOST_EDITS} edits have not changed its list as they should"));
            }
            Step::Edit(edit) => {
                server.edits += 1;
                let (mac, address, port) = (server.mac, *address, *port);
                let tag = self.next_tag();
                self.ports[port].mask(mac, address, &edit, tag)?;
                // In order behind the edit, at a target that serves its frames in order.
                return self.ask(site, at);
            }
        }
        Ok(())
    }
}
