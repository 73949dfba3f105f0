//! Clients that make a history: each a thread with one connection at a time, to one daemon, that
//! asks at random and writes down what it asked and heard.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nines_cli::Exit;
use nines_proto::ctl::{Client, ClientError, KeyOwner, Mode, Request, Value};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use crate::record::{Answered, Asked, Recorder};

#[derive(Debug, Args)]
pub struct Options {
    /// Where the records go; made if need be, refused if it has records
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Clients for each socket
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=200))]
    clients: u16,
    /// Different locks and, each as many, keys
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    resources: u16,
    /// One operation in ten or so on keys as well
    #[arg(long)]
    keys: bool,
    /// Stop by itself after so many operations
    #[arg(long, value_name = "COUNT")]
    operations: Option<u64>,
    /// Longest time a lock is held, in milliseconds
    #[arg(long, default_value_t = 3, value_name = "MS")]
    hold: u16,
    /// What the random choices begin with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The daemons' sockets
    #[arg(required = true)]
    sockets: Vec<PathBuf>,
}

/// No answer within this is none: the connection is closed.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two attempts to connect to a daemon that is not there.
const AGAIN: Duration = Duration::from_millis(20);

/// Runs until SIGTERM or SIGINT, or until there are enough operations.
///
/// # Errors
/// A record cannot be written, or a daemon answers what cannot be answered.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    // Before the first thread, so that no other one takes the signal.
    ends.thread_block().context("block signals")?;
    let shared = Shared { enough: AtomicBool::new(false), operations: AtomicU64::new(0), limit: options.operations };
    let shared = &shared;
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for (host, socket) in options.sockets.iter().enumerate() {
            for number in 0..options.clients {
                let path = options.out.join(format!("n{}c{}.history", host + 1, number + 1));
                let seed = options.seed ^ ((host as u64 + 1) << 40) ^ (u64::from(number + 1) << 20);
                let mut driver = Driver {
                    options,
                    shared,
                    socket,
                    name: format!("{}.{}", host + 1, number + 1),
                    recorder: Recorder::new(&path)?,
                    random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                    written: 0,
                };
                clients.push(scope.spawn(move || {
                    let ended = driver.run();
                    shared.enough.store(true, Ordering::Relaxed);
                    ended
                }));
            }
        }
        let mut first = wait_for_the_end(&ends, shared);
        for client in clients {
            let ended = client.join().unwrap_or_else(|_| bail!("a client panicked"));
            first = first.and(ended);
        }
        first
    })?;
    println!("{} operations", shared.operations.load(Ordering::Relaxed));
    Ok(Exit::Ok)
}

/// Until a signal comes or the clients have ended.
fn wait_for_the_end(ends: &SigSet, shared: &Shared) -> anyhow::Result<()> {
    let signals = nix::sys::signalfd::SignalFd::new(ends).context("signalfd")?;
    while !shared.enough.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(100u8)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => shared.enough.store(true, Ordering::Relaxed),
            Err(error) => return Err(error).context("poll"),
        }
    }
    Ok(())
}

struct Shared {
    enough: AtomicBool,
    operations: AtomicU64,
    limit: Option<u64>,
}

struct Driver<'a> {
    options: &'a Options,
    shared: &'a Shared,
    socket: &'a Path,
    name: String,
    recorder: Recorder,
    random: u64,
    written: u64,
}

/// The connection is of no use any more.
struct Broken;

impl Driver<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn enough(&self) -> bool {
        self.shared.enough.load(Ordering::Relaxed)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        while !self.enough() {
            let Ok(mut client) = Client::connect(Some(self.socket)) else {
                std::thread::sleep(AGAIN);
                continue;
            };
            self.recorder.next_session();
            // Some connections end early, with whatever they hold.
            let mut turns = 1 + self.below(200);
            while turns > 0 && !self.enough() {
                turns -= 1;
                let keys = self.options.keys && self.below(4) == 0;
                let went = if keys { self.key(&mut client)? } else { self.lock(&mut client)? };
                if went.is_err() {
                    break;
                }
            }
            // From here on it acts on nothing; only then may the daemon learn of it.
            self.recorder.ask(Asked::Close)?;
            drop(client);
        }
        Ok(())
    }

    /// Asks and waits; `None` when there is no answer, and there will be none.
    fn ask(
        &mut self,
        client: &mut Client,
        asked: Asked,
        request: Request,
        waits: Duration,
    ) -> anyhow::Result<Option<Answered>> {
        self.recorder.ask(asked)?;
        let done = self.shared.operations.fetch_add(1, Ordering::Relaxed);
        if self.shared.limit.is_some_and(|limit| done + 1 >= limit) {
            self.shared.enough.store(true, Ordering::Relaxed);
        }
        let answered = match client.call(request, Some(PATIENCE + waits)) {
            Ok(Value::Granted { generation, .. }) => Answered::Granted { generation },
            Ok(Value::Done {}) => Answered::Done,
            Ok(Value::Revision { revision }) => Answered::Wrote { revision },
            Ok(Value::Key { revision, entry }) => {
                Answered::Seen { revision, entry: entry.map(|entry| (entry.value, entry.revision)) }
            }
            Ok(other) => bail!("{}: {other:?} is no answer to that", self.socket.display()),
            Err(ClientError::Refused(failure)) => Answered::Refused(failure.kind),
            Err(_) => return Ok(None),
        };
        self.recorder.end(answered.clone())?;
        Ok(Some(answered))
    }

    /// Holds for a moment: whether the connection was still there at its end.
    fn hold(&mut self, client: &Client) -> bool {
        let end = Instant::now() + Duration::from_micros(self.below(u64::from(self.options.hold) * 1000 + 1));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                Ok(0) if left < Duration::from_millis(1) => return true,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }

    fn mode(&mut self) -> Mode {
        [Mode::Ex, Mode::Ex, Mode::Ex, Mode::Pr, Mode::Pr, Mode::Pw, Mode::Cw, Mode::Cr]
            [usize::try_from(self.below(8)).unwrap_or_default()]
    }

    /// One turn with a lock: take it, perhaps change its mode, give it back.
    fn lock(&mut self, client: &mut Client) -> anyhow::Result<Result<(), Broken>> {
        let resource = format!("r{}", self.below(u64::from(self.options.resources)));
        let mode = self.mode();
        let wait_ms = [0, 0, 5, 200][usize::try_from(self.below(4)).unwrap_or_default()];
        let asked = Asked::Lock { resource: resource.clone(), mode, wait: wait_ms > 0 };
        let request = Request::Lock {
            resource: resource.clone(),
            mode,
            wait_ms: Some(wait_ms),
            sticky: false,
            session: None,
            note: String::new(),
        };
        match self.ask(client, asked, request, Duration::from_millis(wait_ms))? {
            None => return Ok(Err(Broken)),
            Some(Answered::Granted { .. }) => {}
            Some(_) => return Ok(Ok(())),
        }
        if !self.hold(client) {
            return Ok(Err(Broken));
        }
        if self.below(4) == 0 {
            let to = self.mode();
            if to != mode {
                let asked = Asked::Convert { resource: resource.clone(), mode: to, wait: true };
                let request = Request::Convert {
                    resource: resource.clone(),
                    mode: to,
                    wait_ms: Some(20),
                    sticky: false,
                    session: None,
                    value: None,
                };
                if self.ask(client, asked, request, Duration::from_millis(20))?.is_none() || !self.hold(client) {
                    return Ok(Err(Broken));
                }
            }
        }
        if self.below(50) == 0 {
            return Ok(Err(Broken));
        }
        let asked = Asked::Unlock { resource: resource.clone() };
        let request = Request::Unlock { resource, sticky: false, session: None, value: None };
        // A refusal leaves it open whether the lock is still there.
        let answered = self.ask(client, asked, request, Duration::ZERO)?;
        Ok(if answered == Some(Answered::Done) { Ok(()) } else { Err(Broken) })
    }

    /// One turn with a key: read it, and change it on the condition that it is still so, or not.
    fn key(&mut self, client: &mut Client) -> anyhow::Result<Result<(), Broken>> {
        let key = format!("k{}", self.below(u64::from(self.options.resources)));
        let asked = Asked::Get { key: key.clone() };
        let request = Request::Get { key: key.clone(), stale: false };
        let seen = match self.ask(client, asked, request, Duration::ZERO)? {
            None => return Ok(Err(Broken)),
            Some(Answered::Seen { entry, .. }) => entry.map_or(0, |(_, revision)| revision),
            Some(_) => return Ok(Ok(())),
        };
        let if_revision = (self.below(3) > 0).then_some(seen);
        let (asked, request) = if self.below(6) == 0 {
            let request = Request::Delete { key: key.clone(), if_revision };
            (Asked::Delete { key, if_revision }, request)
        } else {
            self.written += 1;
            let value = format!("{}.{}", self.name, self.written);
            let request =
                Request::Put { key: key.clone(), value: value.clone(), if_revision, owner: KeyOwner::Cluster };
            (Asked::Put { key, value, if_revision }, request)
        };
        Ok(self.ask(client, asked, request, Duration::ZERO)?.map(|_| ()).ok_or(Broken))
    }
}
