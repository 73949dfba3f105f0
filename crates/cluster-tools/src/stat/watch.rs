//! Looking again and again: at once when something was decided, and every second or so for what
//! nobody decides, such as a link that breaks, and for the ages.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::{Exit, age, clean};
use nines_proto::ctl::{Client, ClientError, Request, Value, utc};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::SignalFd;

use super::changes::{self, Facts};
use super::picture::{self, Picture, View};
use super::terminal::Terminal;

/// Between two looks, however much happens.
const REST: Duration = Duration::from_millis(100);
/// For an answer that the socket has begun to carry.
const ANSWER: Duration = Duration::from_secs(5);
/// Ends that the terminal has to be given back before.
const ENDS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Watches until a signal, or a key on a terminal, ends it.
///
/// # Errors
/// Standard output does not take it, or nothing could be seen at the first look.
pub fn run(socket: Option<&Path>, view: &View, every: Duration, json: bool) -> anyhow::Result<Exit> {
    let mut daemon = Daemon { socket: socket.map(Path::to_path_buf), client: None, log: None };
    // Whoever types a wrong path wants to know, not to wait.
    let first = daemon.look(view)?;
    if json || !io::stdout().is_terminal() {
        lines(&mut daemon, view, every, json, first)
    } else {
        screen(&mut daemon, view, every, first)
    }
}

/// The daemon, which may end and start while it is watched.
#[derive(Debug)]
struct Daemon {
    socket: Option<PathBuf>,
    client: Option<Client>,
    /// Another connection, on which the number of a call waits for the next record of the log.
    log: Option<(Client, u64, u64)>,
}

impl Daemon {
    fn look(&mut self, view: &View) -> anyhow::Result<Picture> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                self.log = None;
                let client = Client::connect(self.socket.as_deref())?;
                self.listen();
                client
            }
        };
        let picture = picture::take(view, &mut client, nines_cli::now())?;
        self.client = Some(client);
        Ok(picture)
    }

    /// Waits for what will be decided, where the daemon has a log to tell.
    fn listen(&mut self) {
        let Ok(mut client) = Client::connect(self.socket.as_deref()) else { return };
        let mut after = 0;
        while let Ok(records) = client.log(after, false, Some(ANSWER)) {
            match records.last() {
                Some(last) if last.number > after => after = last.number,
                _ => {
                    self.log = ask(client, after);
                    return;
                }
            }
        }
    }

    /// Takes what came about the log, and waits for the next.
    fn hear(&mut self) {
        let Some((mut client, id, after)) = self.log.take() else { return };
        match client.wait_for(id, Some(ANSWER)) {
            Ok(Value::Log(records)) => {
                self.log = ask(client, records.last().map_or(after, |last| last.number.max(after)));
            }
            // A daemon that ended is found by the next look; one that does not tell is looked at
            // as often as was asked for.
            Ok(_) | Err(ClientError::Refused(_) | ClientError::Broken { .. } | ClientError::Connect { .. }) => {}
            Err(ClientError::Slow { .. }) => self.log = Some((client, id, after)),
        }
    }
}

fn ask(mut client: Client, after: u64) -> Option<(Client, u64, u64)> {
    let id = client.ask(Request::Log { after, wait: true }).ok()?;
    Some((client, id, after))
}

/// What ended a wait.
#[derive(Debug, Default)]
struct Woken {
    log: bool,
    signals: bool,
    keys: bool,
}

fn wait(
    daemon: &Daemon,
    signals: Option<&SignalFd>,
    keys: Option<&io::StdinLock<'_>>,
    until: Instant,
) -> anyhow::Result<Woken> {
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, so that a wait that is over has passed its time.
    let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let fds =
        [daemon.log.as_ref().map(|(client, _, _)| client.as_fd()), signals.map(AsFd::as_fd), keys.map(AsFd::as_fd)];
    let mut polled: Vec<PollFd<'_>> = fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    let mut ready = polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
    let mut next = |there: bool| there && ready.next().unwrap_or(false);
    Ok(Woken { log: next(daemon.log.is_some()), signals: next(signals.is_some()), keys: next(keys.is_some()) })
}

/// A line for each change; with `json` the objects as they are after one.
fn lines(daemon: &mut Daemon, view: &View, every: Duration, json: bool, first: Picture) -> anyhow::Result<Exit> {
    let (mut before, mut trouble) = (Facts::new(), Facts::new());
    let mut picture = Ok(first);
    loop {
        let looked = Instant::now();
        let mut out = io::stdout().lock();
        // What is not seen has not changed; not seeing is a fact of its own.
        let blind = match &picture {
            Ok(_) => Facts::new(),
            Err(error) => Facts::from([("cluster-join".to_owned(), format!("{error:#}"))]),
        };
        if json {
            match &picture {
                Ok(picture) if picture.facts != before || blind != trouble => {
                    picture.json.iter().try_for_each(|line| writeln!(out, "{line}"))?;
                }
                Err(error) if blind != trouble => {
                    writeln!(out, "{}", serde_json::json!({"error": format!("{error:#}")}))?;
                }
                _ => {}
            }
        } else {
            changes::write(&mut out, nines_cli::now(), &trouble, &blind)?;
            if let Ok(picture) = &picture {
                changes::write(&mut out, nines_cli::now(), &before, &picture.facts)?;
            }
        }
        out.flush()?;
        drop(out);
        trouble = blind;
        if let Ok(picture) = picture {
            before = picture.facts;
        }
        if wait(daemon, None, None, looked + every)?.log {
            daemon.hear();
            std::thread::sleep(REST.saturating_sub(looked.elapsed()));
        }
        picture = daemon.look(view);
    }
}

/// Pictures on a terminal, until `q` or a signal.
fn screen(daemon: &mut Daemon, view: &View, every: Duration, first: Picture) -> anyhow::Result<Exit> {
    let others = [Signal::SIGWINCH, Signal::SIGTSTP, Signal::SIGCONT];
    let caught: Vec<Signal> = ENDS.into_iter().chain(others).collect();
    let signals = nines_sys::proc::signal_fd(&caught).context("signalfd")?;
    let terminal = Terminal::new().context("terminal")?;
    let mut keys = terminal.keyboard();
    let mut good = first.good;
    let mut text = first.text;
    let (mut seen, mut trouble) = (nines_cli::now(), None::<String>);
    loop {
        let looked = Instant::now();
        terminal.show(&framed(&text, every, nines_cli::now(), seen, trouble.as_deref())).context("terminal")?;
        let woken = wait(daemon, Some(&signals), keys.as_ref(), looked + every)?;
        if woken.keys && quits(keys.as_mut())? {
            return Ok(if good { Exit::Ok } else { Exit::No });
        }
        while let Some(signal) = signals.read_signal().context("signalfd")? {
            match i32::try_from(signal.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGTSTP) => {
                    terminal.leave().context("terminal")?;
                    raise(Signal::SIGSTOP).context("stop")?;
                    terminal.enter().context("terminal")?;
                }
                Some(end) if ENDS.contains(&end) => {
                    drop(keys);
                    drop(terminal);
                    return die(end);
                }
                _ => {}
            }
        }
        if woken.signals && !woken.log {
            // The size, or the terminal, is another one; nothing else is.
            continue;
        }
        if woken.log {
            daemon.hear();
            std::thread::sleep(REST.saturating_sub(looked.elapsed()));
        }
        match daemon.look(view) {
            Ok(picture) => {
                (text, good, trouble, seen) = (picture.text, picture.good, None, nines_cli::now());
            }
            Err(error) => {
                trouble = Some(format!("{error:#}"));
                good = false;
            }
        }
    }
}

/// The picture under a line about itself.
fn framed(text: &str, every: Duration, now: u64, seen: u64, trouble: Option<&str>) -> String {
    let head = match trouble {
        None => format!("{}   every {} s, and at once after each decision   q quits", utc(now), every.as_secs_f64()),
        Some(trouble) => format!("{}   {}: seen {} ago   q quits", utc(now), clean(trouble), age(now, seen)),
    };
    format!("{head}\n\n{text}")
}

/// Whether a key says to end; so does a keyboard that is gone.
fn quits(keys: Option<&mut io::StdinLock<'_>>) -> anyhow::Result<bool> {
    let Some(keys) = keys else { return Ok(false) };
    let mut typed = [0; 64];
    let length = keys.read(&mut typed).context("keyboard")?;
    Ok(length == 0 || typed[..length].iter().any(|key| matches!(key, b'q' | b'Q' | 0x04)))
}

/// Ends by the signal, as the one who sent it expects.
fn die(signal: Signal) -> anyhow::Result<Exit> {
    SigSet::from(signal).thread_unblock().context("signal")?;
    raise(signal).context("signal")?;
    Ok(Exit::Code(128 + u8::try_from(signal as i32).unwrap_or_default()))
}
