//! A cable with faults: what comes in at one end goes out at the other, but for the frames it
//! loses, sends twice, or lets the next one overtake.
//!
//! What becomes of the Nth frame of a direction is decided by the seed alone. A frame is overtaken
//! by one frame at most, and the second copy of one follows the first at once. That is all an
//! AoE network may do: a write that arrives behind the answer to its own retransmission would undo
//! the writes that came after, and no target can tell, for a retransmission has a tag of its own.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_proto::aoe::ETHERTYPE;
use nines_sys::packet::link::Link;
use nines_sys::packet::{Instruction, PacketSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use serde_json::{Value, json};

/// Bytes any frame of any interface fits.
const FRAME: usize = 1 << 17;
/// Frames taken from one end before the other has its turn.
const TURN: usize = 64;

/// Of a hundred frames, how many meet which fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Lost.
    pub drop: u64,
    /// Sent twice.
    pub duplicate: u64,
    /// Overtaken by the next.
    pub reorder: u64,
    /// How long a frame waits for one that overtakes it.
    pub hold: Duration,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Lost,
    Twice,
    Held,
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// That came in.
    pub frames: u64,
    pub dropped: u64,
    pub duplicated: u64,
    /// Overtaken by another.
    pub reordered: u64,
    /// Held for one that would overtake them, and none came.
    pub late: u64,
    /// The interface did not take them: its cable is pulled, or its queue is full.
    pub unsent: u64,
}

impl Counts {
    fn json(&self) -> Value {
        let Self { frames, dropped, duplicated, reordered, late, unsent } = self;
        json!({"frames": frames, "dropped": dropped, "duplicated": duplicated, "reordered": reordered,
            "late": late, "unsent": unsent})
    }
}

/// One direction.
#[derive(Debug)]
pub struct Way {
    faults: Faults,
    random: u64,
    held: Option<(Vec<u8>, Instant)>,
    counts: Counts,
}

impl Way {
    /// A direction with no frame in it.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: seed, held: None, counts: Counts::default() }
    }

    /// A frame came in: `out` is given what goes out now, in that order.
    pub fn pass(&mut self, frame: &[u8], now: Instant, mut out: impl FnMut(&[u8])) {
        self.counts.frames += 1;
        match self.fate() {
            Fate::Lost => {
                self.counts.dropped += 1;
                return;
            }
            Fate::Held if self.held.is_none() => {
                self.held = Some((frame.to_vec(), now + self.faults.hold));
                return;
            }
            Fate::Twice => {
                self.counts.duplicated += 1;
                out(frame);
                out(frame);
            }
            Fate::Held | Fate::Passed => out(frame),
        }
        if let Some((held, _)) = self.held.take() {
            self.counts.reordered += 1;
            out(&held);
        }
    }

    /// Lets go a frame that has waited long enough.
    pub fn release(&mut self, now: Instant, mut out: impl FnMut(&[u8])) {
        if let Some((held, _)) = self.held.take_if(|(_, until)| *until <= now) {
            self.counts.late += 1;
            out(&held);
        }
    }

    fn fate(&mut self) -> Fate {
        let Faults { drop, duplicate, reorder, .. } = self.faults;
        let number = self.random() % 100;
        if number < drop {
            Fate::Lost
        } else if number < drop + duplicate {
            Fate::Twice
        } else if number < drop + duplicate + reorder {
            Fate::Held
        } else {
            Fate::Passed
        }
    }

    /// splitmix64: the same on every machine.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One end: an interface, and the way of the frames that come in there.
#[derive(Debug)]
struct End {
    name: String,
    socket: PacketSocket,
    way: Way,
}

impl End {
    fn open(name: &str, way: Way) -> anyhow::Result<Self> {
        let open = || {
            let socket = PacketSocket::open(ETHERTYPE, &[Instruction::Accept])?;
            socket.set_buffers(8 << 20)?;
            socket.bind(Link::named(name)?.index)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self { name: name.to_owned(), socket: open().with_context(|| name.to_owned())?, way })
    }

    /// Takes what waits here, to the other end.
    fn forward(&mut self, other: &PacketSocket, frame: &mut [u8]) -> anyhow::Result<()> {
        let mut unsent = 0;
        let mut out = |frame: &[u8]| unsent += u64::from(other.send(frame).is_err());
        for _ in 0..TURN {
            match self.socket.receive(frame) {
                Ok(length) => {
                    let frame = frame.get(..length).context("a frame longer than any interface's")?;
                    self.way.pass(frame, Instant::now(), &mut out);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Said once when the cable is pulled; frames come again when it is back.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) => return Err(error).with_context(|| self.name.clone()),
            }
        }
        self.way.release(Instant::now(), &mut out);
        self.way.counts.unsent += unsent;
        Ok(())
    }
}

/// Both directions between two interfaces.
#[derive(Debug)]
pub struct Middlebox {
    ends: [End; 2],
}

impl Middlebox {
    /// Opens both interfaces.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(names: [&str; 2], faults: Faults, seed: u64) -> anyhow::Result<Self> {
        let [one, other] = names;
        let ends = [End::open(one, Way::new(faults, seed))?, End::open(other, Way::new(faults, !seed))?];
        Ok(Self { ends })
    }

    /// Forwards until one of the signals comes, and returns which.
    ///
    /// # Errors
    /// The interfaces' own.
    pub fn serve(&mut self, signals: &SignalFd) -> anyhow::Result<Signal> {
        let mut frame = vec![0; FRAME];
        let [one, other] = &mut self.ends;
        loop {
            let until = [&one.way, &other.way].into_iter().filter_map(|way| Some(way.held.as_ref()?.1)).min();
            let timeout = until.map_or(PollTimeout::NONE, |until| {
                let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let mut ready = [one.socket.as_fd(), other.socket.as_fd(), signals.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            poll(&mut ready, timeout)?;
            if let Some(signal) = signals.read_signal()? {
                return Signal::try_from(signal.ssi_signo.cast_signed()).context("signal");
            }
            one.forward(&other.socket, &mut frame)?;
            other.forward(&one.socket, &mut frame)?;
        }
    }

    /// What became of the frames, by the interface they came in at.
    #[must_use]
    pub fn json(&self) -> Value {
        self.ends.iter().map(|end| (end.name.clone(), end.way.counts.json())).collect::<serde_json::Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_millis(50);

    fn faults(drop: u64, duplicate: u64, reorder: u64) -> Faults {
        Faults { drop, duplicate, reorder, hold: HOLD }
    }

    /// Sends frames 0, 1, 2 ... and returns what comes out.
    fn through(way: &mut Way, frames: u32) -> Vec<u32> {
        let mut came = Vec::new();
        let now = Instant::now();
        let number = |frame: &[u8]| u32::from_be_bytes(frame.try_into().unwrap());
        for frame in 0..frames {
            way.pass(&frame.to_be_bytes(), now, |frame| came.push(number(frame)));
        }
        way.release(now + HOLD, |frame| came.push(number(frame)));
        came
    }

    #[test]
    fn without_faults_everything_comes_as_it_was_sent() {
        let mut way = Way::new(faults(0, 0, 0), 1);
        assert_eq!(through(&mut way, 1000), (0..1000).collect::<Vec<_>>());
        assert_eq!(way.counts, Counts { frames: 1000, ..Counts::default() });
    }

    #[test]
    fn one_seed_is_one_sequence_of_faults() {
        let [once, again, other] = [7, 7, 8].map(|seed| through(&mut Way::new(faults(5, 5, 5), seed), 1000));
        assert_eq!(once, again);
        assert_ne!(once, other);
    }

    #[test]
    fn as_many_frames_meet_a_fault_as_was_asked_for() {
        let mut way = Way::new(faults(10, 10, 10), 3);
        let came = through(&mut way, 10_000);
        let Counts { frames, dropped, duplicated, reordered, late, unsent } = way.counts;
        assert_eq!((frames, unsent), (10_000, 0));
        assert!((900..1100).contains(&dropped) && (900..1100).contains(&duplicated), "{:?}", way.counts);
        // One in ten finds another frame held already, and passes.
        assert!((800..1000).contains(&reordered) && late <= 1, "{:?}", way.counts);
        assert_eq!(came.len() as u64, frames - dropped + duplicated);
    }

    #[test]
    fn a_frame_is_overtaken_by_the_next_and_by_no_other() {
        let mut way = Way::new(faults(0, 0, 40), 5);
        let came = through(&mut way, 1000);
        let mut sorted = came.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert!((0_u32..).zip(&came).all(|(place, frame)| frame.abs_diff(place) <= 1), "{came:?}");
        assert!(!came.is_sorted());
        assert!(way.counts.reordered > 200, "{:?}", way.counts);
    }

    #[test]
    fn the_second_copy_of_a_frame_follows_the_first() {
        let mut way = Way::new(faults(0, 50, 30), 5);
        let mut came = through(&mut way, 1000);
        assert_eq!(came.len() as u64, 1000 + way.counts.duplicated);
        came.dedup();
        assert_eq!(came.len(), 1000, "two copies with another frame between them");
    }

    #[test]
    fn a_frame_nobody_overtakes_is_let_go() {
        let mut way = Way::new(faults(0, 0, 100), 1);
        let now = Instant::now();
        let mut came = 0;
        way.pass(b"frame", now, |_| came += 1);
        way.release(now + HOLD / 2, |_| came += 1);
        assert_eq!(came, 0);
        way.release(now + HOLD, |frame| came += frame.len());
        assert_eq!((came, way.counts.late, way.counts.reordered), (5, 1, 0));
    }
}
