//! One command: its three streams, its end, and its death when nobody wants it any more.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Want, set_blocking};
use crate::message::{CHUNK, Reply};

/// What a command finds in its environment. The last one: there is no udevd in a lab host, so
/// dmsetup and lvm have to make the nodes in /dev themselves.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    ("LC_ALL", "C"),
    ("DM_DISABLE_UDEV", "1"),
];

pub struct Exec {
    group: Pid,
    stdin: Option<ChildStdin>,
    /// Bytes for stdin that it has not taken; the sender's window bounds them.
    waiting: VecDeque<u8>,
    ended: bool,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The exit status arrives here as one byte.
    exit: PipeReader,
    over: bool,
}

impl Exec {
    /// Starts a command in a process group of its own; an error comes with its exit status.
    pub fn start(argv: &[OsString]) -> Result<Self, (u8, String)> {
        let (program, args) = argv.split_first().ok_or((2, "no command".to_owned()))?;
        let failed = |error: std::io::Error| {
            let status = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            (status, format!("{}: {error}", program.to_string_lossy()))
        };
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let started = (|| {
            stdin.as_ref().map_or(Ok(()), |fd| set_blocking(fd, false))?;
            stdout.as_ref().map_or(Ok(()), |fd| set_blocking(fd, false))?;
            stderr.as_ref().map_or(Ok(()), |fd| set_blocking(fd, false))?;
            Ok(Self {
                group: Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?),
                stdin,
                waiting: VecDeque::new(),
                ended: false,
                stdout,
                stderr,
                exit: wait_in_background(child)?,
                over: false,
            })
        })();
        started.map_err(failed)
    }

    /// What to wait for: output only when there is room for it.
    pub fn wants(&self, room: bool) -> impl Iterator<Item = Want<'_>> {
        let input = self.stdin.as_ref().filter(|_| !self.waiting.is_empty());
        let out = self.stdout.as_ref().filter(|_| room);
        let err = self.stderr.as_ref().filter(|_| room);
        let exit = room.then_some(&self.exit);
        input
            .map(|fd| (fd.as_fd(), PollFlags::POLLOUT))
            .into_iter()
            .chain(out.map(|fd| (fd.as_fd(), PollFlags::POLLIN)))
            .chain(err.map(|fd| (fd.as_fd(), PollFlags::POLLIN)))
            .chain(exit.map(|fd| (fd.as_fd(), PollFlags::POLLIN)))
    }

    /// Bytes for the command's stdin.
    pub fn data(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// No more of them.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Moves what can be moved without waiting; true when the command has ended and all it wrote
    /// is in `out`. What it left in the background is not waited for.
    pub fn advance(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        self.feed(out);
        // Asked before the output is read: what an ended command wrote is then in its pipes.
        let exit = if out.len() < limit { exit_status(&self.exit) } else { None };
        let limit = if exit.is_some() { usize::MAX } else { limit };
        drain(&mut self.stdout, out, limit, Reply::Out);
        drain(&mut self.stderr, out, limit, Reply::Err);
        if let Some(status) = exit {
            self.over = true;
            Reply::Exit(status).encode(out);
        }
        self.over
    }

    fn feed(&mut self, out: &mut Vec<u8>) {
        let mut taken = 0;
        while let (Some(stdin), false) = (&mut self.stdin, self.waiting.is_empty()) {
            match stdin.write(self.waiting.as_slices().0) {
                Ok(length) => {
                    self.waiting.drain(..length);
                    taken += length;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                // The command reads no more: the rest has nowhere to go.
                Err(_) => self.stdin = None,
            }
        }
        if self.stdin.is_none() {
            taken += self.waiting.len();
            self.waiting.clear();
        }
        if self.ended && self.waiting.is_empty() {
            self.stdin = None;
        }
        if let Some(count) = u32::try_from(taken).ok().filter(|&count| count > 0) {
            Reply::Credit(count).encode(out);
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if !self.over {
            // It may have ended by itself just now.
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

/// Reaps the child in a thread; its status can be polled for.
fn wait_in_background(mut child: Child) -> std::io::Result<PipeReader> {
    let (reader, mut writer) = std::io::pipe()?;
    std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        let status = child.wait().map_or(255, shell_status);
        // The session may be gone; then nobody asks.
        let _ = writer.write_all(&[status]);
    })?;
    set_blocking(&reader, false)?;
    Ok(reader)
}

fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn exit_status(mut pipe: &PipeReader) -> Option<u8> {
    let mut status = [0];
    match pipe.read(&mut status) {
        Ok(1) => Some(status[0]),
        Ok(_) => Some(255),
        Err(_) => None,
    }
}

fn drain(stream: &mut Option<impl Read>, out: &mut Vec<u8>, limit: usize, reply: impl Fn(Vec<u8>) -> Reply) {
    let mut bytes = [0; CHUNK];
    while let (Some(from), true) = (stream.as_mut(), out.len() < limit) {
        match from.read(&mut bytes) {
            Ok(0) => *stream = None,
            Ok(length) => reply(bytes[..length].to_vec()).encode(out),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => *stream = None,
        }
    }
}
