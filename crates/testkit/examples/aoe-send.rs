//! Sends AoE messages given in hexadecimal and prints the answers: `aoe-send [-f FROM] [-t TO]
//! [-w MILLISECONDS] INTERFACE < messages`.
//!
//! A line of input is one message from the version byte (offset 14) on; blanks are ignored and
//! `#` begins a comment. A line of output is one answer, from the same offset on to the end of the
//! frame, or `-` when none came in time. Nothing is padded or corrected: this is how tests send
//! what no initiator would.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nines_cli::Exit;
use nines_proto::mac::Mac;
use nines_testkit::initiator::Initiator;

fn main() -> ExitCode {
    nines_cli::run("aoe-send", send)
}

fn send() -> anyhow::Result<Exit> {
    let (mut from, mut to, mut wait, mut interface) = (None, Mac::BROADCAST, 1000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-f" => from = Some(value()?.parse()?),
            "-t" => to = value()?.parse()?,
            "-w" => wait = value()?.parse().context("-w")?,
            _ => interface = Some(argument),
        }
    }
    let interface = interface.context("usage: aoe-send [-f FROM] [-t TO] [-w MILLISECONDS] INTERFACE")?;
    let mut initiator = Initiator::open(&interface).context(interface)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let text: String = line.chars().take_while(|c| *c != '#').filter(|c| !c.is_whitespace()).collect();
        if text.is_empty() {
            continue;
        }
        let message = bytes(&text).with_context(|| format!("`{line}' is not hexadecimal"))?;
        let mut frame = Vec::from(to.0);
        frame.extend(from.unwrap_or(initiator.mac).0);
        frame.extend(nines_proto::aoe::ETHERTYPE.to_be_bytes());
        frame.extend(&message);
        let tag = message.get(6..10).map_or(0, |tag| u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]));
        let answer = initiator.ask_raw(&frame, tag, Duration::from_millis(wait))?;
        let mut line = answer.map_or_else(|| "-".to_owned(), |answer| hex(&answer[14..]));
        line.push('\n');
        io::stdout().write_all(line.as_bytes())?;
    }
    Ok(Exit::Ok)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if text.len().is_multiple_of(2) { text.as_bytes().chunks(2).map(pair).collect() } else { None }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
