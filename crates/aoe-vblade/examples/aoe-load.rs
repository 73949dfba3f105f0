//! Load on an AoE target, and what it bears: `aoe-load [OPTIONS] INTERFACE SHELF SLOT` keeps a
//! window of requests under way and prints one JSON object.
//!
//!   --window W    requests under way (1)
//!   --size BYTES  of a request (4096)
//!   --writes N    of a hundred requests (0)
//!   --seconds S   to measure (2), after a tenth of that to warm up
//!   --span N      sectors to use (all there are)
//!   --seed N      of the random sectors (1)
//!   --verify      write numbered blocks and check every read against them
//!
//! A request that is not answered in 100 ms is sent again under a new tag, and again after twice
//! as long, as Linux's driver does; its time counts from the first sending.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nines_cli::Exit;
use nines_proto::aoe::ata::{DATA, Registers, op};
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::{Address, Command, Flags, Header, Shelf, Slot, sectors_per_frame};
use nines_testkit::initiator::Initiator;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const FIRST_TIMEOUT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    nines_cli::run("aoe-load", run)
}

/// What to do.
#[derive(Debug)]
struct Plan {
    address: Address,
    window: usize,
    sectors: u8,
    writes: u64,
    seconds: f64,
    span: Option<u64>,
    seed: u64,
    verify: bool,
}

/// One place in the window.
#[derive(Debug, Clone, Copy)]
struct Request {
    tag: u32,
    block: usize,
    write: bool,
    /// What a write puts there, or a read must find (0: nothing known).
    stamp: u64,
    first_sent: Instant,
    sent: Instant,
    timeout: Duration,
}

fn run() -> anyhow::Result<Exit> {
    let mut plan = Plan {
        address: Address { shelf: Shelf(0), slot: Slot(0) },
        window: 1,
        sectors: 8,
        writes: 0,
        seconds: 2.0,
        span: None,
        seed: 1,
        verify: false,
    };
    let mut operands = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--window" => plan.window = value()?.parse().context("--window")?,
            "--size" => {
                let bytes: usize = value()?.parse().context("--size")?;
                ensure!(bytes.is_multiple_of(512) && bytes > 0, "--size `{bytes}': not whole sectors");
                plan.sectors = u8::try_from(bytes / 512).context("--size")?;
            }
            "--writes" => plan.writes = value()?.parse().context("--writes")?,
            "--seconds" => plan.seconds = value()?.parse().context("--seconds")?,
            "--span" => plan.span = Some(value()?.parse().context("--span")?),
            "--seed" => plan.seed = value()?.parse().context("--seed")?,
            "--verify" => plan.verify = true,
            _ => operands.push(argument),
        }
    }
    let [interface, shelf, slot] = operands.as_slice() else {
        bail!("usage: aoe-load [OPTIONS] INTERFACE SHELF SLOT");
    };
    plan.address = Address { shelf: Shelf(shelf.parse().context("SHELF")?), slot: Slot(slot.parse().context("SLOT")?) };
    ensure!(plan.window > 0 && plan.window <= 4096, "--window `{}': not 1 to 4096", plan.window);
    let initiator = Initiator::open(interface).with_context(|| interface.clone())?;
    let mut load = Load::find(initiator, plan)?;
    load.fill()?;
    let warm = load.plan.seconds / 10.0;
    load.drive(Duration::from_secs_f64(warm))?;
    let warmed = load.result.microseconds.len();
    load.result = Outcome::default();
    let began = Instant::now();
    load.drive(Duration::from_secs_f64(load.plan.seconds))?;
    let line = load.result.json(began.elapsed(), load.window, warmed);
    writeln!(io::stdout(), "{line}")?;
    Ok(if load.result.errors + load.result.mismatches == 0 { Exit::Ok } else { Exit::No })
}

/// What was measured.
#[derive(Debug, Default)]
struct Outcome {
    microseconds: Vec<u32>,
    reads: u64,
    writes: u64,
    retransmits: u64,
    errors: u64,
    mismatches: u64,
}

impl Outcome {
    fn json(&mut self, elapsed: Duration, window: usize, warmed: usize) -> String {
        self.microseconds.sort_unstable();
        let count = self.microseconds.len();
        let at =
            |share: usize| self.microseconds.get((count * share / 1000).min(count.saturating_sub(1))).unwrap_or(&0);
        let Self { reads, writes, retransmits, errors, mismatches, .. } = self;
        let (iops, seconds) = (count as f64 / elapsed.as_secs_f64(), elapsed.as_secs_f64());
        format!(
            "{{\"iops\":{iops:.0},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"window\":{window},\"reads\":{reads},\
             \"writes\":{writes},\"retransmits\":{retransmits},\"errors\":{errors},\"mismatches\":{mismatches},\
             \"seconds\":{seconds:.3},\"with_warm_up\":{}}}",
            at(500),
            at(990),
            at(999),
            count + warmed,
        )
    }
}

struct Load {
    initiator: Initiator,
    plan: Plan,
    target: Header,
    window: usize,
    blocks: usize,
    /// For --verify: what each block holds, and whether a request for it is under way.
    stamps: Vec<u64>,
    busy: Vec<bool>,
    random: u64,
    serial: u64,
    out: Vec<u8>,
    input: Vec<u8>,
    under_way: Vec<Request>,
    result: Outcome,
}

impl Load {
    /// Asks the target for its address, its window and its size.
    fn find(mut initiator: Initiator, plan: Plan) -> anyhow::Result<Self> {
        let who = plan.address;
        let header = initiator.request(who, Command::Config);
        let answer = initiator.ask(&header, &[0; 36], Duration::from_secs(5))?;
        let answer = answer.with_context(|| format!("{who}: no answer"))?;
        let (found, argument) = Header::parse(&answer)?;
        let config = Config::parse(argument)?;
        let most = config.sectors.min(sectors_per_frame(initiator.mtu));
        ensure!(plan.sectors <= most, "{who}: {} sectors a frame at most", most);
        let target = Header { destination: found.source, ..initiator.request(who, Command::Ata) };
        let registers = Registers {
            flags: 0,
            feature_error: 0,
            count: 1,
            command_status: op::IDENTIFY,
            lba: [0, 0, 0, 0xa0, 0, 0],
        };
        let mut argument = [0; 36];
        registers.encode(&mut argument)?;
        let answer = initiator.ask(&target, &argument, Duration::from_secs(5))?;
        let answer = answer.with_context(|| format!("{who}: no answer to IDENTIFY"))?;
        let sector = answer.get(DATA..).and_then(|data| data.first_chunk()).context("IDENTIFY: short answer")?;
        let sectors = Identified::parse(sector).sectors.min(plan.span.unwrap_or(u64::MAX));
        let blocks = usize::try_from(sectors / u64::from(plan.sectors))?;
        ensure!(blocks > 0, "{who}: smaller than one request");
        let window = plan.window.min(usize::from(config.buffers));
        let kept = if plan.verify { blocks } else { 0 };
        ensure!(kept <= 1 << 24, "--verify: --span is too large");
        ensure!(!plan.verify || kept > window, "--verify: more blocks than the window are needed");
        Ok(Self {
            random: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            serial: 0,
            out: vec![0; DATA + 255 * 512],
            input: vec![0; 1 << 17],
            under_way: Vec::with_capacity(window),
            result: Outcome::default(),
            stamps: vec![0; kept],
            busy: vec![false; kept],
            initiator,
            plan,
            target,
            window,
            blocks,
        })
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Fills the window.
    fn fill(&mut self) -> anyhow::Result<()> {
        while self.under_way.len() < self.window {
            let request = self.next_request();
            self.send(request)?;
            self.under_way.push(request);
        }
        Ok(())
    }

    fn next_request(&mut self) -> Request {
        let mut block = usize::try_from(self.next_random() % self.blocks as u64).unwrap_or(0);
        // One request a block at a time, so that each read has one right answer.
        while self.plan.verify && self.busy[block] {
            block = (block + 1) % self.blocks;
        }
        let write = self.next_random() % 100 < self.plan.writes;
        let mut stamp = 0;
        if write {
            self.serial += 1;
            stamp = self.serial << 24 ^ block as u64;
        } else if self.plan.verify {
            stamp = self.stamps[block];
        }
        if self.plan.verify {
            self.busy[block] = true;
        }
        let now = Instant::now();
        let tag = self.initiator.next_tag();
        Request { tag, block, write, stamp, first_sent: now, sent: now, timeout: FIRST_TIMEOUT }
    }

    fn send(&mut self, request: Request) -> anyhow::Result<()> {
        let header = Header { tag: request.tag, ..self.target };
        let (command_status, flags) = if request.write { (op::WRITE_EXT, 0x41) } else { (op::READ_EXT, 0x40) };
        let lba = Registers::lba_bytes(request.block as u64 * u64::from(self.plan.sectors));
        let registers = Registers { flags, feature_error: 0, count: self.plan.sectors, command_status, lba };
        registers.encode(header.encode(&mut self.out)?)?;
        let mut length = 60;
        if request.write {
            length = DATA + usize::from(self.plan.sectors) * 512;
            for stamp in self.out[DATA..length].as_chunks_mut::<8>().0 {
                *stamp = request.stamp.to_le_bytes();
            }
        }
        loop {
            match self.initiator.socket.send(&self.out[..length]) {
                Err(error) if [Some(105), Some(11)].contains(&error.raw_os_error()) => {
                    let mut fds = [PollFd::new(self.initiator.socket.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::from(1u8))?;
                }
                other => return Ok(other?),
            }
        }
    }

    /// Keeps the window full for so long; the requests under way at the end stay so.
    fn drive(&mut self, how_long: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + how_long;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let mut got = false;
            while self.take()? {
                got = true;
            }
            if got {
                continue;
            }
            let due = self.under_way.iter().map(|request| request.sent + request.timeout).min().unwrap_or(end).min(end);
            let left = due.saturating_duration_since(now) + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.initiator.socket.as_fd(), PollFlags::POLLIN)], timeout)?;
            self.retransmit()?;
        }
    }

    fn retransmit(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for at in 0..self.under_way.len() {
            let request = self.under_way[at];
            if now < request.sent + request.timeout {
                continue;
            }
            ensure!(now - request.first_sent < Duration::from_secs(30), "{}: gone", self.plan.address);
            self.result.retransmits += 1;
            let tag = self.initiator.next_tag();
            let again = Request { tag, sent: now, timeout: request.timeout * 2, ..request };
            self.under_way[at] = again;
            self.send(again)?;
        }
        Ok(())
    }

    /// Takes one answer, if one waits, and sends the next request in its place.
    fn take(&mut self) -> anyhow::Result<bool> {
        let length = match self.initiator.socket.receive(&mut self.input) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let Some(frame) = self.input.get(..length) else { return Ok(true) };
        let Ok((header, argument)) = Header::parse(frame) else { return Ok(true) };
        let Some(at) = self.under_way.iter().position(|request| request.tag == header.tag) else { return Ok(true) };
        let request = self.under_way[at];
        let (registers, data) = Registers::parse(argument)?;
        let bytes = usize::from(self.plan.sectors) * 512;
        let failed = header.flags.has(Flags::ERROR) || registers.command_status & 0xa9 != 0;
        if failed || (!request.write && data.len() < bytes) {
            self.result.errors += 1;
        } else if request.write {
            self.result.writes += 1;
        } else {
            self.result.reads += 1;
            let wanted = request.stamp.to_le_bytes();
            if request.stamp != 0 && data[..bytes].as_chunks::<8>().0.iter().any(|stamp| *stamp != wanted) {
                self.result.mismatches += 1;
            }
        }
        if self.plan.verify {
            self.busy[request.block] = false;
            if request.write && !failed {
                self.stamps[request.block] = request.stamp;
            }
        }
        self.result.microseconds.push(u32::try_from(request.first_sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        let next = self.next_request();
        self.under_way[at] = next;
        self.send(next)?;
        Ok(true)
    }
}
