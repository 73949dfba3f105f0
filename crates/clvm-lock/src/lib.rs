//! Cluster locks for the shell: take one, run a command, give it back; or keep it in a session.
#![forbid(unsafe_code)]

mod args;
mod hold;
mod list;
mod run;

pub use args::Command;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use args::Run;
use nines_cli::{Exit, log};
use nines_proto::ctl::{Client, ClientError, ErrorKind, MAX_NOTE, Whose};
use nix::sys::signal::Signal;
use run::Ended;

/// Exit status when the lock was lost while the command ran.
const LOST: u8 = 125;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("clvm-lock");
    let words: Vec<OsString> = std::env::args_os().collect();
    match Command::parse(&words) {
        Ok(command) => nines_cli::run("clvm-lock", || match &command {
            Command::Run(args) => lock_and_run(args),
            Command::Take(args) => hold::take(args),
            Command::Convert(args) => hold::convert(args),
            Command::Drop(args) => hold::give_back(args),
            Command::List(args) => list::list(args),
        }),
        Err(error) => {
            // The only failure to print is a closed stream, which is silence.
            let _ = error.print();
            if error.use_stderr() { Exit::Error.into() } else { ExitCode::SUCCESS }
        }
    }
}

/// The exit status for a refusal: `conflict` when someone or something else is in the way.
fn refused(kind: ErrorKind, conflict: u8) -> Exit {
    match kind {
        ErrorKind::Busy
        | ErrorKind::Timeout
        | ErrorKind::Inquorate
        | ErrorKind::Deadlock
        | ErrorKind::NotHeld
        | ErrorKind::Cancelled => Exit::Code(conflict),
        _ => Exit::Error,
    }
}

fn lock_and_run(args: &Run) -> anyhow::Result<Exit> {
    let (mode, resource) = (args.mode(), &args.resource);
    let asked = Instant::now();
    let mut client = Client::connect(args.ask.at.socket.as_deref())?;
    let lock = match client.lock_as(Whose::Connection, resource, mode, args.ask.wait_ms(), &purpose(args)) {
        Ok(lock) => lock,
        Err(ClientError::Refused(failure)) => {
            log(format_args!("{failure}"));
            return Ok(refused(failure.kind, args.ask.conflict_exit_code));
        }
        Err(error) => return Err(error.into()),
    };
    if args.verbose {
        let took = asked.elapsed().as_secs_f64();
        log(format_args!("{resource}: {mode} after {took:.6} seconds, generation {}", lock.generation));
    }
    // From here on a signal is the command's; before, it ends the waiting in the ordinary way.
    let watched: Vec<Signal> = run::FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect();
    let signals = nines_sys::proc::signal_fd(&watched)?;
    let mut command = run::command(&args.argv, args.command.as_deref(), resource, &lock);
    let ended = run::run(&mut command, &client, &signals)?;
    if ended == Ended::LockLost {
        return Ok(Exit::Code(LOST));
    }
    let value = args.value.as_deref().filter(|_| ended == Ended::With(0));
    give_back(args, &mut client, value);
    Ok(match ended {
        Ended::With(code) | Ended::NotStarted(code) => Exit::Code(code),
        Ended::LockLost => Exit::Code(LOST),
    })
}

/// Whoever comes after this command in a script must find the lock free. If that cannot be had
/// soon, the closing connection still frees it.
fn give_back(args: &Run, client: &mut Client, value: Option<&str>) {
    let given = client.unlock_as(Whose::Connection, &args.resource, value, Some(Duration::from_secs(10)));
    match given {
        Ok(()) if args.verbose => log(format_args!("{}: given back", args.resource)),
        Ok(()) => {}
        Err(error) => log(format_args!("{}: give back: {error}", args.resource)),
    }
}

/// Who we are, for those who are refused: `pid 17: dd if=...`.
fn purpose(args: &Run) -> String {
    let mut text = format!("pid {}:", std::process::id());
    match &args.command {
        Some(line) => text += &format!(" {line}"),
        None => args.argv.iter().for_each(|word| text += &format!(" {}", word.to_string_lossy())),
    }
    note(&text)
}

/// As much of a text as a note may have.
fn note(text: &str) -> String {
    let mut note: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fits = |length: &usize| note.is_char_boundary(*length);
    let length = (0..=MAX_NOTE.min(note.len())).rev().find(fits).unwrap_or_default();
    note.truncate(length);
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_note_is_short_and_printable() {
        let long = "ü".repeat(300);
        let args = Run::try_parse_from(["clvm-lock", "r", "--", "a\nb", &long]).unwrap();
        let note = purpose(&args);
        assert!(note.len() <= MAX_NOTE && note.contains(": a b ü"), "{note}");
    }
}
