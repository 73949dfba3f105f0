//! aoe-warm: keep devices open and the driver's estimate of their round trip true, so that a lost
//! frame is sent again within milliseconds.
//!
//! The driver forgets its estimate whenever a device's last user closes it, and begins again at 15
//! seconds; each answered frame moves it a 256th of the way. So a device is held open, read in a
//! burst until the estimate is small, and then once in a while, to see that it still is.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::{Exit, Ready, log};
use nines_sys::blk::{Aligned, PAGE};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::getopt::{self, Grammar};
use crate::roundtrip::RoundTrip;
use crate::signals::Signals;
use crate::{paths, sysfs};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-warm [--interval SECS] [--ready-fd N] eX.Y ...
       aoe-warm --once eX.Y ...

Keep these AoE devices open and read a little of them, so that the aoe driver
knows how long answers take, and sends a lost frame again within milliseconds.

  --interval SECS  time between two reads [default: 1]
  --once           end when the estimates are small; for devices others keep
                   open
  --ready-fd N     write a newline to this descriptor when they are
  --help           print this
  --version        print the version
";

/// The estimate is small below this.
const SMALL: Duration = Duration::from_millis(50);
/// Or so many times what a read takes: on a slow network it cannot be smaller.
const FACTOR: u32 = 10;
/// The estimate was forgotten above this.
const FORGOTTEN: Duration = Duration::from_secs(1);
/// Most reads of a burst. From 15 seconds to 50 milliseconds takes 1,500.
const BURST: usize = 3000;
/// The smallest read there is: a frame.
const SIZE: usize = 512;
/// More devices than a host has disks.
const MOST: usize = 256;

/// What the threads say of a device, once.
const WARM: u8 = 1;
const COLD: u8 = 0;

/// The program.
///
/// # Errors
/// A bad command line, or no more threads.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let grammar = Grammar { letters: "", names: &["interval:", "once", "ready-fd:"] };
    let line = grammar.parse(arguments)?;
    let (mut interval, mut once, mut ready) = (Duration::from_secs(1), false, None);
    for option in &line.options {
        match option.name.as_str() {
            "interval" => interval = getopt::seconds(&option.value).context("--interval")?,
            "once" => once = true,
            _ => ready = Some(getopt::number(&option.value, 0, 1 << 20).context("--ready-fd")?),
        }
    }
    let mut names: Vec<String> = line.operands.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.dedup();
    anyhow::ensure!((1..=MOST).contains(&names.len()), "which devices? Name 1 to {MOST}, as in aoe-warm e0.1");
    for name in &names {
        anyhow::ensure!(sysfs::address(name).is_some(), "`{name}': not a device such as e0.1");
    }
    let signals = Signals::hold()?;
    let (mut settled, teller) = io::pipe().map_err(|error| anyhow::anyhow!("pipe: {error}"))?;
    for name in &names {
        let teller = teller.try_clone().map_err(|error| anyhow::anyhow!("pipe: {error}"))?;
        let keeper = Keeper { name: name.clone(), interval, once, teller: Some(teller) };
        // One that waits for a dead target cannot be waited for: it ends with the process.
        let thread = thread::Builder::new().name(name.clone()).spawn(move || keeper.keep());
        thread.map_err(|error| anyhow::anyhow!("{name}: thread: {error}"))?;
    }
    drop(teller);
    let mut ready = Some(Ready::new(ready));
    let (mut left, mut warm) = (names.len(), 0);
    loop {
        let mut polled =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(settled.as_fd(), PollFlags::POLLIN)];
        // Once all have settled the pipe is closed and has nothing more to say.
        let polled = if left == 0 { &mut polled[..1] } else { &mut polled[..] };
        match poll(polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => anyhow::bail!("poll: {}", error.desc()),
        }
        let news = polled.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        if signals.take().is_some() {
            return Ok(if once { Exit::No } else { Exit::Ok });
        }
        if !news {
            continue;
        }
        let mut states = [0; MOST];
        let count = settled.read(&mut states).map_err(|error| anyhow::anyhow!("pipe: {error}"))?;
        // Every writer gone is as good as settled.
        left = if count == 0 { 0 } else { left.saturating_sub(count) };
        warm += states[..count].iter().filter(|state| **state == WARM).count();
        if left == 0 {
            if let Some(ready) = ready.take() {
                ready.announce().map_err(|error| anyhow::anyhow!("ready: {error}"))?;
            }
            if once {
                return Ok(if warm == names.len() { Exit::Ok } else { Exit::No });
            }
        }
    }
}

/// Keeps one device.
struct Keeper {
    name: String,
    interval: Duration,
    once: bool,
    /// Until it has said how its first try went.
    teller: Option<PipeWriter>,
}

impl Keeper {
    fn keep(mut self) {
        let mut waiting = false;
        loop {
            if sysfs::is_up(&self.name) {
                waiting = false;
                // Closed when it fails: the device comes back only after its last user has gone.
                if let Err(error) = self.keep_open() {
                    log(format_args!("{}: {error:#}", self.name));
                }
            } else if !waiting {
                waiting = true;
                let state = sysfs::state(&self.name);
                let state = if state.is_empty() { "not there" } else { &state };
                log(format_args!("{}: {state}: waiting until it is up", self.name));
            }
            self.tell(COLD);
            thread::sleep(self.interval);
        }
    }

    fn tell(&mut self, state: u8) {
        if let Some(mut teller) = self.teller.take() {
            // Nobody listens when the process ends.
            let _ = teller.write_all(&[state]);
        }
    }

    /// Reads until the device fails.
    fn keep_open(&mut self) -> anyhow::Result<()> {
        let path = paths::etherd().join(&self.name);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_DIRECT.bits());
        let device = options.open(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let mut buffer = Aligned::new(0, PAGE);
        if RoundTrip::of(&self.name).is_none() {
            let file = paths::debug(&self.name);
            log(format_args!(
                "{}: cannot be read: {}: reading {BURST} times; is debugfs mounted?",
                file.display(),
                self.name
            ));
        }
        self.burst(&device, &mut buffer)?;
        loop {
            if self.once {
                return Ok(());
            }
            thread::sleep(self.interval);
            read(&device, &mut buffer)?;
            if RoundTrip::of(&self.name).is_some_and(|estimate| estimate.patience() >= FORGOTTEN) {
                self.burst(&device, &mut buffer)?;
            }
        }
    }

    fn burst(&mut self, device: &File, buffer: &mut Aligned) -> anyhow::Result<()> {
        let mut usual = Duration::ZERO;
        for _ in 0..BURST {
            let small = SMALL.max(usual * FACTOR).min(FORGOTTEN / 2);
            if RoundTrip::of(&self.name).is_some_and(|estimate| estimate.patience() < small) {
                break;
            }
            let begun = Instant::now();
            read(device, buffer)?;
            usual = (usual * 15 + begun.elapsed()) / 16;
        }
        let estimate = RoundTrip::of(&self.name);
        if let Some(estimate) = &estimate {
            let (mean, patience) = (estimate.mean.as_micros(), estimate.patience().as_micros().div_ceil(1000));
            log(format_args!("{}: round trip {mean} us, a lost frame is sent again after {patience} ms", self.name));
        }
        // Without debugfs it is as warm as so many reads make it.
        self.tell(if estimate.is_none_or(|estimate| estimate.patience() < FORGOTTEN) { WARM } else { COLD });
        Ok(())
    }
}

fn read(device: &File, buffer: &mut Aligned) -> anyhow::Result<()> {
    match device.read_at(&mut buffer[..SIZE], 0) {
        Ok(0) => anyhow::bail!("read: the device has no size"),
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("read: {}", crate::exchange::words(&error)),
    }
}
