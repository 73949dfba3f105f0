//! Frames that have come: what each is for.

use std::time::Instant;

use nines_proto::aoe::{Command, Flags, Header, ata};
use nines_proto::mac::Mac;

use super::Server;
use super::work::{Request, Work};
use crate::target::Step;

impl Server {
    /// Takes a batch of frames from a wire. Whether there was one.
    pub(super) fn receive(&mut self, number: usize) -> bool {
        let Some(wire) = self.wires.get_mut(number) else { return false };
        wire.receive(self.engine.frames_mut(), &mut self.free, &mut self.came);
        let mut came = std::mem::take(&mut self.came);
        let found = !came.is_empty();
        if found {
            self.now = Instant::now();
        }
        for (frame, length) in came.drain(..) {
            self.take(number, frame, length);
        }
        self.came = came;
        found
    }

    fn take(&mut self, wire: usize, frame: usize, length: usize) {
        let frames = self.engine.frames();
        let Some(Ok((header, _))) = frames.bytes(frame).get(..length).map(Header::parse) else {
            self.wires[wire].malformed();
            self.free.push(frame);
            return;
        };
        if header.address.is_wild() {
            for at in 0..self.directory.len() {
                let (address, number) = self.directory[at];
                if header.address.reaches(address) && self.exports[number].wires.contains(&wire) {
                    self.take_copy(number, wire, frame, length);
                }
            }
            self.free.push(frame);
            return;
        }
        let found = self.directory.binary_search_by_key(&header.address, |(address, _)| *address);
        match found.map(|at| self.directory[at].1) {
            Ok(number) if self.exports[number].wires.contains(&wire) => self.give(number, wire, frame, length),
            _ => self.free.push(frame),
        }
    }

    /// A frame for several targets: each has a copy, as far as there is room. Who asks everybody
    /// asks again.
    fn take_copy(&mut self, export: usize, wire: usize, frame: usize, length: usize) {
        let Some(copy) = self.free.pop() else { return };
        self.scratch[..length].copy_from_slice(&self.engine.frames().bytes(frame)[..length]);
        self.engine.frames_mut().bytes_mut(copy)[..length].copy_from_slice(&self.scratch[..length]);
        self.give(export, wire, copy, length);
    }

    /// Has a target decide on a frame.
    fn give(&mut self, number: usize, wire: usize, frame: usize, length: usize) {
        let Self { exports, engine, scratch, .. } = self;
        let export = &mut exports[number];
        if let Some(link) = self.wires[wire].link() {
            export.target.set_link(Mac(link.address), link.mtu);
        }
        export.counters.frames += 1;
        let bytes = &engine.frames().bytes(frame)[..length];
        let source = source(bytes);
        let (work, pending) = match export.target.take(bytes, scratch) {
            Step::Ignore(why) => {
                export.counters.ignored(why);
                export.clients.ignored(source);
                self.free.push(frame);
                return;
            }
            Step::Answer(length) => {
                let changed = export.target.changed();
                let client = export.clients.number(source);
                let tally = export.clients.tally(client);
                tally.others += 1;
                tally.refused += u64::from(refuses(&scratch[..length]));
                engine.frames_mut().bytes_mut(frame)[..length].copy_from_slice(&scratch[..length]);
                // Who has changed something is told when it is kept; otherwise it asks again.
                if changed && self.keep(number).is_err() {
                    self.free.push(frame);
                } else {
                    self.wires[wire].queue(frame, length);
                }
                return;
            }
            Step::Read(extent, pending) => (Work::Read(extent), pending),
            Step::Write(extent, _, pending) => (Work::Write(extent), pending),
            Step::Flush(pending) => (Work::Flush, pending),
            Step::Trim(_, pending) => (Work::Trim, pending),
        };
        let client = export.clients.number(source);
        export.clients.queue(client);
        let arrived = self.now;
        let (progress, begun, next, alone) = (0, false, None, false);
        let request = Request { export: number, wire, client, work, arrived, progress, begun, next, alone, pending };
        self.admit(frame, request);
    }
}

/// Who sent a frame.
fn source(frame: &[u8]) -> Mac {
    frame.get(6..12).and_then(|bytes| bytes.try_into().ok()).map_or(Mac([0; 6]), Mac)
}

/// Whether an answer is an error, AoE's or ATA's.
fn refuses(answer: &[u8]) -> bool {
    Header::parse(answer).is_ok_and(|(header, argument)| {
        let failed =
            || ata::Registers::parse(argument).is_ok_and(|(it, _)| it.command_status & ata::status::ERROR != 0);
        header.flags.has(Flags::ERROR) || header.command == Command::Ata && failed()
    })
}
