//! `aoe-stat --target`: what the targets of this host have done, asked over their control sockets.

mod ask;
mod prometheus;
mod table;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nines_cli::{Exit, log};
use nines_proto::aoe::control::FOLDER;
use nines_proto::aoe::statistics::{Export, Interface};
use serde::Serialize;

use crate::getopt::Grammar;

/// What one target process told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its control socket.
    pub socket: PathBuf,
    /// What it exports.
    pub exports: Vec<Export>,
    /// On which interfaces.
    pub interfaces: Vec<Interface>,
}

/// Whether these arguments ask for targets rather than devices.
#[must_use]
pub fn is_meant(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--target")
}

/// The program. Exit status 1 when a target does not answer, or there is none.
///
/// # Errors
/// The command line, the sockets' folder, or a closed stdout.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let line = (Grammar { letters: "", names: &["target", "json", "prometheus"] }).parse(arguments)?;
    let given = |name: &str| line.options.iter().any(|option| option.name == name);
    if given("json") && given("prometheus") {
        anyhow::bail!("--json and --prometheus: one of them");
    }
    let mut sockets: Vec<PathBuf> = line.operands.into_iter().map(PathBuf::from).collect();
    if sockets.is_empty() {
        sockets = listening(Path::new(FOLDER))?;
        if sockets.is_empty() {
            log(format_args!("{FOLDER}: no target listens there; start it with --control {FOLDER}/NAME.sock"));
            return Ok(Exit::No);
        }
    }
    let (mut told, mut exit) = (Vec::new(), Exit::Ok);
    for socket in sockets {
        match ask::statistics(&socket) {
            Ok(one) => told.push(one),
            Err(error) => {
                log(format_args!("{}: {error:#}", socket.display()));
                exit = Exit::No;
            }
        }
    }
    let text = match (given("json"), given("prometheus")) {
        (true, _) => json(&told)?,
        (_, true) => prometheus::text(&told),
        _ => table::text(&told),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(exit)
}

/// The sockets in a folder, by name.
fn listening(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // Not as an io::Error, which would pass for a closed stdout.
        other => other.map_err(|error| anyhow::Error::msg(error.to_string())),
    };
    let entries = entries.with_context(|| folder.display().to_string())?;
    let mut sockets: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    Ok(sockets)
}

#[derive(Serialize)]
struct Line<'t, T> {
    socket: String,
    #[serde(flatten)]
    what: &'t T,
}

/// An object a line: the exports of each target, then its interfaces.
fn json(told: &[Told]) -> anyhow::Result<String> {
    fn line<T: Serialize>(socket: &Path, what: &T) -> serde_json::Result<String> {
        serde_json::to_string(&Line { socket: socket.display().to_string(), what }).map(|line| line + "\n")
    }
    let mut text = String::new();
    for Told { socket, exports, interfaces } in told {
        for export in exports {
            text.push_str(&line(socket, export)?);
        }
        for interface in interfaces {
            text.push_str(&line(socket, interface)?);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
