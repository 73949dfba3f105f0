//! Volume groups and logical volumes in LVM2's format, cluster-locked.
//!
//! One program with LVM2's commands; which one is meant is its name or its first argument.
//!
//! ```text
//! opts, conf     the command line and lvm.conf
//! dev, scan      devices, and what is on each
//! groups         devices to volume groups: what counts, what is missing, what must not be touched
//! lock           this host's lock files, the cluster's locks
//! commit         text, precommit, commit
//! active         device-mapper
//! report         pvs, vgs, lvs
//! cmd            the commands
//! ```
#![forbid(unsafe_code)]

mod active;
mod alloc;
mod archive;
mod cmd;
mod commit;
mod conf;
mod dev;
mod groups;
mod help;
mod host;
mod lock;
mod opts;
mod report;
mod say;
mod scan;
mod session;
mod size;
mod stop;
mod target;

use std::path::Path;

use nines_cli::Exit;

use crate::session::Session;
use crate::stop::{NO_COMMAND, OK, Result, Stop};

/// Runs the command the command line names.
///
/// # Errors
/// stdout is closed.
pub fn main() -> anyhow::Result<Exit> {
    let line: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let (program, args) = line.split_first().map_or(("vg-tool", &[][..]), |(program, args)| (program.as_str(), args));
    let called = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or("vg-tool");
    let code = match dispatch(called, args) {
        Ok(code) => code,
        Err(stop) => {
            if !stop.message.is_empty() {
                complain(&stop);
            }
            stop.code
        }
    };
    Ok(if code == OK { Exit::Ok } else { Exit::Code(code) })
}

/// getopt's lines begin with the command's name at the margin, as they do from LVM2.
fn complain(stop: &Stop) {
    match stop.message.split_once('\n') {
        Some((first, rest)) if stop.code == stop::USAGE && cmd::is_getopt_line(first) => {
            eprintln!("{first}");
            say::error(rest);
        }
        _ => say::error(&stop.message),
    }
}

fn dispatch(called: &str, args: &[String]) -> Result<u8> {
    // Called by a command's name, or as vg-tool or lvm with the command as first argument.
    if let Some(command) = cmd::find(called) {
        return run(command, args);
    }
    let mut args = args;
    // `vg-tool lvm lvs` is `lvm lvs`.
    if called != "lvm" && args.first().is_some_and(|word| word == "lvm") {
        args = &args[1..];
    }
    let Some((word, rest)) = args.split_first() else {
        help::overview();
        return Ok(NO_COMMAND);
    };
    let word = Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or(word);
    match (word, rest.first()) {
        ("help" | "--help" | "-h", None) => help::overview(),
        ("help", Some(name)) => match cmd::find(name) {
            Some(command) => help::command(command),
            None => return Err(no_such_command()),
        },
        ("version" | "--version", _) => help::version(),
        _ => {
            return match cmd::find(word) {
                Some(command) => run(command, rest),
                None => Err(no_such_command()),
            };
        }
    }
    Ok(OK)
}

fn no_such_command() -> Stop {
    Stop { code: NO_COMMAND, message: "No such command.  Try 'lvm help'.".into() }
}

fn run(command: &'static cmd::Command, args: &[String]) -> Result<u8> {
    let options = opts::parse(command.name, command.options, args)?;
    if options.has("help") {
        help::command(command);
        return Ok(OK);
    }
    if options.has("version") {
        help::version();
        return Ok(OK);
    }
    let line = std::iter::once(command.name).chain(args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let session = Session::new(command.name, options, line)?;
    (command.run)(&session)
}
