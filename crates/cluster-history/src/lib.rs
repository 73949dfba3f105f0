//! What clients of a cluster asked and were answered, written down as it happened, and whether
//! there is any order of those operations in which one lock table and one key space would have
//! answered so. For tests; not installed.
//!
//! [`record`] is the form on disk, [`drive`] makes such records against real daemons, [`search`]
//! looks for an order, [`locks`] and [`registers`] say what is possible in a given order, and
//! [`check`] puts them together.
#![forbid(unsafe_code)]

pub mod check;
pub mod drive;
pub mod locks;
pub mod record;
pub mod registers;
pub mod search;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};
use nines_cli::Exit;

/// Record what clients of a cluster saw, and check that it can have been.
#[derive(Debug, Parser)]
#[command(name = "cluster-history", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Clients that lock, convert, unlock, put and get until SIGTERM, one record each in DIR
    Run(drive::Options),
    /// Exit 0 when the records allow an order of their operations, 1 when not
    Check {
        /// The directory of the records, or the records
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-history");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-history", || act(&args)),
        Err(code) => code,
    }
}

fn act(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Run(options) => drive::run(options),
        Command::Check { paths } => {
            let history = record::read(paths)?;
            if history.operations.is_empty() {
                bail!("{}: no operations", paths[0].display());
            }
            let report = check::check(&history);
            print!("{}", report.text(&history));
            Ok(match report.verdict() {
                check::Verdict::Good => Exit::Ok,
                check::Verdict::Bad => Exit::No,
                check::Verdict::Undecided => Exit::Error,
            })
        }
    }
}
