//! `cluster-stat`: who is in, whether there is a majority and why not, who holds which lock.

mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nines_cli::Exit;
use nines_proto::ctl::Client;

/// Look at the cluster.
#[derive(Debug, Parser)]
#[command(name = "cluster-stat", version, about = "Look at the cluster")]
struct Args {
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
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
    /// List locks instead of members
    Locks,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-stat");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-stat", || stat(&args)),
        Err(code) => code,
    }
}

fn stat(args: &Args) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.socket.as_deref())?;
    let status = client.status()?;
    let mut out = io::stdout().lock();
    if args.locks || args.subject.is_some() {
        let locks = client.locks()?;
        if args.json {
            for lock in &locks {
                writeln!(out, "{}", serde_json::to_string(lock)?)?;
            }
        } else {
            text::locks(&mut out, &locks)?;
        }
    } else if args.json {
        writeln!(out, "{}", serde_json::to_string(&status)?)?;
    } else {
        text::status(&mut out, &status)?;
    }
    out.flush()?;
    Ok(if status.quorate { Exit::Ok } else { Exit::No })
}
