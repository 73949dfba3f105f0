//! Cluster locks for the shell: take one, run a command, give it back.
#![forbid(unsafe_code)]

mod args;
mod run;

pub use args::Args;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nines_cli::{Exit, log};
use nines_proto::ctl::{Client, ClientError, ErrorKind, MAX_NOTE, Mode};
use nix::sys::signal::Signal;
use run::Ended;

/// Exit status when the lock was lost while the command ran.
const LOST: u8 = 125;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("clvm-lock");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("clvm-lock", || lock_and_run(&args)),
        Err(code) => code,
    }
}

fn lock_and_run(args: &Args) -> anyhow::Result<Exit> {
    let mode = args.mode.unwrap_or(if args.shared { Mode::Pr } else { Mode::Ex });
    let wait_ms = if args.nonblock { Some(0) } else { args.wait };
    let asked = Instant::now();
    let mut client = Client::connect(args.socket.as_deref())?;
    let generation = match client.lock(&args.resource, mode, wait_ms, &note(args)) {
        Ok(generation) => generation,
        Err(ClientError::Refused(failure)) => {
            log(format_args!("{failure}"));
            return Ok(match failure.kind {
                ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Inquorate => Exit::Code(args.conflict_exit_code),
                _ => Exit::Error,
            });
        }
        Err(error) => return Err(error.into()),
    };
    if args.verbose {
        let took = asked.elapsed().as_secs_f64();
        log(format_args!("{}: {mode} after {took:.6} seconds, generation {generation}", args.resource));
    }
    // From here on a signal is the command's; before, it ends the waiting in the ordinary way.
    let watched: Vec<Signal> = run::FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect();
    let signals = nines_sys::proc::signal_fd(&watched)?;
    let mut command = run::command(&args.argv, args.command.as_deref(), &args.resource, generation);
    let ended = run::run(&mut command, &client, &signals)?;
    if ended == Ended::LockLost {
        return Ok(Exit::Code(LOST));
    }
    give_back(args, &mut client);
    Ok(match ended {
        Ended::With(code) | Ended::NotStarted(code) => Exit::Code(code),
        Ended::LockLost => Exit::Code(LOST),
    })
}

/// Whoever comes after this command in a script must find the lock free. If that cannot be had
/// soon, the closing connection still frees it.
fn give_back(args: &Args, client: &mut Client) {
    let given = client.unlock_within(&args.resource, Duration::from_secs(10));
    match given {
        Ok(()) if args.verbose => log(format_args!("{}: given back", args.resource)),
        Ok(()) => {}
        Err(error) => log(format_args!("{}: give back: {error}", args.resource)),
    }
}

/// Who we are, for those who are refused: `pid 17: dd if=...`.
fn note(args: &Args) -> String {
    let mut note = format!("pid {}:", std::process::id());
    match &args.command {
        Some(line) => note += &format!(" {line}"),
        None => args.argv.iter().for_each(|word| note += &format!(" {}", word.to_string_lossy())),
    }
    let mut note: String = note.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
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
        let args = Args::try_parse_from(["clvm-lock", "r", "--", "a\nb", &long]).unwrap();
        let note = note(&args);
        assert!(note.len() <= MAX_NOTE && note.contains(": a b ü"), "{note}");
    }
}
