//! Frames that have come: what each is for.

use nines_proto::aoe::Header;
use nines_proto::mac::Mac;
use nines_sys::packet::batch::Patience;

use super::work::{Request, Work};
use super::{Found, Server};
use crate::target::Step;

impl Server {
    /// Takes a batch of frames from a wire.
    pub(super) fn receive(&mut self, wire: usize, patience: Patience) -> Found {
        self.wires[wire].receive(self.engine.frames_mut(), &mut self.free, patience, &mut self.came);
        if self.came.is_empty() {
            return Found::Nothing;
        }
        let mut came = std::mem::take(&mut self.came);
        for (frame, length) in came.drain(..) {
            self.take(wire, frame, length);
        }
        self.came = came;
        Found::Something
    }

    fn take(&mut self, wire: usize, frame: usize, length: usize) {
        let frames = self.engine.frames();
        let bytes = frames.bytes(frame).get(..length);
        let Some(Ok((header, _))) = bytes.map(Header::parse) else {
            if let Some(export) = self.exports.iter_mut().find(|export| export.wires.contains(&wire)) {
                export.counters.frames += 1;
                export.counters.malformed += 1;
            }
            self.free.push(frame);
            return;
        };
        if header.address.is_wild() {
            for export in 0..self.exports.len() {
                let target = &self.exports[export].target;
                if self.exports[export].wires.contains(&wire) && header.address.reaches(target.address()) {
                    self.take_copy(export, wire, frame, length);
                }
            }
            self.free.push(frame);
            return;
        }
        match self.exports.binary_search_by_key(&header.address, |export| export.target.address()) {
            Ok(export) if self.exports[export].wires.contains(&wire) => self.give(export, wire, frame, length),
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
        let (work, pending) = match export.target.take(&engine.frames().bytes(frame)[..length], scratch) {
            Step::Ignore(why) => {
                export.counters.ignored(why);
                self.free.push(frame);
                return;
            }
            Step::Answer(length) => {
                engine.frames_mut().bytes_mut(frame)[..length].copy_from_slice(&scratch[..length]);
                self.wires[wire].queue(frame, length);
                return;
            }
            Step::Read(extent, pending) => (Work::Read(extent), pending),
            Step::Write(extent, _, pending) => (Work::Write(extent), pending),
            Step::Flush(pending) => (Work::Flush, pending),
            Step::Trim(_, pending) => (Work::Trim, pending),
        };
        self.admit(frame, Request { export: number, wire, work, progress: 0, pending });
    }
}
