//! Checks an AoE target against the protocol: `aoe-conform [--json] [--link COMMAND] [--restart
//! COMMAND] INTERFACE SHELF SLOT [CHECK...]`.
//!
//! One tab-separated line a check: verdict, name, what was seen. `--json`: one object a line.
//! `--link COMMAND`: a shell command that changes the target's end of the link, given `mtu N`, `up`
//! or `down`. `--restart COMMAND`: ends a target that hears this host no more. `--list`: names only. Exit status 0 when every check passed, 1 when one failed.
//!
//! The disk behind the target is overwritten. A target that ends must be started again by someone
//! else; the check that ended it has failed.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use nines_cli::Exit;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_testkit::conform::subject::Subject;
use nines_testkit::conform::{Check, Verdict, checks};

fn main() -> ExitCode {
    nines_cli::run("aoe-conform", run)
}

fn run() -> anyhow::Result<Exit> {
    let (mut json, mut list, mut operands) = (false, false, Vec::new());
    let (mut link, mut restart) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--list" => list = true,
            "--link" => link = Some(arguments.next().context("--link needs a command")?),
            "--restart" => restart = Some(arguments.next().context("--restart needs a command")?),
            _ => operands.push(argument),
        }
    }
    let mut out = io::stdout().lock();
    if list {
        for check in checks() {
            writeln!(out, "{}", check.name)?;
        }
        return Ok(Exit::Ok);
    }
    let [interface, shelf, slot, only @ ..] = operands.as_slice() else {
        bail!("usage: aoe-conform [--json] [--link COMMAND] INTERFACE SHELF SLOT [CHECK...]");
    };
    for name in only {
        ensure!(checks().any(|check| check.name == name), "`{name}': no such check: see --list");
    }
    let address = Address { shelf: Shelf(shelf.parse().context("SHELF")?), slot: Slot(slot.parse().context("SLOT")?) };
    let mut subject = Subject::find(interface, address)?;
    (subject.link, subject.restart) = (link, restart);
    let mut failed = false;
    let wanted = |check: &Check| only.is_empty() || only.iter().any(|name| check.name == name);
    for check in checks().filter(wanted) {
        let verdict = check.make(&mut subject).context(check.name)?;
        failed |= matches!(verdict, Verdict::Fail(_));
        let (word, seen) = (verdict.word(), verdict.seen());
        if json {
            writeln!(out, "{}", serde_json::json!({ "check": check.name, "verdict": word, "seen": seen }))?;
        } else {
            writeln!(out, "{word}\t{}\t{seen}", check.name)?;
        }
        out.flush()?;
    }
    Ok(if failed { Exit::No } else { Exit::Ok })
}
