//! An agent's process: what it is told, what is kept of what it says, and its end, with
//! everything it started.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio, id};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nines_sys::proc::{die_with_parent, kill_process, open_process, schedule_ordinarily, unblock_signals};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How much is kept of standard output: all of any agent's metadata.
pub const MAX_OUTPUT: usize = 512 << 10;
/// How much is kept of the end of each stream, where the reason of a failure is.
const TAIL: usize = 4 << 10;
/// The longest last line that is handed on, in characters.
const MAX_LINE: usize = 200;
/// How much is still read of each stream after the process has ended: something it started may
/// go on writing.
const REST: usize = 1 << 20;
/// How long a killed process is waited for before a thread of its own does that: one that the
/// kernel cannot end yet must not hold up the next method.
const PATIENCE: Duration = Duration::from_secs(1);
/// In the environment of everything an agent starts, so that what leaves its process group is
/// found as well.
const MARK: &str = "FENCE_CALL";

/// A started agent. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    /// Until it has been waited for.
    child: Option<Child>,
    process: OwnedFd,
    mark: String,
    input: Option<(ChildStdin, Vec<u8>)>,
    streams: [Stream; 2],
}

impl Running {
    /// Starts the program with next to no environment, in a process group of its own, to be told
    /// `input` on its standard input.
    ///
    /// # Errors
    /// As fork(2) and execve(2).
    pub fn start(path: &Path, arguments: &[&str], input: String) -> io::Result<Self> {
        let mark = mark();
        let mut command = Command::new(path);
        command.args(arguments).current_dir("/").env_clear().env(MARK, &mark).env("LC_ALL", "C");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        unblock_signals(&mut command);
        schedule_ordinarily(&mut command);
        // A stale agent that goes on after its daemon could hit the node's next boot.
        die_with_parent(&mut command, Signal::SIGKILL);
        let mut child = command.spawn()?;
        let opened = Self::open(&mut child, input);
        let (process, input, streams) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Not watched, so not let run.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Self { child: Some(child), process, mark, input, streams })
    }

    #[expect(clippy::type_complexity, reason = "the parts of the one struct above")]
    fn open(child: &mut Child, input: String) -> io::Result<(OwnedFd, Option<(ChildStdin, Vec<u8>)>, [Stream; 2])> {
        let missing = || io::Error::other("no pipe");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let (out, err) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
        fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&out, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&err, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let streams = [Stream::new(OwnedFd::from(out), MAX_OUTPUT), Stream::new(OwnedFd::from(err), 0)];
        Ok((open_process(child.id())?, Some((stdin, input.into_bytes())), streams))
    }

    /// Talks and listens until the process has ended; `None` when it was killed because that was
    /// not so at `until`.
    ///
    /// # Errors
    /// As poll(2) and wait(2).
    pub fn hear(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.kill();
                return Ok(None);
            }
            if self.wait_for_news(left)? {
                for stream in &mut self.streams {
                    stream.read(REST);
                }
                return self.reap().map(Some);
            }
            for stream in &mut self.streams {
                stream.read(64 << 10);
            }
            self.tell();
        }
    }

    /// Whether the process has ended; `false` as well when there is something to read or write.
    fn wait_for_news(&self, left: Duration) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        let open = self.streams.iter().filter_map(|stream| stream.fd.as_ref());
        fds.extend(open.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        if let Some((stdin, _)) = &self.input {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        let milliseconds = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
        match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Ok(_) => Ok(fds[0].any() == Some(true)),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes what is left of the input; an agent need not read it.
    fn tell(&mut self) {
        let Some((stdin, rest)) = &mut self.input else { return };
        match stdin.write(rest) {
            Ok(written) => drop(rest.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => rest.clear(),
        }
        if rest.is_empty() {
            self.input = None;
        }
    }

    /// Kills what it left in its group, while its number is still its own, and waits for it.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.kill_group();
        let mut child = self.child.take().ok_or_else(|| io::Error::other("it has been waited for"))?;
        child.wait()
    }

    fn kill_group(&self) {
        if let Some(child) = &self.child
            && let Ok(group) = i32::try_from(child.id())
        {
            // ESRCH: nobody is left in it.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    /// Ends it with everything it started.
    fn kill(&mut self) {
        self.kill_group();
        kill_marked(&self.mark);
        let Some(mut child) = self.child.take() else { return };
        let mut fds = [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        let milliseconds = u16::try_from(PATIENCE.as_millis()).unwrap_or(u16::MAX);
        if matches!(poll(&mut fds, PollTimeout::from(milliseconds)), Ok(1..)) {
            let _ = child.wait();
        } else {
            thread::spawn(move || child.wait());
        }
        for stream in &mut self.streams {
            stream.read(REST);
        }
    }

    /// The last line it wrote, on standard error if there is one there, made printable.
    #[must_use]
    pub fn last_line(&self) -> String {
        let [output, errors] = &self.streams;
        errors.last_line().or_else(|| output.last_line()).unwrap_or_default()
    }

    /// Standard output as far as it is kept, and whether there was more.
    #[must_use]
    pub fn into_output(mut self) -> (Vec<u8>, bool) {
        let output = &mut self.streams[0];
        (std::mem::take(&mut output.head), output.length > MAX_OUTPUT)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Unique among the calls of all processes of this host.
fn mark() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

/// Kills every process with this mark in its environment, until none is left: one may be started
/// while the others are looked for.
fn kill_marked(mark: &str) {
    let wanted = format!("{MARK}={mark}");
    let marked = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    for _ in 0..10 {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut found = false;
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            // Opened first: from then on the number cannot come to mean another process.
            if let Ok(process) = open_process(pid)
                && marked(pid)
            {
                found |= kill_process(process.as_fd()).is_ok();
            }
        }
        if !found {
            return;
        }
    }
}

/// One of the agent's two output streams.
#[derive(Debug)]
struct Stream {
    /// Until its end.
    fd: Option<OwnedFd>,
    /// Its first bytes, as many as `keep`.
    head: Vec<u8>,
    keep: usize,
    /// Its last bytes.
    tail: VecDeque<u8>,
    length: usize,
}

impl Stream {
    fn new(fd: OwnedFd, keep: usize) -> Self {
        Self { fd: Some(fd), head: Vec::new(), keep, tail: VecDeque::new(), length: 0 }
    }

    /// Reads what is there, up to about `most` bytes.
    fn read(&mut self, most: usize) {
        let mut buffer = [0; 4096];
        let mut read = 0;
        while read < most
            && let Some(fd) = &self.fd
        {
            match nix::unistd::read(fd, &mut buffer) {
                Ok(0) => self.fd = None,
                Ok(count) => {
                    read += count;
                    self.keep(&buffer[..count]);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => self.fd = None,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        let room = self.keep - self.head.len();
        self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.tail.extend(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    fn last_line(&self) -> Option<String> {
        let (front, back) = self.tail.as_slices();
        let bytes = [front, back].concat();
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(printable.take(MAX_LINE).collect())
    }
}
