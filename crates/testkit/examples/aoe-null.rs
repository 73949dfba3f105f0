//! An AoE target without a disk: `aoe-null INTERFACE SHELF SLOT [SECTORS [BUFFERS]]`. Prints its
//! process number when it serves.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::{self, ExitCode};

use anyhow::{Context, bail};
use nines_cli::Exit;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_testkit::null::Null;

fn main() -> ExitCode {
    nines_cli::run("aoe-null", run)
}

fn run() -> anyhow::Result<Exit> {
    let operands: Vec<String> = std::env::args().skip(1).collect();
    let [interface, shelf, slot, more @ ..] = operands.as_slice() else {
        bail!("usage: aoe-null INTERFACE SHELF SLOT [SECTORS [BUFFERS]]");
    };
    let address = Address { shelf: Shelf(shelf.parse().context("SHELF")?), slot: Slot(slot.parse().context("SLOT")?) };
    let sectors = more.first().map_or(Ok(1 << 21), |text| text.parse()).context("SECTORS")?;
    let buffers = more.get(1).map_or(Ok(128), |text| text.parse()).context("BUFFERS")?;
    let mut null = Null::open(interface, address, sectors, buffers)?;
    writeln!(io::stdout(), "pid {}: {address}, {sectors} sectors of nothing", process::id())?;
    null.serve()?;
    Ok(Exit::Ok)
}
