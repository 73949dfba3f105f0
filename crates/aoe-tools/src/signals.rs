//! Ending in an orderly way when told to.

use std::time::Duration;

use nines_sys::proc::signal_fd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use nix::sys::signalfd::SignalFd;
use std::os::fd::AsFd;

/// The signals that end a program, kept until it asks for them.
#[derive(Debug)]
pub struct Signals(SignalFd);

const ENDING: [Signal; 5] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGALRM];

impl Signals {
    /// Keeps them from now on. Call it before any thread exists.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hold() -> anyhow::Result<Self> {
        Ok(Self(signal_fd(&ENDING).map_err(|error| anyhow::anyhow!("signals: {error}"))?))
    }

    /// The one that came, if one did.
    #[must_use]
    pub fn take(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }

    /// The same, waiting for one so long.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<Signal> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // Interrupted is as good as over: the caller looks and waits again.
        let _ = poll(&mut polled, patience);
        self.take()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ends by the signal, as it would have without [`Signals`]. Returns if it was ignored.
pub fn end_by(signal: Signal) {
    let one: SigSet = [signal].into_iter().collect();
    // It stays pending until it is let through.
    let _ = raise(signal);
    let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&one), None);
}
