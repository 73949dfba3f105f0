//! Runs other programs with a deadline; their stderr is relayed line by line with their name.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Most of a program's output that is kept.
const MAX_OUTPUT: u64 = 16 << 20;
/// Longest line of stderr relayed in one piece.
const MAX_LINE: u64 = 4096;
/// From a polite end to a forced one.
const GRACE: Duration = Duration::from_secs(5);
/// A daemon that a program left behind may keep its stderr open; nobody waits for it longer.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A program, its name in messages, and the signals that call off waiting for it.
#[derive(Debug, Clone)]
pub struct Program {
    path: OsString,
    label: &'static str,
}

impl Program {
    /// `$variable` if set, else `name` from the PATH.
    #[must_use]
    pub fn from_env(variable: &str, name: &'static str) -> Self {
        Self { path: std::env::var_os(variable).unwrap_or_else(|| name.into()), label: name }
    }

    /// A command for it that will be a process group of its own: the terminal's Ctrl-C is for us
    /// to act upon, not for it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).process_group(0);
        nines_sys::proc::unblock_signals(&mut command);
        command
    }

    /// Runs it to its end and answers with its stdout. `stop` becomes readable when it is to be
    /// called off.
    ///
    /// # Errors
    /// It could not be started, failed, or was ended because of the deadline or `stop`.
    pub fn run(&self, arguments: &[&str], limit: Duration, stop: Option<BorrowedFd<'_>>) -> anyhow::Result<Vec<u8>> {
        let what = || format!("{} {}", self.label, arguments.first().copied().unwrap_or_default());
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(command, self.label).with_context(what)?;
        let output = running.child.stdout.take().map(collect);
        let status = running.finish(limit, stop).with_context(what)?;
        let output = match output.map(|output| output.recv_timeout(AFTERMATH)) {
            Some(Ok(result)) => result.with_context(what)?,
            Some(Err(_)) if status.success() => bail!("{}: its output never ended", what()),
            _ => Vec::new(),
        };
        if status.success() { Ok(output) } else { Err(anyhow!("{}: {status}", what())) }
    }
}

/// A started program. Dropping it does not end it.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    /// Closed by the kernel when the child has ended.
    ended: io::PipeReader,
    relayed: Option<Receiver<()>>,
}

impl Running {
    /// Starts it; its stderr, when piped, is relayed under `label`.
    ///
    /// # Errors
    /// The program is not there or cannot be run.
    pub fn start(mut command: Command, label: &'static str) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| program)?;
        let relayed = child.stderr.take().map(|stderr| relay(stderr, label));
        let (ended, ending) = io::pipe()?;
        let pid = pid_of(&child)?;
        // WNOWAIT leaves the zombie, so that the pid stays ours until `finish` reaps it.
        thread::Builder::new().name(format!("wait-{label}")).spawn(move || {
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            drop(ending);
        })?;
        Ok(Self { child, ended, relayed })
    }

    /// Blocks until it has ended by itself.
    ///
    /// # Errors
    /// The kernel's refusal to wait for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.drain();
        Ok(status)
    }

    /// Waits for its end, at most `limit` and only until `stop` is readable; else ends it.
    ///
    /// # Errors
    /// It had to be ended.
    pub fn finish(&mut self, limit: Duration, stop: Option<BorrowedFd<'_>>) -> anyhow::Result<ExitStatus> {
        let refusal = match wait_for(self.ended.as_fd(), stop, Instant::now() + limit)? {
            Woken::Ended => return Ok(self.wait()?),
            Woken::Stopped => anyhow!("interrupted"),
            Woken::TimedOut => anyhow!("not done after {} s", limit.as_secs()),
        };
        self.end()?;
        Err(refusal)
    }

    /// Waits for its end by itself; once `hurry` is readable, for at most `grace` longer.
    ///
    /// # Errors
    /// It had to be ended.
    pub fn wait_unless(&mut self, hurry: BorrowedFd<'_>, grace: Duration) -> anyhow::Result<ExitStatus> {
        // A migration takes as long as it takes.
        let far = Instant::now() + Duration::from_secs(365 * 86_400);
        match wait_for(self.ended.as_fd(), Some(hurry), far)? {
            Woken::Ended => Ok(self.wait()?),
            Woken::Stopped | Woken::TimedOut => self.finish(grace, None),
        }
    }

    /// Asks its process group to end, then insists.
    ///
    /// # Errors
    /// The kernel's refusal to wait for it.
    pub fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let group = pid_of(&self.child)?;
        for (signal, grace) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, Duration::from_secs(60))] {
            // Its group may be gone already; the wait below tells.
            let _ = killpg(group, signal);
            if matches!(wait_for(self.ended.as_fd(), None, Instant::now() + grace)?, Woken::Ended) {
                break;
            }
        }
        Ok(self.wait()?)
    }

    fn drain(&mut self) {
        if let Some(relayed) = self.relayed.take() {
            let _ = relayed.recv_timeout(AFTERMATH);
        }
    }
}

enum Woken {
    Ended,
    Stopped,
    TimedOut,
}

fn wait_for(ended: BorrowedFd<'_>, stop: Option<BorrowedFd<'_>>, until: Instant) -> io::Result<Woken> {
    loop {
        let mut fds = vec![PollFd::new(ended, PollFlags::POLLIN)];
        fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait does not spin.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let woken = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        if woken(0) {
            return Ok(Woken::Ended);
        } else if woken(1) {
            return Ok(Woken::Stopped);
        } else if left.is_zero() {
            return Ok(Woken::TimedOut);
        }
    }
}

fn pid_of(child: &Child) -> anyhow::Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

fn collect(stdout: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.take(MAX_OUTPUT).read_to_end(&mut bytes);
        // Nobody listens any more when the program was given up on.
        let _ = sender.send(result.map(|_| bytes));
    });
    receiver
}

fn relay(stderr: impl Read + Send + 'static, label: &'static str) -> Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(1..) => {
                    let text = String::from_utf8_lossy(&line);
                    // libxl rewrites its progress line with carriage returns; the last state counts.
                    let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
                    if !text.is_empty() {
                        nines_cli::log(format_args!("{label}: {text}"));
                    }
                }
                Ok(0) | Err(_) => break,
            }
        }
        let _ = sender.send(());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh() -> Program {
        Program { path: "sh".into(), label: "sh" }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn output_and_failure_come_back() {
        assert_eq!(sh().run(&["-c", "echo yes"], LONG, None).unwrap(), b"yes\n");
        let error = sh().run(&["-c", "exit 3"], LONG, None).unwrap_err();
        assert_eq!(format!("{error:#}"), "sh -c: exit status: 3");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let started = Instant::now();
        let error = sh().run(&["-c", "exec sleep 60"], Duration::from_millis(50), None).unwrap_err();
        assert_eq!(format!("{error:#}"), "sh -c: not done after 0 s");
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn a_readable_descriptor_calls_it_off() {
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        let error = sh().run(&["-c", "exec sleep 60"], LONG, Some(reader.as_fd())).unwrap_err();
        assert_eq!(format!("{error:#}"), "sh -c: interrupted");
    }

    #[test]
    fn a_missing_program_is_named() {
        let missing = Program { path: "/nonexistent/xl".into(), label: "xl" };
        let error = missing.run(&["list"], LONG, None).unwrap_err();
        assert_eq!(format!("{error:#}"), "xl list: /nonexistent/xl: No such file or directory (os error 2)");
    }

    #[test]
    fn a_daemon_left_behind_does_not_hold_us_up() {
        let started = Instant::now();
        // The daemon keeps stderr only: as xl's does until it has opened its log.
        sh().run(&["-c", "sleep 20 >/dev/null & exit 0"], LONG, None).unwrap();
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
