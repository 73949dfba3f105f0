//! Requests for a disk, from their admission to their answer.

use std::io;

use nines_proto::aoe::{SECTOR, ata};
use nines_sys::disk::{Done, Job};

use super::{Found, Server};
use crate::ata::{Extent, Failure};
use crate::order::Access;
use crate::target::Pending;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Read(Extent),
    Write(Extent),
    Flush,
}

impl Work {
    fn extent(self) -> Option<Extent> {
        match self {
            Self::Read(extent) | Self::Write(extent) => Some(extent),
            Self::Flush => None,
        }
    }

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Flush => "flush",
        }
    }
}

/// A request that has been understood and not yet been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub export: usize,
    pub wire: usize,
    pub work: Work,
    /// Bytes the disk has moved so far.
    pub transferred: usize,
    pub pending: Pending,
}

impl Server {
    /// Starts a request, or has it wait for those it overlaps.
    pub(super) fn admit(&mut self, frame: usize, request: Request) {
        let Request { export: number, work, .. } = request;
        self.requests[frame] = Some(request);
        let token = token(frame);
        let export = &mut self.exports[number];
        let (extent, access) = match work {
            Work::Read(extent) => (extent, Access::Read),
            Work::Write(extent) => (extent, Access::Write),
            Work::Flush => {
                if export.commit.add(token) {
                    self.dirty.push(number);
                }
                return;
            }
        };
        let sectors = extent.range();
        if export.order.is_free(&sectors, access) {
            let data = &mut self.engine.frames_mut().bytes_mut(frame)[ata::DATA..ata::DATA + extent.length()];
            let done = match access {
                Access::Read => export.store.read_at_once(extent, data).then_some(Ok(())),
                Access::Write => export.store.write_at_once(extent, data),
            };
            if let Some(result) = done {
                return self.moved(frame, result);
            }
        }
        if export.order.add(token, &sectors, access) {
            self.start(frame);
        }
    }

    /// Gives a request, or what is left of it, to the disk.
    fn start(&mut self, frame: usize) {
        let Some(Request { export, work, transferred, .. }) = self.requests[frame] else { return };
        let Some(extent) = work.extent() else { return };
        let store = &self.exports[export].store;
        let part = ata::DATA + transferred..ata::DATA + extent.length();
        let offset = store.position(extent) + transferred as u64;
        let (file, job) = match work {
            Work::Read(_) => (store.file(), Job::Read { frame, part, offset }),
            _ => (store.file_to_write(), Job::Write { frame, part, offset, durable: store.commits_each() }),
        };
        if let Err(error) = self.engine.start(file, &job, token(frame)) {
            self.over(frame, Err(error));
        }
    }

    /// Starts the flushes that writes wait for.
    pub(super) fn flush_where_due(&mut self) {
        while let Some(number) = self.dirty.pop() {
            let export = &mut self.exports[number];
            if export.commit.begin() {
                let job = Job::Sync { data: !export.store.syncs_timestamps() };
                let token = token(self.requests.len() + number);
                if let Err(error) = self.engine.start(export.store.file(), &job, token) {
                    self.flushed(number, Err(error));
                }
            }
        }
    }

    /// Takes what the disks have done.
    pub(super) fn complete(&mut self) -> Found {
        let mut done = std::mem::take(&mut self.done);
        self.engine.finished(&mut done);
        let found = if done.is_empty() { Found::Nothing } else { Found::Something };
        for Done { token, result } in done.drain(..) {
            let token = token as usize;
            match token.checked_sub(self.requests.len()) {
                Some(export) => self.flushed(export, result.map(drop)),
                None => self.transferred(token, result),
            }
        }
        self.done = done;
        found
    }

    fn transferred(&mut self, frame: usize, result: io::Result<usize>) {
        let Some(request) = &mut self.requests[frame] else { return };
        let length = request.work.extent().map_or(0, Extent::length);
        let result = match result {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            // Direct I/O cannot go on within a sector.
            Ok(bytes) if bytes % SECTOR != 0 && request.transferred + bytes < length => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(bytes) => {
                request.transferred += bytes;
                if request.transferred < length {
                    return self.start(frame);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.start(frame),
            Err(error) => Err(error),
        };
        self.over(frame, result);
    }

    /// The disk is done with a request: those behind it may run.
    fn over(&mut self, frame: usize, result: io::Result<()>) {
        let Some(Request { export, .. }) = self.requests[frame] else { return };
        let mut ready = std::mem::take(&mut self.ready);
        self.exports[export].order.done(token(frame), |request| ready.push(request));
        self.moved(frame, result);
        for request in ready.drain(..) {
            self.start(request as usize);
        }
        // One that cannot be started is over too, and may have filled the list anew.
        if self.ready.is_empty() {
            self.ready = ready;
        }
    }

    /// A read has its data, a write is in the store: what was read is answered, what was written
    /// as soon as it is durable.
    fn moved(&mut self, frame: usize, result: io::Result<()>) {
        let Some(Request { export: number, work, .. }) = self.requests[frame] else { return };
        let export = &mut self.exports[number];
        match (work, work.extent()) {
            (Work::Read(extent), _) => {
                export.counters.reads += 1;
                export.counters.sectors_read += u64::from(extent.sectors);
            }
            (Work::Write(extent), _) => {
                export.counters.writes += 1;
                export.counters.sectors_written += u64::from(extent.sectors);
                if result.is_ok() && export.store.commits_groups() {
                    if export.commit.add(token(frame)) {
                        self.dirty.push(number);
                    }
                    return;
                }
            }
            (Work::Flush, _) => export.counters.flushes += 1,
        }
        let result = result.map_err(|error| export.complain(work.name(), work.extent(), &error));
        self.answer(frame, result);
    }

    /// A flush is over: what it covered is answered.
    fn flushed(&mut self, number: usize, result: io::Result<()>) {
        let export = &mut self.exports[number];
        let result = result.map_err(|error| export.complain("flush", None, &error));
        let mut covered = std::mem::take(&mut self.ready);
        export.commit.end(|request| covered.push(request));
        if !export.commit.is_empty() {
            self.dirty.push(number);
        }
        for request in covered.drain(..) {
            let frame = request as usize;
            if let Some(Request { work: Work::Flush, .. }) = self.requests[frame] {
                self.exports[number].counters.flushes += 1;
            }
            self.answer(frame, result);
        }
        self.ready = covered;
    }

    fn answer(&mut self, frame: usize, result: Result<(), Failure>) {
        let Some(Request { wire, pending, .. }) = self.requests[frame].take() else { return };
        let length = pending.finish(result, self.engine.frames_mut().bytes_mut(frame));
        self.wires[wire].queue(frame, length);
    }
}

/// A request's number is its frame's; a flush's is its export's, behind all frames.
#[expect(clippy::cast_possible_truncation, reason = "a few thousand at most")]
fn token(number: usize) -> u32 {
    number as u32
}
