//! Load on an AoE target, and what it bears: `aoe-load [OPTIONS] INTERFACE SHELF SLOT` prints one
//! JSON object. Exit status 1 when something failed or was wrong.
//!
//!   --depth N         requests under way (1)
//!   --size BYTES      of a request (4096); as many frames as it takes
//!   --writes N        of a hundred requests (0)
//!   --sequential      one behind the other (anywhere)
//!   --unaligned       beginning at any sector (at multiples of the size)
//!   --seconds S       to measure (2), after a tenth of that to warm up
//!   --span N          sectors to use (all there are)
//!   --seed N          of what is random (1)
//!   --verify          write numbered sectors, check every read, read everything back at the end
//!   --duplicates N    of a hundred writes: sent twice at once (0)
//!   --window N        frames under way (what the target can queue)
//!   --timeout MS      until a frame is sent again, doubled each time (100)
//!   --pid PID         the target's process: tell its processor time
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nines_cli::Exit;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_testkit::load::{Load, Plan};

fn main() -> ExitCode {
    nines_cli::run("aoe-load", run)
}

fn run() -> anyhow::Result<Exit> {
    let mut plan = Plan {
        address: Address { shelf: Shelf(0), slot: Slot(0) },
        depth: 1,
        sectors: 8,
        writes: 0,
        sequential: false,
        unaligned: false,
        time: Duration::from_secs(2),
        span: None,
        seed: 1,
        verify: false,
        duplicates: 0,
        window: None,
        timeout: Duration::from_millis(100),
        process: None,
    };
    let mut operands = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--depth" => plan.depth = number(&argument, &value()?, 65536)?,
            "--size" => {
                let bytes: u32 = number(&argument, &value()?, 1 << 24)?;
                ensure!(bytes.is_multiple_of(512) && bytes > 0, "--size `{bytes}': not whole sectors");
                plan.sectors = bytes / 512;
            }
            "--writes" => plan.writes = number(&argument, &value()?, 100)?,
            "--sequential" => plan.sequential = true,
            "--unaligned" => plan.unaligned = true,
            "--seconds" => {
                plan.time = Duration::try_from_secs_f64(value()?.parse().context("--seconds")?).context("--seconds")?;
            }
            "--span" => plan.span = Some(number(&argument, &value()?, u64::MAX)?),
            "--seed" => plan.seed = number(&argument, &value()?, u64::MAX)?,
            "--verify" => plan.verify = true,
            "--duplicates" => plan.duplicates = number(&argument, &value()?, 100)?,
            "--window" => plan.window = Some(number(&argument, &value()?, 4096)?),
            "--timeout" => plan.timeout = Duration::from_millis(number(&argument, &value()?, 60_000)?),
            "--pid" => plan.process = Some(number::<u32>(&argument, &value()?, u32::MAX)?.to_string()),
            _ => operands.push(argument),
        }
    }
    let [interface, shelf, slot] = operands.as_slice() else {
        bail!("usage: aoe-load [OPTIONS] INTERFACE SHELF SLOT");
    };
    plan.address = Address { shelf: Shelf(shelf.parse().context("SHELF")?), slot: Slot(slot.parse().context("SLOT")?) };
    let outcome = Load::find(interface, plan.clone())?.run()?;
    writeln!(io::stdout(), "{}", outcome.json(&plan))?;
    Ok(if outcome.errors + outcome.mismatches == 0 { Exit::Ok } else { Exit::No })
}

fn number<N: std::str::FromStr + PartialOrd + Copy>(option: &str, text: &str, most: N) -> anyhow::Result<N> {
    text.parse().ok().filter(|number| *number <= most).with_context(|| format!("{option} `{text}': not such a number"))
}
