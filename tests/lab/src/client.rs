//! This machine's end of a session with a host's agent.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console::Watch;
use crate::frame::Decoder;
use crate::host::{PORTS, port_name};
use crate::message::{CHUNK, Nonce, Reply, Request, WINDOW};
use crate::state::{Lab, Node};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Exit(u8),
    /// Not done at all: an exit status and why.
    Failed(u8, String),
    TimedOut,
}

/// A port of a host's, ours alone until dropped.
#[derive(Debug)]
pub struct Session {
    node: Node,
    stream: UnixStream,
    _port: Flock<File>,
}

impl Session {
    /// Takes a free port; when all are in use, waits for one of them.
    ///
    /// # Errors
    /// When the host is off.
    pub fn open(lab: &Lab, node: Node) -> Result<Self> {
        node.of(lab)?;
        let off = || format!("{node}: is off");
        for port in 0..PORTS {
            let file = lock_file(lab, node, port).with_context(off)?;
            if let Ok(locked) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Self::on(lab, node, port, locked);
            }
        }
        let port = usize::try_from(std::process::id()).unwrap_or(0) % PORTS;
        let file = lock_file(lab, node, port).with_context(off)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Self::on(lab, node, port, locked)
    }

    fn on(lab: &Lab, node: Node, port: usize, locked: Flock<File>) -> Result<Self> {
        let stream =
            UnixStream::connect(lab.sockets(node).join(port_name(port))).with_context(|| format!("{node}: is off"))?;
        stream.set_nonblocking(true)?;
        Ok(Self { node, stream, _port: locked })
    }

    /// Runs a command; `sink` takes its output.
    ///
    /// # Errors
    /// When the host ends first, or `sink` fails.
    pub fn exec(
        self,
        argv: Vec<OsString>,
        input: Option<File>,
        deadline: Option<Instant>,
        sink: impl FnMut(Reply) -> Result<()>,
    ) -> Result<Outcome> {
        let nonce = nonce()?;
        self.converse(&Request::Exec { nonce, argv }, nonce, input, deadline, None, sink)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When the host ends first.
    pub fn push(self, file: File, mode: u32, path: OsString) -> Result<Outcome> {
        let nonce = nonce()?;
        self.converse(&Request::Push { nonce, mode, path }, nonce, Some(file), None, None, |_| Ok(()))
    }

    /// Waits until the host answers, or its console says that it never will.
    ///
    /// # Errors
    /// With the console's last lines when the host does not come up.
    pub fn ready(self, watch: &mut Watch, deadline: Instant) -> Result<Outcome> {
        let nonce = nonce()?;
        let request = Request::Exec { nonce, argv: vec!["true".into()] };
        self.converse(&request, nonce, None, Some(deadline), Some(watch), |_| Ok(()))
    }

    fn converse(
        self,
        request: &Request,
        nonce: Nonce,
        mut input: Option<File>,
        deadline: Option<Instant>,
        mut watch: Option<&mut Watch>,
        mut sink: impl FnMut(Reply) -> Result<()>,
    ) -> Result<Outcome> {
        let mut out = Vec::new();
        request.encode(&mut out);
        if input.is_none() {
            Request::End.encode(&mut out);
        }
        let (mut decoder, mut opened, mut credit) = (Decoder::default(), false, WINDOW);
        loop {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !out.is_empty());
            let mut fds = vec![PollFd::new(self.stream.as_fd(), wanted)];
            if let Some(watch) = &watch {
                fds.push(PollFd::new(watch.as_fd(), PollFlags::POLLIN));
            }
            let reads = input.as_ref().filter(|_| opened && credit > 0 && out.len() < CHUNK);
            if let Some(input) = reads {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            let Some(timeout) = until(deadline) else { return Ok(Outcome::TimedOut) };
            match poll(&mut fds, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            let input_ready = reads.is_some() && fds.last().is_some_and(|fd| fd.any().unwrap_or(false));
            if let Some(watch) = &mut watch {
                watch.look().with_context(|| self.node.to_string())?;
            }
            for reply in self.read(&mut decoder)? {
                match reply {
                    Reply::Opened(theirs) => opened = theirs == nonce,
                    // What is left of an earlier session.
                    _ if !opened => {}
                    Reply::Credit(count) => credit += usize::try_from(count).unwrap_or(WINDOW),
                    Reply::Exit(status) => return Ok(Outcome::Exit(status)),
                    Reply::Failed(status, why) => return Ok(Outcome::Failed(status, why)),
                    Reply::Out(_) | Reply::Err(_) => sink(reply)?,
                }
            }
            if let (true, Some(from)) = (input_ready, &mut input) {
                let mut bytes = [0; CHUNK];
                let length = from.read(&mut bytes[..credit.min(CHUNK)]).context("input")?;
                if length == 0 {
                    Request::End.encode(&mut out);
                    input = None;
                } else {
                    Request::Data(bytes[..length].to_vec()).encode(&mut out);
                    credit -= length;
                }
            }
            self.write(&mut out)?;
        }
    }

    fn read(&self, decoder: &mut Decoder) -> Result<Vec<Reply>> {
        let mut bytes = [0; CHUNK];
        let mut frames = Vec::new();
        match (&self.stream).read(&mut bytes) {
            Ok(0) => bail!("{}: went off", self.node),
            Ok(length) => decoder.feed(&bytes[..length], &mut frames),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).with_context(|| format!("{}: went off", self.node)),
        }
        Ok(frames.into_iter().filter_map(Reply::decode).collect())
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        while !out.is_empty() {
            match (&self.stream).write(out) {
                Ok(length) => drop(out.drain(..length)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(error) => return Err(error).with_context(|| format!("{}: went off", self.node)),
            }
        }
        Ok(())
    }
}

fn lock_file(lab: &Lab, node: Node, port: usize) -> std::io::Result<File> {
    File::create(lab.sockets(node).join(format!("{}.lock", port_name(port))))
}

fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut nonce)).context("/dev/urandom")?;
    Ok(nonce)
}

/// What poll may wait; none when the deadline has passed.
pub fn until(deadline: Option<Instant>) -> Option<PollTimeout> {
    let Some(deadline) = deadline else { return Some(PollTimeout::NONE) };
    let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    // Rounded up: poll must not return before the deadline, over and over.
    let millis = left.min(Duration::from_secs(60)).as_millis() + 1;
    Some(PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX)))
}
