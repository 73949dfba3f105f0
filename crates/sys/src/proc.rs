//! This process: the signals it waits for and what becomes of its children.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocks `signals` in this thread, and so in every thread it starts later, and returns a
/// descriptor that is readable when one of them arrives. Call it before any thread exists.
///
/// # Errors
/// The kernel refuses the mask or the descriptor.
pub fn signal_fd(signals: &[Signal]) -> io::Result<SignalFd> {
    let mask: SigSet = signals.iter().copied().collect();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Starts the child with no signal blocked, whatever this process waits for through
/// [`signal_fd`].
pub fn unblock_signals(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only pthread_sigmask runs, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)) }
}

/// Has the kernel send the child `signal` when the thread that started it dies, however it dies.
pub fn die_with_parent(command: &mut Command, signal: Signal) -> &mut Command {
    // SAFETY: between fork and exec only prctl(2) runs, which is async-signal-safe.
    unsafe { command.pre_exec(move || set_parent_death_signal(signal)) }
}

fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one integer argument and touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_the_signals_its_parent_waits_for() {
        let _fd = signal_fd(&[Signal::SIGUSR1]).unwrap();
        let mut command = Command::new("sh");
        unblock_signals(command.args(["-c", "kill -USR1 $$; echo survived"]));
        let output = command.output().unwrap();
        assert_eq!((output.status.success(), output.stdout.as_slice()), (false, &b""[..]));
    }
}
