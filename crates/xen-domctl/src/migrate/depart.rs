//! One departing domain: does what the source's state machine decides, with threads for everything
//! that can block.

use std::fs::File;
use std::io::{self, IsTerminal, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use anyhow::bail;
use nines_cli::log;
use nines_proto::session::{self, CHUNK, Session};
use nix::poll::{PollFd, PollFlags};

use super::handshake;
use super::link;
use super::message::{ToSource, ToTarget};
use super::source::{Action, End, Event, Source};
use super::transport::{Stream, Transport};
use super::waits::{named, readable};
use crate::Context;
use crate::child::Running;
use crate::disk::Volume;
use crate::lock::Cluster;
use crate::volume::Active;

/// How long the target may take to let go of the volumes, once it was told.
const LET_GO: Duration = Duration::from_secs(60);
/// How long a volume may stay open here after its domain has gone.
const CLOSE: Duration = Duration::from_secs(15);
/// Pieces of memory on their way between two threads.
const QUEUE: usize = 32;
/// Between two lines of progress on a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// What the main thread hears.
enum Input {
    Event(Event),
    Transport(Stream),
}

/// What is asked of the cluster, by the thread that waits for its answers.
enum Question {
    Offer,
    Retract(u64),
    AcceptBack(u64),
}

pub struct Moved {
    pub end: End,
    pub bytes: u64,
    /// From the target's "ready" to its "runs".
    pub paused: Option<Duration>,
}

pub struct Driver<'a> {
    context: &'a Context,
    name: String,
    volumes: Vec<Volume>,
    sender: session::Sender,
    inputs: mpsc::Receiver<Input>,
    events: SyncSender<Input>,
    questions: Sender<Question>,
    transport: Option<Transport>,
    /// xl's stream, once its command has come.
    stream: Option<(File, UnixStream, PipeWriter)>,
    /// xl's stream is to be closed when it comes.
    closed: bool,
    /// For xl, before its command has come.
    unsent: Vec<u8>,
    timer: Option<Instant>,
    /// The other host, for people.
    peer: String,
    /// Why nothing can be sent any more.
    broke: Option<String>,
    bytes: u64,
    ready: Option<Instant>,
    paused: Option<Duration>,
}

impl<'a> Driver<'a> {
    pub fn new(
        context: &'a Context,
        name: &str,
        node: &str,
        volumes: &[Volume],
        cluster: Cluster,
        session: Session,
        transport: Transport,
    ) -> anyhow::Result<Self> {
        let (events, inputs) = mpsc::sync_channel(QUEUE);
        let (questions, asked) = mpsc::channel();
        let Session { sender, receiver, .. } = session;

        let (peer, out) = (node.to_owned(), events.clone());
        named("peer", move || {
            link::pump(receiver, &peer, ToSource::decode, |message| {
                let event = match message {
                    Ok(message) => Event::Peer(message),
                    Err(why) => Event::PeerGone(why),
                };
                out.send(Input::Event(event)).is_ok()
            });
        })?;
        let (domain, to, out) = (name.to_owned(), node.to_owned(), events.clone());
        named("cluster", move || answer(cluster, &domain, &to, &asked, &out))?;
        let (signals, out) = (context.signals.as_fd().try_clone_to_owned()?, events.clone());
        named("signals", move || {
            // Readable once is enough: the second Ctrl-C wants what the first did.
            if readable(&[PollFd::new(signals.as_fd(), PollFlags::POLLIN)]) {
                let _ = out.send(Input::Event(Event::Signal));
            }
        })?;
        Ok(Self {
            context,
            name: name.into(),
            volumes: volumes.into(),
            sender,
            inputs,
            events,
            questions,
            transport: Some(transport),
            stream: None,
            closed: false,
            unsent: Vec::new(),
            timer: None,
            peer: node.into(),
            broke: None,
            bytes: 0,
            ready: None,
            paused: None,
        })
    }

    pub fn drive(mut self, mut machine: Source) -> anyhow::Result<Moved> {
        let mut actions = Vec::new();
        let mut progress = Progress::new(&self.name);
        machine.begin(&mut actions);
        loop {
            for action in std::mem::take(&mut actions) {
                if let Action::Finish(end) = action {
                    progress.end();
                    self.sender.close();
                    return Ok(Moved { end, bytes: self.bytes, paused: self.paused });
                }
                self.act(action)?;
            }
            progress.show(self.bytes);
            match self.next() {
                Input::Event(Event::PeerGone(why)) => {
                    machine.step(Event::PeerGone(self.broke.take().unwrap_or(why)), &mut actions);
                }
                Input::Event(event) => machine.step(event, &mut actions),
                Input::Transport(stream) => self.connected(stream)?,
            }
        }
    }

    /// The next thing that happened, the timer included.
    fn next(&mut self) -> Input {
        let retry = Input::Event(Event::Retry);
        let Some(timer) = self.timer else {
            // This struct holds a sender itself, so that the channel never closes.
            return self.inputs.recv().unwrap_or(retry);
        };
        match self.inputs.recv_timeout(timer.saturating_duration_since(Instant::now())) {
            Ok(input) => input,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.timer = None;
                retry
            }
        }
    }

    fn act(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Share => self.volumes(Active::Shared, CLOSE, Event::Shared)?,
            Action::VolumesOff => self.volumes(Active::No, CLOSE, Event::VolumesOff)?,
            Action::VolumesBack => self.volumes(Active::Exclusive, LET_GO, Event::VolumesBack)?,
            Action::Offer => self.ask(Question::Offer),
            Action::Retract(offer) => self.ask(Question::Retract(offer)),
            Action::AcceptBack(offer) => self.ask(Question::AcceptBack(offer)),
            Action::Send(message) => self.send(&message),
            Action::StartXl => {
                if let Err(error) = self.start_xl() {
                    log(format_args!("{error:#}"));
                    self.later(|events| {
                        let _ = events.send(Input::Event(Event::XlExited));
                    })?;
                }
            }
            Action::ToXl(bytes) => {
                self.paused = self.ready.map(|ready| ready.elapsed());
                if bytes == handshake::READY {
                    self.ready = Some(Instant::now());
                }
                self.tell_xl(&bytes);
            }
            Action::CloseXl => {
                self.closed = true;
                self.stream = None;
            }
            Action::Later(delay) => self.timer = Some(Instant::now() + delay),
            Action::DestroyAway => {
                let (xl, name) = (self.context.xl.clone(), self.name.clone());
                self.later(move |events| {
                    let done = xl.destroy(&name).map_err(|error| format!("{error:#}"));
                    let _ = events.send(Input::Event(Event::AwayDestroyed(done)));
                })?;
            }
            Action::Log(text) => log(format_args!("{}: {text}", self.name)),
            Action::Finish(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, message: &ToTarget) {
        if let ToTarget::Data(bytes) = message {
            self.bytes += bytes.len() as u64;
        }
        if let Err(error) = self.sender.send(&message.encode()) {
            // The receiving thread reports the end, but sees our closing it only.
            self.broke.get_or_insert_with(|| format!("{}: the connection broke: {error}", self.peer));
            self.sender.close();
        }
    }

    fn ask(&self, question: Question) {
        // The answering thread ends after this one only.
        let _ = self.questions.send(question);
    }

    /// Something that takes its time, with its answer as an event.
    fn later(&self, work: impl FnOnce(&SyncSender<Input>) + Send + 'static) -> io::Result<()> {
        let events = self.events.clone();
        named("work", move || work(&events))
    }

    fn volumes(
        &self,
        active: Active,
        limit: Duration,
        event: impl Fn(Result<(), String>) -> Event + Send + 'static,
    ) -> io::Result<()> {
        let (vg_tool, volumes) = (self.context.vg_tool.clone(), self.volumes.clone());
        self.later(move |events| {
            let done = vg_tool.set_all(&volumes, active, limit).map_err(|error| format!("{error:#}"));
            let _ = events.send(Input::Event(event(done)));
        })
    }

    fn start_xl(&mut self) -> anyhow::Result<()> {
        let Some(transport) = self.transport.take() else { bail!("xl is started twice") };
        let rune = transport.rune()?;
        let mut command = self.context.xl.program.command(&["migrate", "-s", "", &self.name, &rune]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running::start(command, "xl")?;
        self.later(move |events| {
            // Never ended by us: an xl that is killed leaves its domain suspended.
            if let Err(error) = running.wait() {
                log(format_args!("xl migrate: {error}"));
            }
            let _ = events.send(Input::Event(Event::XlExited));
        })?;
        self.later(move |events| match transport.accept() {
            Ok(stream) => drop(events.send(Input::Transport(stream))),
            Err(error) => log(format_args!("xl migrate's stream: {error:#}")),
        })?;
        Ok(())
    }

    fn connected(&mut self, stream: Stream) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let Stream { from_xl, to_xl, command } = stream;
        let (cancelled, cancel) = io::pipe()?;
        let events = self.events.clone();
        named("xl", move || read_xl(from_xl, &cancelled, &events))?;
        self.stream = Some((to_xl, command, cancel));
        let unsent = std::mem::take(&mut self.unsent);
        self.tell_xl(&unsent);
        Ok(())
    }

    fn tell_xl(&mut self, bytes: &[u8]) {
        match &mut self.stream {
            // A few dozen bytes always fit a pipe; when xl is gone its end is reported apart.
            Some((to_xl, ..)) => drop(to_xl.write_all(bytes)),
            None => self.unsent.extend_from_slice(bytes),
        }
    }
}

/// Asks the cluster, one question after the other, over one connection.
fn answer(mut cluster: Cluster, domain: &str, to: &str, asked: &mpsc::Receiver<Question>, out: &SyncSender<Input>) {
    for question in asked {
        let event = match question {
            Question::Offer => Event::Offered(cluster.offer(domain, to)),
            Question::Retract(offer) => Event::Retracted(cluster.retract(domain, offer)),
            Question::AcceptBack(offer) => Event::TookBack(cluster.accept(domain, offer)),
        };
        if out.send(Input::Event(event)).is_err() {
            break;
        }
    }
}

/// Reads what xl writes until its end, or until `cancelled` is closed, which closes xl's end too.
fn read_xl(mut from_xl: File, cancelled: &io::PipeReader, events: &SyncSender<Input>) {
    // One Noise message holds the bytes and our kind of message.
    let mut buffer = vec![0; CHUNK - 1];
    loop {
        let fds = [PollFd::new(from_xl.as_fd(), PollFlags::POLLIN), PollFd::new(cancelled.as_fd(), PollFlags::POLLIN)];
        if !readable(&fds) {
            break;
        }
        match from_xl.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                if events.send(Input::Event(Event::XlData(buffer[..length].to_vec()))).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    drop(from_xl);
    let _ = events.send(Input::Event(Event::XlClosed));
}

/// One line on a terminal, rewritten.
struct Progress {
    name: String,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(name: &str) -> Self {
        Self { name: name.into(), started: Instant::now(), shown: None, terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, bytes: u64) {
        if self.terminal && bytes > 0 && self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS) {
            self.shown = Some(Instant::now());
            let seconds = self.started.elapsed().as_secs();
            // Only decoration: nothing to do when the terminal is gone.
            let _ = write!(io::stderr(), "\rxen-domctl: {}: {} MiB in {seconds} s ", self.name, bytes >> 20);
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}
