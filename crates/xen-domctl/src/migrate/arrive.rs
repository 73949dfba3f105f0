//! One arriving domain: does what the target's state machine decides.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use nines_cli::log;
use nines_proto::session::{self, Session};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::link;
use super::message::{MAX_MESSAGE, Start, ToSource, ToTarget};
use super::target::{Action, End, Event, Found, Target};
use super::waits::{named, readable};
use crate::Context;
use crate::child::Running;
use crate::disk::Volume;
use crate::lock::Cluster;
use crate::state::{self, RunDir};
use crate::volume::Active;
use crate::xl::{Xl, incoming};

/// How long the source may take to let go of the volumes, once it was told.
const LET_GO: Duration = Duration::from_secs(60);
/// How long a volume may stay open here after its copy has gone.
const CLOSE: Duration = Duration::from_secs(15);
/// From the end of its input to xl's own end, its copy destroyed.
const XL_ENDS: Duration = Duration::from_secs(60);
/// An xl that takes not one byte for so long is stuck.
const XL_STUCK: Duration = Duration::from_secs(180);
const QUEUE: usize = 32;

/// A session whose source has been let in.
pub struct Arrival<'a> {
    pub context: &'a Context,
    pub name: String,
    pub from: String,
    pub run: RunDir,
    pub cluster: Cluster,
    pub session: Session,
    /// Readable when the daemon ends.
    pub stopped: &'a PipeReader,
}

impl Arrival<'_> {
    pub fn run(self) -> anyhow::Result<()> {
        let Session { sender, mut receiver, .. } = self.session;
        // Nothing is here yet that would have to be undone.
        let first = receiver.receive(MAX_MESSAGE).with_context(|| self.from.clone())?;
        let Some(first) = first else { bail!("{}: the connection was closed", self.from) };
        let start = match ToTarget::decode(&first) {
            Ok(ToTarget::Start(start)) => start,
            Ok(_) => bail!("{}: it does not start with a start", self.from),
            Err(why) => bail!("{}: {why}", self.from),
        };
        let volumes = start.volumes().map_err(|why| anyhow!("{}: {why}", self.from))?;
        let machine = Target::new(start.offer);

        let (events, inputs) = mpsc::sync_channel(QUEUE);
        let (questions, asked) = mpsc::channel();
        let (peer, out) = (self.from.clone(), events.clone());
        named("peer", move || {
            link::pump(receiver, &peer, ToTarget::decode, |message| {
                out.send(match message {
                    Ok(message) => Event::Peer(message),
                    Err(why) => Event::PeerGone(why),
                })
                .is_ok()
            });
        })?;
        let (domain, to, out, cluster) = (self.name.clone(), self.from.clone(), events.clone(), self.cluster);
        named("cluster", move || answer(cluster, &domain, &to, &asked, &out))?;
        let (stopped, out) = (self.stopped.try_clone()?, events.clone());
        named("stop", move || {
            if readable(&[PollFd::new(stopped.as_fd(), PollFlags::POLLIN)]) {
                let _ = out.send(Event::Stop);
            }
        })?;
        let driver = Driver {
            name: self.name,
            xl: self.context.xl.clone(),
            vg_tool: self.context.vg_tool.clone(),
            run: self.run,
            start,
            volumes,
            sender,
            inputs,
            events,
            questions,
            input: None,
            hurry: None,
            timer: None,
            peer: self.from,
            broke: None,
        };
        driver.drive(machine)
    }
}

/// What is asked of the cluster, by the thread that waits for its answers.
enum Question {
    Accept(u64),
    OfferBack,
    RetractBack(u64),
    Unlock,
}

struct Driver {
    name: String,
    xl: Xl,
    vg_tool: crate::volume::VgTool,
    run: RunDir,
    start: Start,
    volumes: Vec<Volume>,
    sender: session::Sender,
    inputs: mpsc::Receiver<Event>,
    events: SyncSender<Event>,
    questions: Sender<Question>,
    /// xl's standard input.
    input: Option<File>,
    /// Closing it gives xl [`XL_ENDS`] to end.
    hurry: Option<PipeWriter>,
    timer: Option<Instant>,
    /// The other host, for people.
    peer: String,
    /// Why nothing can be sent any more.
    broke: Option<String>,
}

impl Driver {
    fn drive(mut self, mut machine: Target) -> anyhow::Result<()> {
        let mut actions = Vec::new();
        machine.begin(&mut actions);
        loop {
            for action in std::mem::take(&mut actions) {
                if let Action::Finish(end) = action {
                    self.sender.close();
                    return match end {
                        End::Running => {
                            log(format_args!("{}: runs here", self.name));
                            Ok(())
                        }
                        End::Failed(reason) => Err(anyhow!("not taken over: {reason}")),
                        End::Lost(reason) => Err(anyhow!("runs nowhere, start it with xen-domctl create: {reason}")),
                    };
                }
                self.act(action)?;
            }
            let event = match self.next() {
                Event::PeerGone(why) => Event::PeerGone(self.broke.take().unwrap_or(why)),
                event => event,
            };
            machine.step(event, &mut actions);
        }
    }

    fn next(&mut self) -> Event {
        let Some(timer) = self.timer else {
            // This struct holds a sender itself, so that the channel never closes.
            return self.inputs.recv().unwrap_or(Event::Retry);
        };
        match self.inputs.recv_timeout(timer.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.timer = None;
                Event::Retry
            }
        }
    }

    fn act(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Activate => {
                let (vg_tool, volumes, name) = (self.vg_tool.clone(), self.volumes.clone(), self.name.clone());
                let (run, start) = (self.run.clone(), self.start.clone());
                self.later(move |events| {
                    let ready = prepare(&run, &name, &start)
                        .and_then(|()| vg_tool.set_all(&volumes, Active::Shared, Duration::ZERO))
                        .map_err(|error| format!("{error:#}"));
                    let _ = events.send(Event::Activated(ready));
                })?;
            }
            Action::StartXl => {
                if let Err(error) = self.start_xl() {
                    log(format_args!("{}: {error:#}", self.name));
                    self.later(|events| {
                        let _ = events.send(Event::XlExited);
                    })?;
                }
            }
            Action::ToXl(bytes) => {
                let written = self.input.as_mut().map_or(Ok(()), |input| write_within(input, &bytes, XL_STUCK));
                if let Err(error) = written {
                    log(format_args!("{}: xl migrate-receive: {error}", self.name));
                    self.close_xl();
                }
            }
            Action::CloseXl => self.close_xl(),
            Action::Send(message) => self.send(&message),
            Action::Accept(offer) => self.ask(Question::Accept(offer)),
            Action::OfferBack => self.ask(Question::OfferBack),
            Action::RetractBack(offer) => self.ask(Question::RetractBack(offer)),
            Action::Unlock => self.ask(Question::Unlock),
            Action::Destroy => {
                let (xl, name) = (self.xl.clone(), self.name.clone());
                self.later(move |events| {
                    let done = xl.destroy(&name).map_err(|error| format!("{error:#}"));
                    let _ = events.send(Event::Destroyed(done));
                })?;
            }
            Action::Inspect => {
                let (xl, name) = (self.xl.clone(), self.name.clone());
                self.later(move |events| {
                    let found = inspect(&xl, &name).map_err(|error| format!("{error:#}"));
                    let _ = events.send(Event::Inspected(found));
                })?;
            }
            Action::VolumesExclusive => {
                self.volumes(Active::Exclusive, LET_GO, Event::VolumesExclusive)?;
            }
            Action::VolumesOff => {
                if let Err(error) = self.run.forget(&self.name) {
                    log(format_args!("{error:#}"));
                }
                self.volumes(Active::No, CLOSE, Event::VolumesOff)?;
            }
            Action::Later(delay) => self.timer = Some(Instant::now() + delay),
            Action::Log(text) => log(format_args!("{}: {text}", self.name)),
            Action::Finish(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, message: &ToSource) {
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

    fn later(&self, work: impl FnOnce(&SyncSender<Event>) + Send + 'static) -> io::Result<()> {
        let events = self.events.clone();
        named("work", move || work(&events))
    }

    fn volumes(
        &self,
        active: Active,
        limit: Duration,
        event: impl Fn(Result<(), String>) -> Event + Send + 'static,
    ) -> io::Result<()> {
        let (vg_tool, volumes) = (self.vg_tool.clone(), self.volumes.clone());
        self.later(move |events| {
            let done = vg_tool.set_all(&volumes, active, limit).map_err(|error| format!("{error:#}"));
            let _ = events.send(event(done));
        })
    }

    fn start_xl(&mut self) -> anyhow::Result<()> {
        let mut command = self.xl.program.command(&["migrate-receive"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(command, "xl")?;
        let input = running.child.stdin.take().map(OwnedFd::from);
        let output = running.child.stdout.take();
        let (Some(input), Some(mut output)) = (input, output) else { bail!("xl migrate-receive: no pipes to it") };
        fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.input = Some(input.into());
        let (hurried, hurry) = io::pipe()?;
        self.hurry = Some(hurry);
        let events = self.events.clone();
        named("xl", move || {
            let mut buffer = [0; 512];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if events.send(Event::XlOut(buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::XlClosed);
        })?;
        self.later(move |events| {
            if let Err(error) = running.wait_unless(hurried.as_fd(), XL_ENDS) {
                log(format_args!("xl migrate-receive: {error:#}"));
            }
            let _ = events.send(Event::XlExited);
        })?;
        Ok(())
    }

    fn close_xl(&mut self) {
        self.input = None;
        self.hurry = None;
    }
}

/// What a domain needs besides its volumes; its configuration is kept from here on.
fn prepare(run: &RunDir, name: &str, start: &Start) -> anyhow::Result<()> {
    let config = run.config(name);
    let domain = state::parse(start.config.as_bytes(), &config, |_| true)?;
    if domain.name != name {
        bail!("its configuration is that of {}", domain.name);
    }
    if let Some(missing) = start.paths.iter().find(|path| !Path::new(path).exists()) {
        bail!("its disk {missing} is not on this host");
    }
    run.write(name, &domain.to_xl()).map(drop)
}

fn inspect(xl: &Xl, name: &str) -> anyhow::Result<Found> {
    let rows = xl.find(name)?;
    Ok(if let Some(row) = rows.iter().find(|row| row.name == name) {
        // xl renames it before it lets it run, and may have ended in between.
        if row.state.contains('p') {
            xl.unpause(row.id)?;
        }
        Found::Named
    } else if rows.iter().any(|row| row.name == incoming(name)) {
        Found::Incoming
    } else {
        Found::Nothing
    })
}

/// Asks the cluster, one question after the other, over one connection.
fn answer(mut cluster: Cluster, domain: &str, from: &str, asked: &mpsc::Receiver<Question>, out: &SyncSender<Event>) {
    for question in asked {
        let event = match question {
            Question::Accept(offer) => Event::Accepted(cluster.accept(domain, offer)),
            Question::OfferBack => Event::OfferedBack(cluster.offer(domain, from)),
            Question::RetractBack(offer) => Event::RetractedBack(cluster.retract(domain, offer)),
            Question::Unlock => Event::Unlocked(cluster.release(domain).map_err(|error| format!("{error:#}"))),
        };
        if out.send(event).is_err() {
            break;
        }
    }
}

/// Writes to a pipe that may be full, for as long as its reader takes something now and then.
fn write_within(file: &mut File, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
                match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], timeout) {
                    Ok(0) => {
                        let seconds = patience.as_secs();
                        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("took nothing for {seconds} s")));
                    }
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_takes_nothing_is_given_up() {
        let (reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut file = File::from(writer);
        let error = write_within(&mut file, &[0; 1 << 20], Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
        assert_eq!(write_within(&mut file, &[0], Duration::ZERO).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_configuration_of_another_domain_or_a_missing_disk_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDir::at(directory.path().into()).unwrap();
        let mut start = Start {
            offer: 1,
            config: "name = \"g\"\nkernel = \"/k\"\n".into(),
            volumes: Vec::new(),
            paths: vec!["/nonexistent/disk".into()],
        };
        let refused = |name: &str, start: &Start| format!("{:#}", prepare(&run, name, start).unwrap_err());
        assert_eq!(refused("other", &start), "its configuration is that of g");
        assert_eq!(refused("g", &start), "its disk /nonexistent/disk is not on this host");
        start.paths.clear();
        prepare(&run, "g", &start).unwrap();
        assert!(run.read("g").unwrap().is_some());
        start.config = "name = 7".into();
        assert!(refused("g", &start).ends_with("/g.cfg:1:8: `name' is a string"));
    }
}
