//! `cluster-conf`: whether a configuration can work, which one the cluster has, and another one.

mod agents;
mod change;
mod check;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use cluster_conf::MAX_FILE;
use nines_cli::{Exit, No};
use nines_proto::ctl::{Client, ClientError, ConfEntry, ErrorKind};

/// The file every daemon starts with.
const FILE: &str = "/etc/cluster/cluster.conf";

/// Check, change and show the cluster's configuration.
#[derive(Debug, Parser)]
#[command(name = "cluster-conf", version, about = "Check, change and show the cluster's configuration")]
struct Args {
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Subject {
    /// Say what is wrong with a file, and what will surprise
    Check {
        /// - is standard input
        #[arg(default_value = FILE)]
        file: PathBuf,
        /// Ask the fence agents as well, which have to be installed here
        #[arg(long)]
        agents: bool,
        /// Warnings count as errors
        #[arg(long)]
        strict: bool,
    },
    /// Make a file the configuration, on every member at once
    Update {
        /// - is standard input
        #[arg(default_value = FILE)]
        file: PathBuf,
        /// Ask the fence agents as well, which have to be installed here
        #[arg(long)]
        agents: bool,
    },
    /// Show what differs: the configuration and a file, or two versions
    Diff {
        /// A file, or the number of a version [default: /etc/cluster/cluster.conf]
        what: Option<PathBuf>,
        /// The number of another version
        version: Option<u32>,
    },
    /// List the versions that are kept
    History,
    /// Print the configuration, or a former one
    Show { version: Option<u32> },
    /// Make a former version the configuration again, under a new number
    Rollback { version: u32 },
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-conf");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-conf", || run(&args).map_err(answered)),
        Err(code) => code,
    }
}

/// No such version, an older number and no majority are answers, not failures.
fn answered(error: anyhow::Error) -> anyhow::Error {
    let kind = error.downcast_ref::<ClientError>().and_then(ClientError::refusal).map(|refusal| refusal.kind);
    match kind {
        Some(ErrorKind::Unknown | ErrorKind::Changed | ErrorKind::Inquorate) => No(format!("{error:#}")).into(),
        _ => error,
    }
}

fn run(args: &Args) -> anyhow::Result<Exit> {
    let connect = || Client::connect(args.socket.as_deref()).map_err(anyhow::Error::from);
    match &args.subject {
        Subject::Check { file, agents, strict } => {
            let report = cluster_conf::check::check(&read(file)?, Some(&agents::Installed { ask: *agents }));
            check::print(file, &report, args.json)?;
            Ok(if check::is_good(&report, *strict) { Exit::Ok } else { Exit::No })
        }
        Subject::Update { file, agents } => change::update(&mut connect()?, file, *agents, args.json),
        Subject::Diff { what, version } => show::diff(&mut connect()?, what.as_deref(), *version, args.json),
        Subject::History => show::history(&mut connect()?, args.json),
        Subject::Show { version } => show::show(&mut connect()?, *version, args.json),
        Subject::Rollback { version } => change::rollback(&mut connect()?, *version, args.json),
    }
}

/// The text of a file no longer than a configuration may be.
fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let name = path.display();
    let mut text = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("{name}"))?)
    };
    source.take(MAX_FILE + 1).read_to_end(&mut text).with_context(|| format!("{name}"))?;
    if text.len() as u64 > MAX_FILE {
        bail!("{name}: longer than {MAX_FILE} bytes");
    }
    String::from_utf8(text).with_context(|| format!("{name}"))
}

/// A configuration with the text the daemon sent along.
fn with_text(entry: ConfEntry) -> anyhow::Result<(ConfEntry, String)> {
    let text = entry.text.clone().with_context(|| format!("version {}: cluster-join sent no text", entry.version))?;
    Ok((entry, text))
}
