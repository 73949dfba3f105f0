//! The daemon: one loop that polls, tells the engine what happened, and does what it says.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cluster_conf::{Conf, MAX_FILE};
use nines_cli::{Exit, Ready, log};
use nines_proto::ctl::{self, Answer, Outcome, Value};
use nines_proto::session::Keyring;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::{Mode, umask};

use crate::agents::Agents;
use crate::clock::Clock;
use crate::conffile::{ConfFile, Done};
use crate::control::{Control, Heard};
use crate::count::Counters;
use crate::engine::{Action, Engine, Event, Now, Watchdog};
use crate::leftovers;
use crate::log::{Files, Identity};
use crate::net::{Arrival, Net, Place, Places, Setup, Wakeup, wake_pair};
use crate::watchdog::Guard;

/// How long a stopping leader waits for another to take over.
const HANDOVER: Duration = Duration::from_millis(500);
/// How stale the greeting for new sessions may be.
const HELLO_MS: u64 = 50;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    pub conf: PathBuf,
    pub node: Option<String>,
    pub state: PathBuf,
    pub socket: PathBuf,
    pub key: Option<PathBuf>,
    /// Whose members may look.
    pub group: Option<String>,
    /// Whether to ask for locked memory and real-time scheduling.
    pub realtime: bool,
    /// Another boot than the kernel's, for several daemons on one machine.
    pub boot: Option<String>,
    /// Programs that find what is left over.
    pub leftovers: PathBuf,
    pub ready_fd: Option<u32>,
}

/// Where a cluster's key is unless cluster.conf or the command line says otherwise.
const KEY: &str = "/etc/cluster/cluster.key";

struct Daemon {
    engine: Engine,
    files: Files,
    net: Net,
    arrivals: Receiver<Arrival>,
    wakeup: Wakeup,
    control: Control,
    counters: Arc<Counters>,
    keys: PathBuf,
    file: ConfFile,
    me: u64,
    /// Every node whose addresses were found, and those there are to be sessions with.
    known: BTreeMap<u64, Place>,
    wired: Vec<u64>,
    token: Duration,
    /// The engine wants to end.
    stop: bool,
    signals: SignalFd,
    clock: Clock,
    hello_at: u64,
    agents: Agents,
    realtime: bool,
    /// The one that is open.
    watchdog: Option<Guard>,
    leftovers: Receiver<Vec<String>>,
    /// For the threads beside the net's.
    helped: Wakeup,
}

/// Reads and checks cluster.conf.
///
/// # Errors
/// As [`Conf::parse`], or the file cannot be read.
pub fn read_conf(path: &Path) -> anyhow::Result<Conf> {
    let name = path.display().to_string();
    let file = fs::File::open(path).with_context(|| name.clone())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(|| name.clone())?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{name}: more than {MAX_FILE} bytes");
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| anyhow::anyhow!("{name}: byte {} is not UTF-8", error.utf8_error().valid_up_to()))?;
    Ok(Conf::parse(&name, &text)?)
}

/// Runs until a signal says to stop.
///
/// # Errors
/// The configuration or the state directory is of no use, or the disk fails.
pub fn serve(options: &Options) -> anyhow::Result<Exit> {
    // Before the first thread, so that no other one takes the signal.
    let signals = nines_sys::proc::signal_fd(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])?;
    umask(Mode::from_bits_truncate(0o077));
    let conf = read_conf(&options.conf)?;
    for warning in &conf.warnings {
        log(format_args!("{warning}"));
    }
    let name = match &options.node {
        Some(name) => name.clone(),
        None => fs::read_to_string("/proc/sys/kernel/hostname").context("hostname")?.trim_end().to_owned(),
    };
    let me = conf.find(&name).with_context(|| options.conf.display().to_string())?.clone();
    let places = Places::of(&conf, me.id)?;
    let realtime = options.realtime && hurry();
    let mut daemon = Daemon::start(options, &conf, me.id, places, realtime, signals)?;
    log(format_args!("node {} of cluster {}", me.name, conf.name));
    Ready::new(options.ready_fd).announce().context("--ready-fd")?;
    daemon.run()
}

/// Has this thread, and the net's after it, run whatever else the host does; whether it may.
fn hurry() -> bool {
    if let Err(error) = nines_sys::proc::lock_memory() {
        log(format_args!("memory is not locked, a busy host may be taken for a dead one: {error}"));
    }
    match nines_sys::proc::run_realtime() {
        Ok(()) => true,
        Err(error) => {
            log(format_args!("no real-time scheduling, a busy host may be taken for a dead one: {error}"));
            false
        }
    }
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("getrandom: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl Daemon {
    fn start(
        options: &Options,
        conf: &Conf,
        me: u64,
        places: Places,
        realtime: bool,
        signals: SignalFd,
    ) -> anyhow::Result<Self> {
        let path = options.key.clone().or_else(|| conf.keyfile.clone()).unwrap_or_else(|| KEY.into());
        let keys = Keyring::load(&path)?;
        let wanted = Identity::new(conf, me, format!("{:016x}{:016x}", random()?, random()?));
        let (files, identity, loaded) = Files::open(&options.state, &wanted)?;
        if let Some(reset) = files.former_reset()? {
            log(format_args!("a former run announced that this host would be reset by {reset}"));
        }
        let boot = match &options.boot {
            Some(boot) => boot.clone(),
            None => fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot_id")?.trim_end().to_owned(),
        };
        let clock = Clock::start();
        let now = clock.now();
        let mut engine = Engine::new(conf.clone(), identity, boot, loaded, random()?, now)
            .with_context(|| options.state.display().to_string())?;
        engine.set_addresses(places.addresses(me));
        let (waker, helped) = wake_pair().context("socketpair")?;
        let waker = Arc::new(waker);
        let (found, leftovers) = leftovers::watch(options.leftovers.clone(), Arc::clone(&waker));
        engine.set_leftovers(found);
        let name = conf.name_of(me);
        let mut known: BTreeMap<u64, Place> = places.others.iter().map(|place| (place.node, place.clone())).collect();
        known.insert(me, Place { node: me, name, addresses: places.own });
        let wired = places.others.iter().map(|place| place.node).collect();
        let file = ConfFile::start(&options.conf).context("conf")?;
        let counters = Arc::<Counters>::default();
        Control::wait_for_former_clients(&options.socket)?;
        let control = Control::bind(&options.socket, options.group.as_deref(), Arc::clone(&counters))?;
        let (token, hello, run) = (conf.token, engine.hello(), random()?);
        let setup = Setup { keys, token, hello, counters: Arc::clone(&counters), realtime, run };
        let (net, arrivals, wakeup) = Net::start(places, setup)?;
        let agents = Agents::new(waker);
        Ok(Self {
            engine,
            files,
            net,
            arrivals,
            wakeup,
            control,
            counters,
            keys: path,
            signals,
            clock,
            hello_at: now.ms,
            agents,
            realtime,
            watchdog: None,
            leftovers,
            helped,
            file,
            me,
            known,
            wired,
            token,
            stop: false,
        })
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn run(&mut self) -> anyhow::Result<Exit> {
        let mut stop_by: Option<Instant> = None;
        loop {
            self.work()?;
            if let Some(deadline) = stop_by
                && (!self.engine.is_ending() || Instant::now() >= deadline)
            {
                return Ok(Exit::Ok);
            }
            let (mut readable, mut writable) = (Vec::new(), Vec::new());
            let (signalled, accept) = self.wait(&mut readable, &mut writable)?;
            if (self.stop || signalled && self.told_to_stop()?) && stop_by.is_none() {
                log(format_args!("stopping"));
                let now = self.now();
                self.engine.step(now, Event::Stop);
                stop_by = Some(Instant::now() + HANDOVER);
            }
            self.file_done()?;
            let mut heard = Vec::new();
            self.control.accept(accept)?;
            for id in readable {
                self.control.read(id, &mut heard);
            }
            for id in writable.into_iter().chain(self.control.finished()) {
                self.control.write(id, &mut heard);
            }
            let now = self.now();
            self.engine.step(now, Event::Tick);
            self.wakeup.clear();
            for arrival in self.arrivals.try_iter() {
                let event = match arrival {
                    Arrival::Up { link, ring, hello } => Event::PeerUp { link, ring, hello: *hello },
                    Arrival::Down { link, node } => Event::PeerDown { link, node },
                    Arrival::Message { link, node, bytes } => Event::Message { link, node, bytes },
                };
                self.engine.step(now, event);
            }
            self.helped.clear();
            for (number, end) in self.agents.ended() {
                self.engine.step(now, Event::Fenced { number, end });
            }
            if let Some(found) = self.leftovers.try_iter().last() {
                self.engine.set_leftovers(found);
                self.net.set_hello(self.engine.hello());
                self.net.reconnect();
            }
            for heard in heard {
                let event = match heard {
                    Heard::Call { caller, call } => Event::Call { caller, call },
                    Heard::Closed { connection } => Event::Closed { connection },
                };
                self.engine.step(now, event);
            }
        }
    }

    /// Takes the signals that came; whether one of them says to stop.
    fn told_to_stop(&mut self) -> anyhow::Result<bool> {
        let (mut stop, mut reload) = (false, false);
        while let Some(signal) = self.signals.read_signal()? {
            let hangup = signal.ssi_signo == Signal::SIGHUP as u32;
            (stop, reload) = (stop || !hangup, reload || hangup);
        }
        if reload {
            match Keyring::load(&self.keys) {
                Ok(keys) => {
                    let more = keys.keys().len() - 1;
                    log(format_args!("{}: read again, {more} more beside it", self.keys.display()));
                    self.net.set_keys(&keys);
                }
                Err(error) => {
                    log(format_args!("the keys stay as they are: {:#}", anyhow::Error::from(error)));
                }
            }
        }
        Ok(stop)
    }

    /// Waits until something happens or the engine's time comes: whether a signal came, whether a
    /// client wants to connect, and which connections have something.
    fn wait(&self, readable: &mut Vec<u64>, writable: &mut Vec<u64>) -> anyhow::Result<(bool, bool)> {
        let list = self.control.poll_list();
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wakeup.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.helped.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.file.wakeup.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(list.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)));
        let left = self.engine.deadline_ms().saturating_sub(self.now().ms);
        let timeout = PollTimeout::try_from(Duration::from_millis(left)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(error) => return Err(error).context("poll"),
        }
        let happened = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let mut accept = false;
        for ((id, _, _), fd) in list.iter().zip(&fds[4..]) {
            let flags = happened(fd);
            match id {
                None => accept |= !flags.is_empty(),
                Some(id) => {
                    if flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                        readable.push(*id);
                    }
                    if flags.intersects(PollFlags::POLLOUT | PollFlags::POLLHUP | PollFlags::POLLERR) {
                        writable.push(*id);
                    }
                }
            }
        }
        Ok((!happened(&fds[0]).is_empty(), accept))
    }

    /// Does everything there is to do before the next event.
    fn work(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        loop {
            while let Some(write) = self.engine.turn(now)? {
                self.perform()?;
                self.files.write(&write)?;
                self.engine.written(now)?;
            }
            // What was done at once may be news for the engine.
            if !self.perform()? {
                break;
            }
        }
        if now.ms >= self.hello_at + HELLO_MS {
            self.hello_at = now.ms;
            self.net.set_hello(self.engine.hello());
        }
        Ok(())
    }

    /// Whether the engine was told something.
    fn watchdog(&mut self, order: Watchdog) -> bool {
        match order {
            Watchdog::Arm { until_ms } => {
                // The one of the configuration in force, by which the others reckon.
                let result = match self.engine.watchdog() {
                    Some(watchdog) => {
                        let path = Path::new(&watchdog.device);
                        Guard::arm(path, watchdog.timeout, self.clock, until_ms, self.realtime)
                    }
                    None => Err(anyhow::anyhow!("cluster.conf has no <watchdog>")),
                };
                let now = self.now();
                match result {
                    Ok(guard) => {
                        self.watchdog = Some(guard);
                        self.engine.step(now, Event::Armed(Ok(())));
                    }
                    Err(error) => self.engine.step(now, Event::Armed(Err(format!("{error:#}")))),
                }
                return true;
            }
            Watchdog::Pet { until_ms } => {
                if let Some(guard) = &self.watchdog {
                    guard.feed_until(until_ms);
                }
            }
            Watchdog::Disarm => {
                if let Some(guard) = self.watchdog.take()
                    && let Err(error) = guard.disarm()
                {
                    log(format_args!("the watchdog will reset this host: {error:#}"));
                }
            }
        }
        false
    }

    /// Does what the engine wants done; whether it was told something in return.
    fn perform(&mut self) -> anyhow::Result<bool> {
        let mut told = false;
        for action in self.engine.take_actions() {
            match action {
                Action::Send { to, bytes } => self.net.send(to, &bytes),
                Action::Answer { connection, mut answer } => {
                    self.count(&mut answer);
                    self.control.answer(connection, &answer)?;
                }
                Action::Log(line) => log(format_args!("{line}")),
                Action::Identity(identity) => self.files.save_identity(&identity)?,
                Action::Reconnect => {
                    self.net.set_hello(self.engine.hello());
                    self.net.reconnect();
                }
                Action::Fence(job) => self.agents.start(job),
                Action::Watchdog(order) => told |= self.watchdog(order),
                Action::Reset(reset) => self.files.save_reset(reset.as_ref())?,
                Action::Configuration { version, text } => self.file.store(version, text),
                Action::Wire(nodes) => {
                    self.wired = nodes;
                    self.rewire()?;
                }
                Action::Stop => self.stop = true,
                Action::Exit(why) => bail!(why),
            }
        }
        Ok(told)
    }

    /// Takes note of what the thread that writes cluster.conf has done.
    fn file_done(&mut self) -> anyhow::Result<()> {
        self.file.wakeup.clear();
        for done in self.file.done.try_iter().collect::<Vec<_>>() {
            match done {
                Done::Stored { version, result } => {
                    let now = self.now();
                    self.engine.step(now, Event::Stored { version, result });
                }
                Done::Found { conf, addresses } => {
                    self.token = conf.token;
                    for (node, addresses) in addresses {
                        self.known.insert(node, Place { node, name: conf.name_of(node), addresses });
                    }
                    self.rewire()?;
                }
            }
        }
        Ok(())
    }

    fn rewire(&mut self) -> anyhow::Result<()> {
        let Some(own) = self.known.get(&self.me).map(|place| place.addresses) else { return Ok(()) };
        let others = self.wired.iter().filter_map(|node| self.known.get(node).cloned()).collect();
        let places = Places { own, others }.seen();
        self.engine.set_addresses(places.addresses(self.me));
        self.net.set_places(places, self.token)
    }
}

impl Daemon {
    /// Adds to a status what was counted outside the engine.
    fn count(&self, answer: &mut Answer) {
        if let Outcome::Ok(Value::Status(status)) = &mut answer.outcome {
            for (name, count) in self.counters.list() {
                *status.counters.entry(name).or_insert(0) += count;
            }
        }
    }
}

/// The defaults of the command line, `$CLUSTER_CONF` heeded.
impl Default for Options {
    fn default() -> Self {
        Self {
            conf: std::env::var_os("CLUSTER_CONF").map_or_else(|| "/etc/cluster/cluster.conf".into(), PathBuf::from),
            node: None,
            state: "/var/lib/cluster".into(),
            socket: ctl::SOCKET.into(),
            key: None,
            group: None,
            realtime: true,
            boot: None,
            leftovers: "/etc/cluster/leftovers.d".into(),
            ready_fd: None,
        }
    }
}
