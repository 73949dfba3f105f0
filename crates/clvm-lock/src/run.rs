//! The command under the lock: its start, the signals meant for it, its end, and what happens
//! when the lock is lost while it runs.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_proto::ctl::Granted;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

/// Between SIGTERM and SIGKILL for a command that has lost its lock.
const GRACE: Duration = Duration::from_secs(2);
/// Signals that are handed on to the command.
pub const FORWARDED: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status for the shell.
    With(u8),
    /// Because the lock was lost.
    LockLost,
    /// It did not start: 127 when there is no such command, else 126.
    NotStarted(u8),
}

/// The command as the shell would start it, with the lock's facts in its environment.
pub fn command(argv: &[OsString], shell: Option<&str>, resource: &str, lock: &Granted) -> Command {
    let mut command = match (shell, argv.split_first()) {
        (None, Some((program, arguments))) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        (line, _) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(line.unwrap_or_default());
            command
        }
    };
    command.env("CLUSTER_LOCK_RESOURCE", resource).env("CLUSTER_LOCK_GENERATION", lock.generation.to_string());
    command.env_remove("CLUSTER_LOCK_VALUE").env_remove("CLUSTER_LOCK_VALUE_STATE");
    if let Some((value, valid)) = &lock.value {
        let state = if *valid { "valid" } else { "doubtful" };
        command.env("CLUSTER_LOCK_VALUE", value).env("CLUSTER_LOCK_VALUE_STATE", state);
    }
    // All that the command starts is stopped with it, except under a terminal, whose foreground it
    // has to be in.
    if !std::io::stdin().is_terminal() {
        command.process_group(0);
    }
    nines_sys::proc::unblock_signals(&mut command);
    // Whoever kills us outright frees the lock, and so must not leave the command behind.
    nines_sys::proc::die_with_parent(&mut command, Signal::SIGKILL);
    command
}

/// Runs `command` to its end, or until `lock` becomes readable: the connection that the lock
/// belongs to has nothing to say, so that is its end.
///
/// `signals` has [`FORWARDED`] and SIGCHLD.
///
/// # Errors
/// The kernel refuses to poll or wait.
pub fn run(command: &mut Command, lock: &impl AsFd, signals: &SignalFd) -> anyhow::Result<Ended> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            nines_cli::log(format_args!("{}: {error}", command.get_program().to_string_lossy()));
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Ended::NotStarted(code));
        }
    };
    let mut kill_at: Option<Instant> = None;
    let mut lost = false;
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if !lost {
            fds.push(PollFd::new(lock.as_fd(), PollFlags::POLLIN));
        }
        let timeout = match kill_at {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        let broken = fds.get(1).and_then(PollFd::revents).is_some_and(|flags| !flags.is_empty());
        while let Some(signal) = signals.read_signal().context("signalfd")? {
            if let Some(signal) = FORWARDED.iter().find(|known| **known as u32 == signal.ssi_signo) {
                signal_to(&child, *signal);
            }
        }
        // A command that ended while it still had the lock has ended well.
        if let Some(status) = child.try_wait().context("wait for the command")? {
            if lost {
                signal_to(&child, Signal::SIGKILL);
            }
            return Ok(if lost { Ended::LockLost } else { Ended::With(code(status)) });
        }
        if broken {
            lost = true;
            nines_cli::log(format_args!("the lock is lost: cluster-join is gone; stopping the command"));
            signal_to(&child, Signal::SIGTERM);
            kill_at = Some(Instant::now() + GRACE);
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            nines_cli::log(format_args!("the command did not stop within {} seconds: killed", GRACE.as_secs()));
            signal_to(&child, Signal::SIGKILL);
            let _ = child.kill();
            kill_at = None;
        }
    }
}

fn signal_to(child: &Child, signal: Signal) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    // The group bears its first member's number for as long as anyone is in it. The command itself
    // is meant where it has no group of its own, and has not been waited for then.
    if killpg(Pid::from_raw(pid), signal).is_err() && signal != Signal::SIGKILL {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A status as the shell shows it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
