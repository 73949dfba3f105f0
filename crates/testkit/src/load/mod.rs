//! Load on an AoE target, and what it bears: requests of one size, some number of them under way
//! at once, each in as many frames as it takes, never more frames than the target can queue.
//!
//! A frame that is not answered in time is sent again under a new tag, and again after twice as
//! long, as Linux's driver does; its request's time counts from the first sending.

pub mod histogram;
mod model;
pub mod processor;
mod sector;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use nines_proto::aoe::ata::{DATA, Registers, flag, op};
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::{Address, Command, Flags, Header, MIN_FRAME, SECTOR, sectors_per_frame};
use nines_sys::packet::link::Link;

use crate::initiator::{ANSWERS, Initiator};
use histogram::Histogram;
use model::{Expected, Model, Wrong};
use sector::Says;
pub(crate) use wire::Wire;

/// How long the target may be silent before the run is given up.
const GONE: Duration = Duration::from_secs(60);
/// The low bits of a tag: the place in the window.
const PLACES: u32 = 1 << 12;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The target.
    pub address: Address,
    /// Requests under way.
    pub depth: usize,
    /// Sectors of a request.
    pub sectors: u32,
    /// Of a hundred requests.
    pub writes: u64,
    /// One behind the other; otherwise anywhere.
    pub sequential: bool,
    /// Beginning at any sector; otherwise at multiples of their size.
    pub unaligned: bool,
    /// To measure, after a tenth of that to warm up.
    pub time: Duration,
    /// Sectors to use; all there are when not given.
    pub span: Option<u64>,
    /// Of the random sectors.
    pub seed: u64,
    /// Write numbered sectors and check every read.
    pub verify: bool,
    /// Of a hundred writes, those sent twice at once under two tags.
    pub duplicates: u64,
    /// Frames under way; as many as the target can queue when not given.
    pub window: Option<usize>,
    /// How long the first answer to a frame may take.
    pub timeout: Duration,
    /// The target's process, to have its processor time told.
    pub process: Option<String>,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Each request's time.
    pub times: Histogram,
    /// Reads carried out.
    pub reads: u64,
    /// Writes carried out.
    pub writes: u64,
    /// Frames answered.
    pub frames: u64,
    /// Frames sent again because no answer came in time.
    pub retransmissions: u64,
    /// Frames sent twice on purpose.
    pub duplicates: u64,
    /// Frames answered by an error or without their data.
    pub errors: u64,
    /// Sectors verified.
    pub verified: u64,
    /// Reads that found what they must not, and answers that cannot be.
    pub mismatches: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Frames there were at most under way.
    pub window: usize,
    /// The MTU of this end.
    pub mtu: usize,
    /// Nanoseconds of processor time of the target's process.
    pub target_time: Option<u64>,
    /// And of this one.
    pub own_time: u64,
}

/// A part of a request that fits a frame.
#[derive(Debug, Clone, Copy)]
struct Part {
    request: usize,
    first: u64,
    sectors: u8,
    /// A write's number, or 0 for a read.
    write: u64,
}

/// A place in the window, and the frame that has it.
#[derive(Debug)]
struct Place {
    tag: u32,
    part: Part,
    first_sent: Instant,
    due: Instant,
    timeout: Duration,
    /// The sending's number in the model, for a write.
    sending: u64,
    expected: Expected,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Request {
    began: Instant,
    parts: u32,
    write: bool,
    failed: bool,
}

/// A load on a target.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    wire: Wire,
    target: Header,
    most: u8,
    blocks: u64,
    run: u64,
    random: u64,
    next: u64,
    numbered: u64,
    rounds: u32,
    requests: Vec<Option<Request>>,
    idle: Vec<usize>,
    parts: VecDeque<Part>,
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    model: Option<Model>,
    /// Tags of sendings that no place waits for any more.
    orphans: HashMap<u32, u64>,
    came: Vec<Answer>,
    outcome: Outcome,
}

impl Load {
    /// Asks the target for its address, its window and its size.
    ///
    /// # Errors
    /// No interface, no answer, or a plan that does not fit the target.
    pub fn find(interface: &str, plan: Plan) -> anyhow::Result<Self> {
        let who = plan.address;
        let mut initiator = Initiator::open(interface).with_context(|| interface.to_owned())?;
        let header = initiator.request(who, Command::Config);
        let answer = initiator.insist(&header, &[0; 36], 8)?.with_context(|| format!("{who}: no answer"))?;
        let (found, argument) = Header::parse(&answer)?;
        let config = Config::parse(argument)?;
        let target = Header { destination: found.source, ..initiator.request(who, Command::Ata) };
        let identify = Registers {
            flags: 0,
            feature_error: 0,
            count: 1,
            command_status: op::IDENTIFY,
            lba: [0, 0, 0, 0xa0, 0, 0],
        };
        let mut argument = [0; 36];
        identify.encode(&mut argument)?;
        let answer = initiator.insist(&target, &argument, 8)?;
        let answer = answer.with_context(|| format!("{who}: no answer to IDENTIFY"))?;
        let sector = answer.get(DATA..).and_then(|data| data.first_chunk()).context("IDENTIFY: a short answer")?;
        let sectors = Identified::parse(sector).sectors.min(plan.span.unwrap_or(u64::MAX));
        let link = Link::named(interface)?;
        let most = config.sectors.min(sectors_per_frame(link.mtu));
        ensure!(most > 0 && plan.sectors > 0 && plan.depth > 0, "{who}: nothing to do");
        let blocks = sectors / u64::from(plan.sectors);
        ensure!(blocks > 0, "{who}: smaller than one request");
        let window = plan.window.unwrap_or(config.buffers.into()).clamp(1, PLACES as usize);
        let model = if plan.verify {
            let sectors = usize::try_from(sectors)?;
            ensure!(sectors <= 1 << 24, "--verify: at most 8 GiB: give a --span");
            Some(Model::new(sectors))
        } else {
            None
        };
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let wire = Wire::open(&link, &ANSWERS)?;
        let outcome = Outcome { window, mtu: link.mtu, ..Outcome::default() };
        Ok(Self {
            random: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            run: u64::try_from(run & u128::from(u64::MAX >> 1)).unwrap_or(1) << 1 | 1,
            target: Header { flags: Flags::default(), ..target },
            wire,
            most,
            blocks,
            next: 0,
            numbered: 0,
            rounds: 0,
            requests: vec![None; plan.depth],
            idle: (0..plan.depth).collect(),
            parts: VecDeque::with_capacity(plan.depth * 4),
            places: (0..window).map(|_| None).collect(),
            free: (0..window).rev().collect(),
            model,
            orphans: HashMap::new(),
            came: Vec::new(),
            outcome,
            plan,
        })
    }

    /// Warms up, measures, and when verifying reads back everything that was written.
    ///
    /// # Errors
    /// The interface's own, or the target is gone.
    pub fn run(mut self) -> anyhow::Result<Outcome> {
        self.drive(self.plan.time / 10)?;
        let processor = |process: &Option<String>| process.as_deref().map(processor::used).transpose();
        let (before, own) = (processor(&self.plan.process)?, processor::used("self")?);
        // What was found wrong while warming up is wrong all the same.
        self.outcome = Outcome {
            window: self.outcome.window,
            mtu: self.outcome.mtu,
            errors: self.outcome.errors,
            mismatches: self.outcome.mismatches,
            ..Outcome::default()
        };
        let began = Instant::now();
        self.drive(self.plan.time)?;
        let elapsed = began.elapsed();
        let after = processor(&self.plan.process)?;
        let own_time = processor::used("self")?.saturating_sub(own);
        let mut outcome = self.outcome.clone();
        if self.plan.verify {
            self.drain()?;
            self.read_back()?;
            // These were not measured.
            let Outcome { verified, mismatches, errors, .. } = self.outcome;
            outcome = Outcome { verified, mismatches, errors, ..outcome };
        }
        let target_time = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        Ok(Outcome { elapsed, target_time, own_time, ..outcome })
    }

    /// Keeps requests under way for so long; those under way at the end stay so.
    fn drive(&mut self, how_long: Duration) -> anyhow::Result<()> {
        let (end, mut look) = (Instant::now() + how_long, Instant::now());
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while let Some(request) = self.idle.pop() {
                self.begin(request, now);
            }
            self.exchange(now, &mut look)?;
        }
    }

    /// Waits for everything under way.
    fn drain(&mut self) -> anyhow::Result<()> {
        let mut look = Instant::now();
        while self.idle.len() < self.requests.len() {
            self.exchange(Instant::now(), &mut look)?;
        }
        Ok(())
    }

    /// Reads what is known to be on the disk, a request at a time in its place.
    fn read_back(&mut self) -> anyhow::Result<()> {
        let mut look = Instant::now();
        for block in 0..self.blocks {
            let first = block * u64::from(self.plan.sectors);
            let last = first + u64::from(self.plan.sectors) - 1;
            let known = self.model.as_ref().is_some_and(|model| (first..=last).any(|sector| model.knows(sector, 1)));
            if !known {
                continue;
            }
            while self.idle.is_empty() {
                self.exchange(Instant::now(), &mut look)?;
            }
            let Some(request) = self.idle.pop() else { bail!("no request is idle") };
            self.begin_at(request, first, false, Instant::now());
        }
        self.drain()
    }

    /// Sends what the window has room for, takes what comes, and now and then looks what is late.
    fn exchange(&mut self, now: Instant, look: &mut Instant) -> anyhow::Result<()> {
        while let Some(place) = self.free.pop() {
            let Some(part) = self.parts.pop_front() else {
                self.free.push(place);
                break;
            };
            if part.write != 0 && self.random() % 100 < self.plan.duplicates {
                let tag = self.tag(place);
                let sending = self.model.as_mut().map_or(0, |model| model.sends(part.first, part.sectors, part.write));
                self.orphans.insert(tag, sending);
                self.outcome.duplicates += 1;
                self.send(tag, part)?;
            }
            self.occupy(place, part, now, now, self.plan.timeout)?;
        }
        self.wire.flush()?;
        let mut came = std::mem::take(&mut self.came);
        let model = self.model.is_some();
        let Self { wire, places, .. } = self;
        wire.receive(|frame| {
            if let Some(answer) = Answer::of(frame, places, model) {
                came.push(answer);
            }
        })?;
        let now = Instant::now();
        for answer in &came {
            self.take(answer, now);
        }
        came.clear();
        self.came = came;
        if now >= *look {
            *look = now + Duration::from_millis(5);
            self.retransmit(now)?;
        }
        Ok(())
    }

    fn begin(&mut self, request: usize, now: Instant) {
        let write = self.random() % 100 < self.plan.writes;
        let sectors = u64::from(self.plan.sectors);
        let first = if self.plan.sequential {
            self.next = (self.next + 1) % self.blocks;
            self.next * sectors
        } else if self.plan.unaligned {
            self.random() % ((self.blocks - 1) * sectors + 1)
        } else {
            self.random() % self.blocks * sectors
        };
        self.begin_at(request, first, write, now);
    }

    fn begin_at(&mut self, request: usize, first: u64, write: bool, now: Instant) {
        let mut parts = 0;
        let end = first + u64::from(self.plan.sectors);
        let mut at = first;
        while at < end {
            let sectors = u8::try_from(end - at).unwrap_or(u8::MAX).min(self.most);
            self.numbered += u64::from(write);
            let write = if write { self.numbered } else { 0 };
            self.parts.push_back(Part { request, first: at, sectors, write });
            at += u64::from(sectors);
            parts += 1;
        }
        self.requests[request] = Some(Request { began: now, parts, write, failed: false });
    }

    /// Puts a part on the wire and into the window.
    fn occupy(
        &mut self,
        place: usize,
        part: Part,
        first_sent: Instant,
        now: Instant,
        timeout: Duration,
    ) -> anyhow::Result<()> {
        let tag = self.tag(place);
        let (mut sending, mut expected) = (0, Expected::default());
        if let Some(model) = &mut self.model {
            if part.write == 0 {
                expected = model.expects(part.first, part.sectors);
            } else {
                sending = model.sends(part.first, part.sectors, part.write);
            }
        }
        self.places[place] = Some(Place { tag, part, first_sent, due: now + timeout, timeout, sending, expected });
        self.send(tag, part)
    }

    /// A tag not used for a long time, which tells its place. Bit 31 is the user tools'.
    fn tag(&mut self, place: usize) -> u32 {
        self.rounds = (self.rounds + 1) % (1 << 19);
        self.rounds * PLACES + u32::try_from(place).unwrap_or(0)
    }

    fn send(&mut self, tag: u32, part: Part) -> anyhow::Result<()> {
        let header = Header { tag, ..self.target };
        let Part { first, sectors, write, .. } = part;
        let (command_status, flags) = if write == 0 { (op::READ_EXT, 0) } else { (op::WRITE_EXT, flag::WRITE) };
        let lba = Registers::lba_bytes(first);
        let registers =
            Registers { flags: flags | flag::EXTENDED, feature_error: 0, count: sectors, command_status, lba };
        let (run, numbered) = (self.run, self.model.is_some());
        self.wire.send(|frame| {
            // There is room for both in the shortest frame.
            let rest = header.encode(frame).and_then(|rest| registers.encode(rest));
            debug_assert!(rest.is_ok());
            if write == 0 {
                return MIN_FRAME;
            }
            let length = DATA + usize::from(sectors) * SECTOR;
            if numbered {
                for (sector, bytes) in (first..).zip(frame[DATA..length].chunks_exact_mut(SECTOR)) {
                    sector::fill(run, sector, write, bytes);
                }
            }
            length
        })?;
        Ok(())
    }

    fn take(&mut self, answer: &Answer, now: Instant) {
        let Some(place) = answer.place else {
            let sending = self.orphans.remove(&answer.tag).unwrap_or(0);
            if let (Some(model), true) = (&mut self.model, answer.done) {
                self.outcome.mismatches += u64::from(model.answered(sending).is_err());
            }
            return;
        };
        // Answered twice under one tag, the second one is nobody's.
        let Some(Place { part, sending, expected, .. }) = self.places[place].take() else { return };
        self.free.push(place);
        self.outcome.frames += 1;
        self.outcome.errors += u64::from(!answer.done);
        if let (Some(model), true) = (&mut self.model, answer.done) {
            let wrong = if part.write != 0 {
                model.answered(sending)
            } else {
                let run = self.run;
                let found =
                    (expected.first()..).zip(answer.data.chunks_exact(SECTOR)).map(
                        |(place, bytes)| match sector::says(run, bytes) {
                            Says::Ours { sector, write } => (sector == place).then_some(write),
                            Says::Foreign => Some(0),
                            Says::Torn => None,
                        },
                    );
                self.outcome.verified += u64::from(part.sectors);
                model.found(&expected, found)
            };
            if let Err(wrong) = wrong {
                self.outcome.mismatches += 1;
                if self.outcome.mismatches <= 10 {
                    complain(&part, wrong);
                }
            }
        }
        let Some(request) = &mut self.requests[part.request] else { return };
        request.parts -= 1;
        request.failed |= !answer.done;
        if request.parts == 0 {
            let Request { began, write, failed, .. } = *request;
            self.requests[part.request] = None;
            self.idle.push(part.request);
            if !failed {
                self.outcome.times.add(now - began);
                *(if write { &mut self.outcome.writes } else { &mut self.outcome.reads }) += 1;
            }
        }
    }

    fn retransmit(&mut self, now: Instant) -> anyhow::Result<()> {
        for place in 0..self.places.len() {
            let late = self.places[place].as_ref().is_some_and(|place| now >= place.due);
            let Some(Place { tag, part, first_sent, timeout, sending, .. }) =
                (if late { self.places[place].take() } else { None })
            else {
                continue;
            };
            ensure!(now - first_sent < GONE, "{}: silent for {} seconds", self.plan.address, GONE.as_secs());
            if part.write != 0 && self.model.is_some() {
                self.orphans.insert(tag, sending);
            }
            self.outcome.retransmissions += 1;
            self.occupy(place, part, first_sent, now, timeout * 2)?;
        }
        self.wire.flush()?;
        Ok(())
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 8
    }
}

fn complain(part: &Part, wrong: Wrong) {
    let Part { first, sectors, write, .. } = part;
    let what = if *write == 0 { "read" } else { "write" };
    let why = match wrong {
        Wrong::Data => "found what cannot be there",
        Wrong::Order => "was carried out after a read behind it",
    };
    nines_cli::log(format_args!("{what} of {sectors} sectors at {first} {why}"));
}

/// What is kept of an answer until it is taken.
#[derive(Debug)]
struct Answer {
    tag: u32,
    /// The place that waits for it, if one does.
    place: Option<usize>,
    done: bool,
    /// A read's, when it is to be verified.
    data: Vec<u8>,
}

impl Answer {
    fn of(frame: &[u8], places: &[Option<Place>], verify: bool) -> Option<Self> {
        let (header, argument) = Header::parse(frame).ok()?;
        if header.command != Command::Ata {
            return None;
        }
        let at = usize::try_from(header.tag % PLACES).ok()?;
        let waits = places.get(at)?.as_ref().filter(|place| place.tag == header.tag);
        let (registers, data) = Registers::parse(argument).ok()?;
        let mut done = !header.flags.has(Flags::ERROR) && registers.command_status & 0xa9 == 0;
        let mut kept = Vec::new();
        if let Some(Place { part: Part { write: 0, sectors, .. }, .. }) = waits {
            let data = data.get(..usize::from(*sectors) * SECTOR);
            done &= data.is_some();
            if verify {
                kept = data.unwrap_or_default().to_vec();
            }
        }
        Some(Self { tag: header.tag, place: waits.map(|_| at), done, data: kept })
    }
}

impl Outcome {
    /// One JSON object.
    #[must_use]
    pub fn json(&self, plan: &Plan) -> serde_json::Value {
        let requests = self.times.total();
        let each = |nanoseconds: u64| (nanoseconds as f64 / requests.max(1) as f64 / 10.0).round() / 100.0;
        let per_second = requests as f64 / self.elapsed.as_secs_f64();
        serde_json::json!({
            "iops": per_second.round(),
            "mib_per_second": (per_second * f64::from(plan.sectors) / 2048.0 * 10.0).round() / 10.0,
            "p50_us": self.times.microseconds(500).round(),
            "p99_us": self.times.microseconds(990).round(),
            "p999_us": self.times.microseconds(999).round(),
            "cpu_us": self.target_time.map(each),
            "own_cpu_us": each(self.own_time),
            "depth": plan.depth,
            "window": self.window,
            "mtu": self.mtu,
            "size": plan.sectors * 512,
            "reads": self.reads,
            "writes": self.writes,
            "frames": self.frames,
            "retransmissions": self.retransmissions,
            "duplicates": self.duplicates,
            "errors": self.errors,
            "verified_sectors": self.verified,
            "mismatches": self.mismatches,
            "seconds": (self.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    }
}
