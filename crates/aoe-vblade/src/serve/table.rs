//! Exports and interfaces that come and go: the table that SIGHUP has read again, disks that have
//! grown, links that have changed.

use anyhow::{Context, bail};
use nines_cli::log;
use nines_proto::aoe::sectors_per_frame;
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;

use super::Server;
use crate::args::{ExportOptions, table};
use crate::export::Export;
use crate::memory::Page;
use crate::wire::Wire;

impl Server {
    /// Starts to serve an export; [`advertise`](Self::advertise) tells of it.
    ///
    /// # Errors
    /// It is unfit, or one of its interfaces is missing: an export that was to have two ways and has
    /// one would not be noticed.
    pub fn add(&mut self, options: &ExportOptions) -> anyhow::Result<()> {
        let address = options.address;
        // The disk first, as vblade: most mistakes are made there.
        let mtu = options.interfaces.iter().filter_map(|name| Link::named(name).ok()).map(|link| link.mtu).min();
        let (mtu, most) = (mtu.unwrap_or(usize::MAX), self.requests.len());
        let mut export = Export::open(options.clone(), self.memory.as_ref(), mtu, most)?;
        if let Some((_, page)) = self.legacies.iter().find(|(known, _)| *known == address) {
            page.recall(&mut export.target, &options.mask)?;
        }
        for mac in self.everywhere.at(address) {
            export.target.deny(mac);
        }
        match self.wires_of(options) {
            Ok(wires) => export.wires = wires,
            Err(error) => {
                if self.table.is_none() {
                    return Err(error);
                }
                self.close_idle_wires();
                self.absent.push(options.clone());
                bail!("{error:#}; served as soon as it is there");
            }
        }
        for wire in &export.wires {
            let wire = &mut self.wires[*wire];
            wire.expect(options.buffers.into());
            if let Some(link) = wire.link()
                && sectors_per_frame(link.mtu) == 0
            {
                log(format_args!("{}: no sector fits a frame at MTU {}", wire.name(), link.mtu));
            }
        }
        if options.opening.write_back {
            log(format_args!("{address}: --write-back: writes are answered before they are on stable storage"));
        }
        if options.buffers < 2 {
            log(format_args!("{address}: Linux initiators ignore a target with a buffer count of 1"));
        }
        if address.shelf.0 == 0xfff {
            log(format_args!("{address}: Linux initiators ignore shelf 4095"));
        }
        let number = self.exports.add(export);
        self.outgrown = self.frame_length() > self.engine.frames().length();
        let at = self.directory.partition_point(|(known, _)| *known < address);
        self.directory.insert(at, (address, number));
        // Where that is impossible the log says so; who is denied is so all the same.
        let _ = self.keep(number);
        Ok(())
    }

    /// The interfaces of an export, opened where nothing is served on them yet.
    fn wires_of(&mut self, options: &ExportOptions) -> anyhow::Result<Vec<usize>> {
        let mut wires = Vec::new();
        for name in &options.interfaces {
            let known = self.wires.iter().find(|(_, wire)| wire.name() == name).map(|(number, _)| number);
            wires.push(match known {
                Some(number) => number,
                None => {
                    let only = self.table.is_none().then_some(options.address);
                    self.wires.add(Wire::open(name, only)?)
                }
            });
        }
        Ok(wires)
    }

    /// What is served, for the line each export gets on standard output.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.directory.iter().map(|(address, number)| {
            let Export { medium, options, .. } = &self.exports[*number];
            let mode = if options.opening.read_only { "O_RDONLY" } else { "O_RDWR" };
            format!("{address}, {} sectors {mode}", medium.sectors)
        })
    }

    /// SIGHUP: the table as it is now, and the disks as they are now.
    pub(super) fn reload(&mut self) {
        let Some(path) = self.table.clone() else { return self.measure_again() };
        match table::read(&path) {
            Ok(wanted) => self.follow(wanted),
            // A table with an error in it is none: what is served stays as it is.
            Err(error) => log(format_args!("{error:#}; serving as before")),
        }
        self.measure_again();
    }

    fn follow(&mut self, wanted: Vec<ExportOptions>) {
        self.arriving.clear();
        self.absent.clear();
        let mut gone: Vec<usize> = self.directory.iter().map(|(_, number)| *number).collect();
        for options in wanted {
            let known = self.directory.binary_search_by_key(&options.address, |(address, _)| *address);
            match known.map(|at| self.directory[at].1) {
                Ok(number) if self.exports[number].options == options => gone.retain(|other| *other != number),
                _ => self.arriving.push(options),
            }
        }
        for number in gone {
            log(format_args!("{}: no longer served as before", self.exports[number].target.address()));
            self.exports[number].leaving = true;
            self.directory.retain(|(_, known)| *known != number);
        }
        self.sweep();
    }

    /// Lets go of exports that are leaving and have answered what they had, and takes in those that
    /// have waited for their places.
    pub(super) fn sweep(&mut self) {
        if self.arriving.is_empty() && !self.exports.iter().any(|(_, export)| export.leaving) {
            return;
        }
        let leaving: Vec<usize> =
            self.exports.iter().filter(|(_, export)| export.leaving).map(|(number, _)| number).collect();
        for number in leaving {
            if self.requests.iter().flatten().all(|request| request.export != number)
                && let Some(Export { target, options, .. }) = self.exports.remove(number)
            {
                self.legacies.retain(|(address, _)| *address != options.address);
                self.legacies.push((options.address, Page::of(&target, &options.mask)));
            }
        }
        self.close_idle_wires();
        let arriving = std::mem::take(&mut self.arriving);
        for options in arriving {
            // Its place, or its disk, may be one's that is still leaving.
            let taken = |other: &Export| {
                let same_disk = other.options.opening.path == options.opening.path;
                other.leaving && (other.options.address == options.address || same_disk)
            };
            if self.exports.iter().any(|(_, export)| taken(export)) {
                self.arriving.push(options);
                continue;
            }
            match self.add(&options) {
                Ok(()) => {
                    let wires = self.exports.iter().find(|(_, export)| export.options == options);
                    log(format_args!("{}: served now", options.address));
                    for wire in wires.map(|(_, export)| export.wires.clone()).unwrap_or_default() {
                        self.advertise_on(wire);
                    }
                }
                Err(error) => log(format_args!("{}: not served: {error:#}", options.address)),
            }
        }
    }

    fn close_idle_wires(&mut self) {
        let exports = &self.exports;
        let idle = |number: &usize| exports.iter().all(|(_, export)| !export.wires.contains(number));
        let idle: Vec<usize> = self.wires.iter().map(|(number, _)| number).filter(idle).collect();
        for number in idle {
            // What was asked over it has been answered: its exports went after their requests.
            self.wires.remove(number);
            self.waiting.forget_wires();
        }
    }

    fn measure_again(&mut self) {
        let numbers: Vec<usize> = self.directory.iter().map(|(_, number)| *number).collect();
        for number in numbers {
            let export = &mut self.exports[number];
            let address = export.target.address();
            match export.measure_again().with_context(|| address.to_string()) {
                Ok(false) => {}
                Ok(true) => {
                    log(format_args!("{address}: {} sectors now", export.medium.sectors));
                    for wire in export.wires.clone() {
                        self.advertise_on(wire);
                    }
                }
                Err(error) => log(format_args!("{error:#}; serving as before")),
            }
        }
    }

    /// Tells the segments that the targets are there and what their frames carry; nothing where
    /// the interface is down.
    pub fn advertise(&mut self) {
        for wire in 0..self.wires.numbers() {
            self.advertise_on(wire);
        }
    }

    fn advertise_on(&mut self, number: usize) {
        let Some(wire) = self.wires.get_mut(number) else { return };
        let Some(link) = wire.link().filter(|link| link.running) else { return };
        let on_it = |export: &Export| !export.leaving && export.wires.contains(&number);
        for (_, export) in self.exports.iter_mut().filter(|(_, export)| on_it(export)) {
            export.target.set_link(Mac(link.address), link.mtu);
            for at in 0..export.target.audience().len() {
                let to: Mac = export.target.audience()[at];
                let length = export.target.advertise(to, &mut self.scratch);
                // One that is lost is made up for by the initiators, which ask every minute.
                wire.send_now(&self.scratch[..length]);
            }
        }
    }

    pub(super) fn look_at_links(&mut self) {
        // Drained first: what happens from here on is news again.
        if let Err(error) = self.watch.drain() {
            log(format_args!("netlink: {error}"));
        }
        for number in 0..self.wires.numbers() {
            if self.wires.get_mut(number).is_some_and(Wire::look) {
                self.advertise_on(number);
            }
        }
        self.outgrown = self.frame_length() > self.engine.frames().length();
        // Those whose interfaces are all there now are taken in as if the table had just named them.
        let there = |options: &mut ExportOptions| options.interfaces.iter().all(|name| Link::named(name).is_ok());
        self.arriving.extend(self.absent.extract_if(.., there));
        self.sweep();
    }
}
