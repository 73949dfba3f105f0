//! Requests for a disk, from their admission to their answer.

use std::io;
use std::time::Instant;

use nines_proto::aoe::trim::{Range, Ranges};
use nines_proto::aoe::{SECTOR, ata};
use nines_sys::disk::{Done, Job};

use super::Server;
use crate::ata::{Extent, Failure};
use crate::order::{Access, Admission};
use crate::target::Pending;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Read(Extent),
    Write(Extent),
    Flush,
    /// The ranges are in the frame, behind the registers.
    Trim,
}

impl Work {
    pub(super) fn extent(self) -> Option<Extent> {
        match self {
            Self::Read(extent) | Self::Write(extent) => Some(extent),
            Self::Flush | Self::Trim => None,
        }
    }

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Flush => "flush",
            Self::Trim => "trim",
        }
    }
}

/// A request that has been understood and not yet been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub export: usize,
    pub wire: usize,
    /// By its number among the export's.
    pub client: usize,
    pub work: Work,
    /// When its frame was taken.
    pub arrived: Instant,
    /// Bytes the disk has moved so far, or ranges it has discarded.
    pub progress: usize,
    /// The disk has it, or has had it.
    pub begun: bool,
    /// The request behind it in the same job.
    pub next: Option<usize>,
    /// It is to be a job by itself.
    pub alone: bool,
    pub pending: Pending,
}

/// A request whose answer is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    export: usize,
    client: usize,
    read: bool,
    arrived: Instant,
}

impl Server {
    /// Takes the time of the answers that have been sent: one look at the clock for all of them.
    pub(super) fn take_time(&mut self) {
        if self.answered.is_empty() {
            return;
        }
        self.now = Instant::now();
        for Answered { export, client, read, arrived } in self.answered.drain(..) {
            if let Some(export) = self.exports.get_mut(export) {
                export.clients.took(client, read, self.now.duration_since(arrived));
            }
        }
    }

    /// Starts a request, or has it wait for those it overlaps.
    pub(super) fn admit(&mut self, frame: usize, request: Request) {
        let Request { export: number, work, client, .. } = request;
        self.requests[frame] = Some(request);
        let token = token(frame);
        let export = &mut self.exports[number];
        let (extent, access) = match work {
            Work::Read(extent) => (extent, Access::Read),
            Work::Write(extent) => (extent, Access::Write),
            Work::Flush => {
                self.begin(frame);
                if self.exports[number].commit.add(token) {
                    self.dirty.push(number);
                }
                return;
            }
            Work::Trim => return self.admit_trim(frame, number, client),
        };
        let Admission { runs, repeats } = export.order.add(token, &extent.range(), access, short(client));
        export.clients.tally(client).duplicates += u64::from(repeats);
        if runs {
            self.ready.push(frame);
        }
    }

    fn begin(&mut self, frame: usize) {
        if let Some(request) = &mut self.requests[frame] {
            request.begun = true;
        }
    }

    /// Gives up a request that has not begun: it is never answered.
    pub(super) fn drop_waiting(&mut self, frame: usize) {
        let Some(Request { export, client, .. }) = self.requests[frame].take() else { return };
        self.exports[export].clients.leave(client);
        self.exports[export].clients.tally(client).ignored += 1;
        self.free.push(frame);
        // One dropped before may just have let it go; by its turn the frame may be another's.
        self.ready.retain(|ready| *ready != frame);
        self.free_behind(export, frame);
    }

    /// Those that waited for a request only may run.
    fn free_behind(&mut self, export: usize, frame: usize) {
        let ready = &mut self.ready;
        self.exports[export].order.done(token(frame), |request| ready.push(request as usize));
    }

    /// A trim waits for, and is waited for by, everything between its first sector and its last.
    fn admit_trim(&mut self, frame: usize, export: usize, client: usize) {
        let first = self.ranges(frame).map(|range| range.first).min().unwrap_or(0);
        let end = self.ranges(frame).map(Range::end).max().unwrap_or(0);
        let (sectors, export) = (first..end.max(first), &mut self.exports[export]);
        if export.order.add(token(frame), &sectors, Access::Write, short(client)).runs {
            self.ready.push(frame);
        }
    }

    /// The ranges a trim names; the target has seen that they are on the disk.
    pub(super) fn ranges(&self, frame: usize) -> impl Iterator<Item = Range> + '_ {
        let sectors = self.requests[frame].map_or(0, |request| request.pending.count());
        let data = &self.engine.frames().bytes(frame)[ata::DATA..][..usize::from(sectors) * SECTOR];
        Ranges::parse(data).iter()
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

    /// Takes what the disks have done. Whether there was anything.
    pub(super) fn complete(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        self.engine.finished(&mut done);
        let found = !done.is_empty();
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
        match (request.work, result) {
            (_, Err(error)) => self.failed(frame, error),
            (Work::Trim, Ok(_)) => {
                request.progress += 1;
                self.ready.push(frame);
            }
            (_, Ok(0)) => self.failed(frame, io::ErrorKind::UnexpectedEof.into()),
            (_, Ok(bytes)) => self.moved_bytes(frame, bytes),
        }
    }

    /// The disk is done with a request: those behind it may run.
    pub(super) fn over(&mut self, frame: usize, result: io::Result<()>) {
        let Some(Request { export, .. }) = self.requests[frame] else { return };
        self.moved(frame, result);
        self.free_behind(export, frame);
    }

    /// A read has its data, a write is in the store: what was read is answered, what was written
    /// as soon as it is durable.
    fn moved(&mut self, frame: usize, result: io::Result<()>) {
        let Some(Request { export: number, work, client, .. }) = self.requests[frame] else { return };
        let export = &mut self.exports[number];
        let tally = export.clients.tally(client);
        let flush = match work {
            Work::Read(extent) => {
                export.counters.reads += 1;
                export.counters.sectors_read += u64::from(extent.sectors);
                tally.reads += 1;
                tally.bytes_read += extent.length() as u64;
                false
            }
            Work::Write(extent) => {
                export.counters.writes += 1;
                export.counters.sectors_written += u64::from(extent.sectors);
                tally.writes += 1;
                tally.bytes_written += extent.length() as u64;
                export.store.commits_groups()
            }
            Work::Flush => false,
            Work::Trim => {
                export.counters.trims += 1;
                tally.trims += 1;
                true
            }
        };
        if flush && result.is_ok() {
            if export.commit.add(token(frame)) {
                self.dirty.push(number);
            }
            return;
        }
        let result = result.map_err(|error| export.complain(work.name(), work.extent(), &error));
        self.answer(frame, result);
    }

    /// A flush is over: what it covered is answered.
    fn flushed(&mut self, number: usize, result: io::Result<()>) {
        let Some(export) = self.exports.get_mut(number) else { return };
        let result = result.map_err(|error| export.complain("flush", None, &error));
        let mut covered = std::mem::take(&mut self.covered);
        export.commit.end(|request| covered.push(request));
        if !export.commit.is_empty() {
            self.dirty.push(number);
        }
        for request in covered.drain(..) {
            let frame = request as usize;
            if let Some(Request { work: Work::Flush, client, .. }) = self.requests[frame] {
                self.exports[number].counters.flushes += 1;
                self.exports[number].clients.tally(client).flushes += 1;
            }
            self.answer(frame, result);
        }
        self.covered = covered;
    }

    fn answer(&mut self, frame: usize, result: Result<(), Failure>) {
        let Some(request) = self.requests[frame].take() else { return };
        let Request { export, wire, client, arrived, pending, .. } = request;
        let clients = &mut self.exports[export].clients;
        clients.leave(client);
        clients.tally(client).errors += u64::from(result.is_err());
        self.answered.push(Answered { export, client, read: matches!(request.work, Work::Read(_)), arrived });
        let length = pending.finish(result, self.engine.frames_mut().bytes_mut(frame));
        self.wires[wire].queue(frame, length);
    }
}

/// A client's number where there is little room: there are 64 and one more.
fn short(client: usize) -> u16 {
    u16::try_from(client).unwrap_or(u16::MAX)
}

/// A request's number is its frame's; a flush's is its export's, behind all frames.
#[expect(clippy::cast_possible_truncation, reason = "a few thousand at most")]
pub(super) fn token(number: usize) -> u32 {
    number as u32
}
