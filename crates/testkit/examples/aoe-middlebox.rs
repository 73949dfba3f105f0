//! A cable with faults between two interfaces: `aoe-middlebox [OPTIONS] INTERFACE INTERFACE` carries
//! AoE frames from each to the other, and nothing else. One JSON object with what became of them,
//! by the interface they came in at, on SIGUSR1, and a last one on SIGTERM or SIGINT.
//!
//!   --drop N          of a hundred frames: lost (0)
//!   --duplicate N     of a hundred frames: sent twice (0)
//!   --reorder N       of a hundred frames: overtaken by the next (0)
//!   --hold MS         how long a frame waits for the next (50)
//!   --seed N          of what is random (1)
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nines_cli::{Exit, log};
use nines_sys::proc::signal_fd;
use nines_testkit::middlebox::{Faults, Middlebox};
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    nines_cli::run("aoe-middlebox", run)
}

fn run() -> anyhow::Result<Exit> {
    let mut faults = Faults { hold: Duration::from_millis(50), ..Faults::default() };
    let mut seed = 1;
    let mut operands = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
            value.parse::<u64>().with_context(|| format!("{argument} `{value}': not such a number"))
        };
        match argument.as_str() {
            "--drop" => faults.drop = value()?,
            "--duplicate" => faults.duplicate = value()?,
            "--reorder" => faults.reorder = value()?,
            "--hold" => faults.hold = Duration::from_millis(value()?.min(60_000)),
            "--seed" => seed = value()?,
            _ => operands.push(argument),
        }
    }
    let [one, other] = operands.as_slice() else {
        bail!("usage: aoe-middlebox [OPTIONS] INTERFACE INTERFACE");
    };
    let shares = [faults.drop, faults.duplicate, faults.reorder];
    let all = shares.iter().try_fold(0_u64, |all, share| all.checked_add(*share));
    ensure!(all.is_some_and(|all| all <= 100), "--drop, --duplicate and --reorder: more than 100 together");
    let signals = signal_fd(&[Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT]).context("signals")?;
    let mut middlebox = Middlebox::open([one, other], faults, seed)?;
    log(format_args!("between {one} and {other}"));
    loop {
        let signal = middlebox.serve(&signals)?;
        writeln!(io::stdout(), "{}", middlebox.json())?;
        if signal != Signal::SIGUSR1 {
            return Ok(Exit::Ok);
        }
    }
}
