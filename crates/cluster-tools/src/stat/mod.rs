//! `cluster-stat`: is the cluster well; if not, what does it wait for, and what is to be typed.

mod changes;
mod cman;
mod log;
mod picture;
mod screen;
mod tables;
mod terminal;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, Subcommand};
use nines_cli::Exit;
use nines_proto::ctl::Client;

use picture::View;

/// Look at the cluster.
#[derive(Debug, Parser)]
#[command(name = "cluster-stat", version, about = "Look at the cluster")]
struct Args {
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// Go on: full screen on a terminal, elsewhere a line for each change
    #[arg(long, value_name = "SECS", global = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "1", value_parser = seconds)]
    watch: Option<Duration>,
    /// List locks instead of members
    #[arg(long)]
    locks: bool,
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    subject: Option<Subject>,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Subject {
    /// What `cman_tool status` printed
    Status,
    /// What `cman_tool nodes` printed
    Nodes {
        /// With addresses
        #[arg(short, long)]
        all: bool,
    },
    /// What `cman_tool services` printed
    Services,
    /// Who holds and who waits for which lock
    Locks,
    /// Fencing: pending, past, and what each node can be fenced with
    Fences,
    /// What was decided, by whom and why
    Log {
        /// Go on with what happens next
        #[arg(short, long)]
        follow: bool,
        /// Only what is younger: 90s, 15m, 2h, 3d, or a date such as 2026-11-22 14:00 (UTC)
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Only records of this kind: joined, lost, fenced, ...
        #[arg(long)]
        kind: Option<String>,
        /// Only records about this node
        #[arg(long)]
        node: Option<String>,
    },
    /// The versions of the configuration; the last one is in force
    Conf,
    /// Keys of the cluster's other programs
    Keys {
        /// Only those that begin with this
        #[arg(default_value = "")]
        prefix: String,
    },
    /// The networks to each other node
    Links,
}

/// A time between two looks.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("0.1 to 3600 seconds".into())
    }
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-stat");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-stat", || stat(args)),
        Err(code) => code,
    }
}

fn stat(args: Args) -> anyhow::Result<Exit> {
    let socket = args.socket.as_deref();
    let view = match args.subject {
        Some(_) if args.locks => bail!("--locks is the view `locks', and another one was named"),
        Some(Subject::Log { follow, since, kind, node }) => {
            let since = since.as_deref().map(|when| log::since(when, nines_cli::now())).transpose()?;
            let filter = log::Filter { since, kind, node };
            return log::run(&mut Client::connect(socket)?, &filter, follow || args.watch.is_some(), args.json);
        }
        Some(Subject::Status) => View::Status,
        Some(Subject::Nodes { all }) => View::Nodes { all },
        Some(Subject::Services) => View::Services,
        Some(Subject::Locks) => View::Locks,
        Some(Subject::Fences) => View::Fences,
        Some(Subject::Conf) => View::Conf,
        Some(Subject::Keys { prefix }) => View::Keys { prefix },
        Some(Subject::Links) => View::Links,
        None if args.locks => View::Locks,
        None => View::Screen,
    };
    if let Some(every) = args.watch {
        return watch::run(socket, &view, every, args.json);
    }
    let picture = picture::take(&view, &mut Client::connect(socket)?, nines_cli::now())?;
    let mut out = io::stdout().lock();
    if args.json {
        for line in &picture.json {
            writeln!(out, "{line}")?;
        }
    } else {
        out.write_all(picture.text.as_bytes())?;
    }
    out.flush()?;
    Ok(if picture.good { Exit::Ok } else { Exit::No })
}

#[cfg(test)]
mod tests;
