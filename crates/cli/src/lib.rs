//! What every `main` of the project shares: exit codes, error lines, readiness, clean text.
//!
//! stdout is data and belongs to the program; stderr is for people and every line on it
//! reads `program: object: cause`.
#![forbid(unsafe_code)]

mod age;
mod clean;
mod log;
mod ready;

pub use age::{age, now};
pub use clean::clean;
pub use log::{log, set_program};
pub use ready::{Announcement, Ready};

use std::io;
use std::process::ExitCode;

/// How a program ended, as the shell sees it (style: 0 done or yes, 1 no, 2 error or usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Ok,
    /// The answer is no: not found, lock held, not a member.
    No,
    /// Usage or failure; the reason has been printed.
    Error,
    /// A code the program passes through, for instance its child's.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::No => Self::from(1),
            Exit::Error => Self::from(2),
            Exit::Code(code) => Self::from(code),
        }
    }
}

/// An answer of "no" with its reason: exit status 1 rather than 2.
#[derive(Debug)]
pub struct No(pub String);

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for No {}

/// Runs a program's `main`, prints its error as `program: object: cause`, and maps the outcome
/// to an exit code. A reader that went away (`| head`) is silence, not an error.
pub fn run(program: &'static str, main: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    set_program(program);
    match main() {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("{error:#}"));
            if error.downcast_ref::<No>().is_some() { Exit::No.into() } else { Exit::Error.into() }
        }
    }
}

/// Parses the command line with clap: help and version go to stdout with exit 0, a usage error
/// goes to stderr with exit 2.
///
/// # Errors
/// The exit code to leave with when there is nothing left to run.
pub fn parse<P: clap::Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        // The only failure to print is a closed stream, which is silence.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_closed_stdout_is_silence() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("stdout");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }

    #[test]
    fn a_no_survives_its_context() {
        let error = Err::<(), _>(No("held by xen2".into())).context("V_vg").unwrap_err();
        assert!(error.downcast_ref::<No>().is_some());
        assert_eq!(format!("{error:#}"), "V_vg: held by xen2");
    }
}
