//! The membership daemon: cluster.conf, the replicated state, and the loop around them.
#![forbid(unsafe_code)]

mod agents;
mod args;
mod clock;
mod conffile;
pub mod control;
pub mod count;
pub mod engine;
mod leftovers;
pub mod lock;
pub mod log;
pub mod net;
mod notice;
pub mod peer;
pub mod serve;
pub mod state;
mod watchdog;

pub use args::Args;

use std::process::ExitCode;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-join");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-join", || serve::serve(&args.options())),
        Err(code) => code,
    }
}
