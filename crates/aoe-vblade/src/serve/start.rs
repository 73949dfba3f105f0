//! Requests that go to the disk, neighbours together.
//!
//! A host wants more of its disk at a time than a frame holds, and asks frame by frame. What comes
//! in one batch and lies side by side on the disk is one job there: with frames of 1500 bytes a
//! page is four of them, and one durable write instead of four.

use std::io;
use std::time::{Duration, Instant};

use nines_proto::aoe::trim::Range;
use nines_proto::aoe::{SECTOR, ata, sectors_per_frame};
use nines_sys::disk::{Job, PARTS, Part};

use super::Server;
use super::work::{Request, Work, token};
use crate::ata::Extent;

/// How long a neighbour is waited for: a kilobyte takes so long on a gigabit Ethernet.
const NEIGHBOUR: Duration = Duration::from_micros(10);

impl Server {
    /// Gives what comes next a moment, where it is likely to be the continuation of what has come
    /// and the disk would be asked twice, which takes longer than that moment.
    pub(super) fn await_neighbours(&mut self) {
        look_out(Instant::now, || {
            let wire = self.ready.last().and_then(|frame| self.continued_on(*frame))?;
            self.receive(wire);
            (self.ready.len() < PARTS).then_some(self.ready.len())
        });
    }

    /// Where the rest of what a host wants would come from: it has filled the frame, and the disk
    /// is to be asked for sure.
    fn continued_on(&self, frame: usize) -> Option<usize> {
        let Request { export, wire, work, progress: 0, .. } = self.requests[frame]? else { return None };
        let asks = self.exports[export].store.asks_the_disk(matches!(work, Work::Write(_)));
        let most = sectors_per_frame(self.wires[wire].link()?.mtu);
        (asks && work.extent()?.sectors == most && !self.free.is_empty()).then_some(wire)
    }

    /// Starts the requests that need wait no longer, and those that waited for them where they are
    /// over at once.
    pub(super) fn start_ready(&mut self) {
        while !self.ready.is_empty() {
            let mut starting = std::mem::take(&mut self.starting);
            std::mem::swap(&mut starting, &mut self.ready);
            let mut rest = &starting[..];
            while !rest.is_empty() {
                let (together, others) = rest.split_at(self.neighbours(rest));
                self.start(together);
                rest = others;
            }
            starting.clear();
            self.starting = starting;
        }
    }

    /// How many of these requests, from the first on, are one job.
    fn neighbours(&self, frames: &[usize]) -> usize {
        let joins = |pair: &[usize]| match (self.requests[pair[0]], self.requests[pair[1]]) {
            (Some(one), Some(next)) => one.joins(&next),
            _ => false,
        };
        1 + frames.windows(2).take(PARTS - 1).take_while(|pair| joins(pair)).count()
    }

    /// Gives requests, or what is left of one, to the disk as one job, known by the first.
    fn start(&mut self, together: &[usize]) {
        let [frame, ..] = *together else { return };
        let Some(Request { export, work, progress, .. }) = self.requests[frame] else { return };
        for (at, frame) in together.iter().enumerate() {
            if let Some(request) = &mut self.requests[*frame] {
                (request.begun, request.next) = (true, together.get(at + 1).copied());
            }
        }
        let result = match work {
            Work::Flush => return,
            Work::Read(extent) | Work::Write(extent) => {
                let mut parts = std::mem::take(&mut self.parts);
                parts.extend(together.iter().filter_map(|frame| self.rest_of(*frame)));
                let offset = self.exports[export].store.position(extent.first) + progress as u64;
                let result = self.move_parts(frame, work, &parts, offset);
                parts.clear();
                self.parts = parts;
                result
            }
            Work::Trim => {
                let next = self.ranges(frame).nth(progress);
                let Some(Range { first, sectors }) = next else { return self.over(frame, Ok(())) };
                let store = &self.exports[export].store;
                let job = Job::Discard { offset: store.position(first), length: u64::from(sectors) * SECTOR as u64 };
                self.engine.start(store.file(), &job, token(frame)).map(|()| false)
            }
        };
        match result {
            Ok(false) => {}
            Ok(true) => together.iter().for_each(|frame| self.over(*frame, Ok(()))),
            Err(error) => self.failed(frame, error),
        }
    }

    /// Where a request's data is that has still to be moved.
    fn rest_of(&self, frame: usize) -> Option<Part> {
        let Request { work, progress, .. } = self.requests[frame]?;
        let length = work.extent().map_or(0, Extent::length);
        Some(Part { frame, range: ata::DATA + progress..ata::DATA + length })
    }

    /// Reads or writes. True when that is over already.
    fn move_parts(&mut self, frame: usize, work: Work, parts: &[Part], offset: u64) -> io::Result<bool> {
        let Some(Request { export, progress, .. }) = self.requests[frame] else { return Ok(false) };
        let (store, engine) = (&mut self.exports[export].store, &mut self.engine);
        let reads = matches!(work, Work::Read(_));
        let at_once = progress == 0
            && if reads {
                store.read_at_once(engine.frames_mut(), parts, offset)
            } else {
                store.write_at_once(engine.frames(), parts, offset)
            };
        if at_once {
            return Ok(true);
        }
        let (file, job) = if reads {
            (store.file(), Job::Read { parts, offset })
        } else {
            (store.file_to_write(), Job::Write { parts, offset, durable: store.commits_each() })
        };
        engine.start(file, &job, token(frame)).map(|()| false)
    }

    /// A job is over that moved so many bytes, all parts together. What it left undone is started
    /// anew.
    pub(super) fn moved_bytes(&mut self, frame: usize, mut bytes: usize) {
        let mut next = Some(frame);
        while let Some(frame) = next {
            let Some(request) = &mut self.requests[frame] else { return };
            next = request.next.take();
            let length = request.work.extent().map_or(0, Extent::length);
            let here = bytes.min(length - request.progress);
            bytes -= here;
            request.progress += here;
            if request.progress == length {
                self.over(frame, Ok(()));
            } else if here % SECTOR != 0 {
                // Direct I/O cannot go on within a sector.
                self.over(frame, Err(io::ErrorKind::UnexpectedEof.into()));
            } else {
                self.ready.push(frame);
            }
        }
    }

    /// A job failed: that of one request with it, those of several are tried one by one, for which
    /// of them it was is not known.
    pub(super) fn failed(&mut self, frame: usize, error: io::Error) {
        let again = error.kind() == io::ErrorKind::Interrupted;
        let Some(Request { next, .. }) = self.requests[frame] else { return };
        if next.is_none() && !again {
            return self.over(frame, Err(error));
        }
        let mut next = Some(frame);
        while let Some(frame) = next {
            let Some(request) = &mut self.requests[frame] else { return };
            next = request.next.take();
            request.alone |= !again;
            self.ready.push(frame);
        }
    }
}

/// Looks again and again, until there is nothing to look out for or nothing new for too long. `look`
/// tells how many requests there are by now; other frames that come are no reason to go on, for
/// anybody can send them without end.
fn look_out(mut clock: impl FnMut() -> Instant, mut look: impl FnMut() -> Option<usize>) {
    let mut newest = None;
    while let Some(count) = look() {
        let now = clock();
        match newest {
            Some((known, since)) if known == count => {
                if now.duration_since(since) >= NEIGHBOUR {
                    return;
                }
            }
            _ => newest = Some((count, now)),
        }
        std::hint::spin_loop();
    }
}

impl Request {
    /// Whether another may be part of the same job, behind this one.
    fn joins(&self, next: &Self) -> bool {
        let whole = |request: &Self| request.progress == 0 && !request.alone;
        let side_by_side = match (self.work, next.work) {
            (Work::Read(one), Work::Read(next)) | (Work::Write(one), Work::Write(next)) => {
                one.range().end == next.first
            }
            _ => false,
        };
        side_by_side && self.export == next.export && whole(self) && whole(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often is looked, a microsecond apart, when so many requests are there at each look.
    fn looks(counts: impl IntoIterator<Item = usize>) -> usize {
        let (start, mut microseconds, mut looks) = (Instant::now(), 0, 0);
        let mut counts = counts.into_iter();
        let clock = || {
            microseconds += 1;
            start + Duration::from_micros(microseconds)
        };
        look_out(clock, || {
            looks += 1;
            assert!(looks < 1000, "it looks for ever");
            counts.next()
        });
        looks
    }

    #[test]
    fn a_neighbour_is_looked_out_for_ten_microseconds_and_noise_makes_it_no_longer() {
        assert_eq!(looks([]), 1, "nothing to look out for");
        assert_eq!(looks(std::iter::repeat(1)), 11);
        assert_eq!(looks([1, 1, 1, 2, 2, 3].into_iter().chain(std::iter::repeat(4))), 17);
        assert_eq!(looks([1, 2, 3, 4]), 5, "as many as one job holds");
    }
}
