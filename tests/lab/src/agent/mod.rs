//! The agent in each host: one thread a virtio-serial port, one session a port at a time.
//!
//! A port is not a socket: nobody is told when the other end opens or closes it. A blocking write
//! waits for the other end, and a closed one shows as POLLHUP; both are used here.

mod exec;
mod push;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nines_cli::{Exit, log};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::{Decoder, EMPTY};
use crate::message::{CHUNK, Reply, Request};

use exec::Exec;
use push::Push;

/// Output is read from commands only while less than this waits for the port.
const OUT_LIMIT: usize = 128 * 1024;

/// Serves every port the lab gave this host, for ever.
///
/// # Errors
/// When there is no such port, or one fails.
pub fn main() -> Result<Exit> {
    let ports = ports(Path::new("/sys/class/virtio-ports"))?;
    if ports.is_empty() {
        bail!("no virtio-serial port named lab.N");
    }
    std::thread::scope(|scope| {
        for path in &ports {
            scope.spawn(move || {
                if let Err(error) = serve(path) {
                    log(format_args!("{}: {error:#}", path.display()));
                }
            });
        }
    });
    bail!("every port failed")
}

fn ports(sysfs: &Path) -> Result<Vec<PathBuf>> {
    let mut ports = Vec::new();
    for entry in fs::read_dir(sysfs).with_context(|| sysfs.display().to_string())? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.starts_with("lab.") {
            ports.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(ports)
}

fn serve(path: &Path) -> Result<()> {
    let port = OpenOptions::new().read(true).write(true).open(path)?;
    loop {
        // Returns when somebody has opened the other end.
        set_blocking(&port, true)?;
        (&port).write_all(&EMPTY)?;
        set_blocking(&port, false)?;
        Port { port: &port, decoder: Decoder::default(), out: Vec::new(), session: Session::Idle }.run()?;
    }
}

/// Switches a descriptor of ours between blocking and not.
fn set_blocking(fd: impl AsFd, blocking: bool) -> nix::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, !blocking);
    fcntl(&fd, FcntlArg::F_SETFL(flags)).map(drop)
}

enum Session {
    Idle,
    Exec(Exec),
    Push(Push),
}

struct Port<'a> {
    port: &'a File,
    decoder: Decoder,
    /// Encoded replies the port has not taken yet.
    out: Vec<u8>,
    session: Session,
}

impl Port<'_> {
    /// Serves until the other end is closed; a command that still runs then is killed.
    fn run(&mut self) -> Result<()> {
        loop {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !self.out.is_empty());
            let mut fds = vec![PollFd::new(self.port.as_fd(), wanted)];
            if let Session::Exec(exec) = &self.session {
                fds.extend(exec.wants(self.out.len() < OUT_LIMIT).map(|(fd, events)| PollFd::new(fd, events)));
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            let ready = fds[0].revents().unwrap_or(PollFlags::empty());
            if ready.contains(PollFlags::POLLHUP) {
                return Ok(());
            }
            if ready.contains(PollFlags::POLLIN) && !self.read()? {
                return Ok(());
            }
            if let Session::Exec(exec) = &mut self.session
                && exec.advance(&mut self.out, OUT_LIMIT)
            {
                self.session = Session::Idle;
            }
            self.write()?;
        }
    }

    /// Takes what arrived; false when the other end is gone.
    fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; CHUNK];
        let length = match self.port.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut frames = Vec::new();
        self.decoder.feed(&bytes[..length], &mut frames);
        for request in frames.into_iter().filter_map(Request::decode) {
            self.take(request);
        }
        Ok(true)
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Exec { nonce, argv } => {
                self.session = Session::Idle;
                self.out.clear();
                self.say(&Reply::Opened(nonce));
                match Exec::start(&argv) {
                    Ok(exec) => self.session = Session::Exec(exec),
                    Err((status, why)) => self.say(&Reply::Failed(status, why)),
                }
            }
            Request::Push { nonce, mode, path } => {
                self.session = Session::Idle;
                self.out.clear();
                self.say(&Reply::Opened(nonce));
                match Push::start(mode, path.into()) {
                    Ok(push) => self.session = Session::Push(push),
                    Err(error) => self.say(&Reply::Failed(2, format!("{error:#}"))),
                }
            }
            Request::Data(bytes) => match &mut self.session {
                Session::Idle => {}
                Session::Exec(exec) => exec.data(&bytes),
                Session::Push(push) => match push.data(&bytes) {
                    Ok(()) => self.say(&Reply::Credit(u32::try_from(bytes.len()).unwrap_or(u32::MAX))),
                    Err(error) => {
                        self.session = Session::Idle;
                        self.say(&Reply::Failed(2, format!("{error:#}")));
                    }
                },
            },
            Request::End => match std::mem::replace(&mut self.session, Session::Idle) {
                Session::Idle => {}
                Session::Exec(mut exec) => {
                    exec.end();
                    self.session = Session::Exec(exec);
                }
                Session::Push(push) => self.say(&match push.finish() {
                    Ok(()) => Reply::Exit(0),
                    Err(error) => Reply::Failed(2, format!("{error:#}")),
                }),
            },
        }
    }

    fn say(&mut self, reply: &Reply) {
        reply.encode(&mut self.out);
    }

    fn write(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            match self.port.write(&self.out) {
                Ok(length) => drop(self.out.drain(..length)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A descriptor and what to wait for on it.
type Want<'a> = (BorrowedFd<'a>, PollFlags);
