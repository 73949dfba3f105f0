//! The header common to all messages, and the frame around it.

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::{DATA, op};
use nines_proto::aoe::config::{Action, Config};
use nines_proto::aoe::{Address, Command, Flags, Header, MIN_FRAME, Shelf, Slot};
use nines_proto::mac::Mac;

use super::Check;
use super::subject::{Subject, ata, config_argument};
use crate::initiator::message;

pub const CHECKS: &[Check] = &[
    Check { name: "an-answer-echoes-command-and-tag", run: echo },
    Check { name: "a-wildcard-is-answered-by-the-real-address", run: wildcard },
    Check { name: "other-addresses-are-not-answered", run: others },
    Check { name: "an-answer-is-not-answered", run: answers },
    Check { name: "other-versions-are-refused", run: versions },
    Check { name: "reserved-flags-and-error-are-not-echoed", run: flags },
    Check { name: "a-request-with-the-error-flag-is-not-executed", run: error_flag },
    Check { name: "unknown-commands-are-unrecognized", run: unknown },
    Check { name: "short-answers-are-padded-to-60-bytes", run: padded },
    Check { name: "padding-is-zero", run: zero },
    Check { name: "frames-cut-short-are-survived", run: cut },
    Check { name: "random-frames-are-survived", run: random },
];

fn echo(subject: &mut Subject) -> anyhow::Result<String> {
    for tag in [0x7fff_fffe, 0x8000_0000, 0xffff_ffff, 1] {
        let header = Header { tag, ..subject.header(Command::Config) };
        let got = subject.told(&header, &[0; 36])?.header;
        let wanted = Header { destination: header.source, source: subject.mac, flags: Flags::RESPONSE, ..header };
        ensure!(got == wanted, "{got:?}, not {wanted:?}");
    }
    Ok(format!("from {}", subject.mac))
}

fn wildcard(subject: &mut Subject) -> anyhow::Result<String> {
    let Address { shelf, slot } = subject.address;
    for address in [Address::ALL, Address { shelf: Shelf::ALL, slot }, Address { shelf, slot: Slot::ALL }] {
        let header = Header { destination: Mac::BROADCAST, address, ..subject.header(Command::Config) };
        let answer = subject.ask(&header, &[0; 36])?.with_context(|| format!("{address}: no answer"))?;
        ensure!(answer.header.address == subject.address, "{address}: {}", answer.header.address);
    }
    Ok(format!("{}", subject.address))
}

fn others(subject: &mut Subject) -> anyhow::Result<String> {
    let Address { shelf: Shelf(shelf), slot: Slot(slot) } = subject.address;
    let table = [(shelf ^ 1, slot), (shelf, slot ^ 1), (0xffff, slot ^ 1), (shelf ^ 1, 0xff)];
    for (shelf, slot) in table {
        let address = Address { shelf: Shelf(shelf), slot: Slot(slot) };
        let header = Header { address, ..subject.header(Command::Config) };
        subject.silence(&address.to_string(), &header, &[0; 36])?;
    }
    Ok("silence".into())
}

fn answers(subject: &mut Subject) -> anyhow::Result<String> {
    let header = Header { flags: Flags::RESPONSE, ..subject.header(Command::Config) };
    subject.silence("a frame with the R flag", &header, &[0; 36])?;
    Ok("silence".into())
}

fn versions(subject: &mut Subject) -> anyhow::Result<String> {
    for version in [0, 2, 15] {
        let header = Header { version, ..subject.header(Command::Config) };
        let got = subject.told(&header, &config_argument(Action::ForceSet, b"version"))?.header;
        ensure!(got.error == 5, "version {version}: executed, version {} in the answer", got.version);
        ensure!(got.version == 1, "version {version}: version {} in the answer", got.version);
    }
    ensure!(string(subject)?.is_empty(), "the refused command was executed");
    Ok("AoE error 5".into())
}

fn string(subject: &mut Subject) -> anyhow::Result<Vec<u8>> {
    let answer = subject.config(Action::Read, b"")?.context("no answer")?;
    Ok(Config::parse(answer.argument())?.string.to_vec())
}

fn flags(subject: &mut Subject) -> anyhow::Result<String> {
    let header = Header { flags: Flags(0x03), error: 0x77, ..subject.header(Command::Config) };
    let got = subject.told(&header, &[0; 36])?.header;
    ensure!(got.flags == Flags::RESPONSE && got.error == 0, "flags {:?} error {}", got.flags, got.error);
    Ok("flags 0x8 error 0".into())
}

fn error_flag(subject: &mut Subject) -> anyhow::Result<String> {
    let header = Header { flags: Flags::ERROR, error: 3, ..subject.header(Command::Config) };
    subject.send(&header, &config_argument(Action::ForceSet, b"error"))?;
    ensure!(string(subject)?.is_empty(), "executed");
    Ok("not executed".into())
}

fn unknown(subject: &mut Subject) -> anyhow::Result<String> {
    for code in [4, 0x77, 0xf0, 0xff] {
        let header = subject.header(Command::Other(code));
        let got = subject.told(&header, &[0; 36])?.header;
        ensure!(got.error == 1 && got.flags.has(Flags::ERROR), "{code:#x}: error {}", got.error);
    }
    Ok("AoE error 1".into())
}

/// A request of each kind whose answer is short, and where the answer's own bytes end.
fn short(subject: &mut Subject) -> Vec<(&'static str, Header, Vec<u8>, usize)> {
    let beyond = ata(&Subject::registers(op::READ_EXT, subject.sectors, 1), &[]);
    let flush = ata(&Subject::registers(op::FLUSH, 0, 0), &[]);
    vec![
        ("flush", subject.header(Command::Ata), flush, DATA),
        ("config", subject.header(Command::Config), vec![0; 8], 32),
        ("ATA", subject.header(Command::Ata), beyond, DATA),
        ("mask", subject.header(Command::Mask), vec![0; 4], 28),
        ("reserve", subject.header(Command::Reserve), vec![0; 2], 26),
        ("unknown", subject.header(Command::Other(0xf1)), vec![], 24),
    ]
}

fn padded(subject: &mut Subject) -> anyhow::Result<String> {
    for (what, header, argument, _) in short(subject) {
        let answer = subject.told(&header, &argument)?;
        ensure!(answer.frame.len() >= MIN_FRAME, "{what}: {} bytes", answer.frame.len());
    }
    Ok("60 bytes".into())
}

fn zero(subject: &mut Subject) -> anyhow::Result<String> {
    for (what, header, mut argument, used) in short(subject) {
        // Whatever the target keeps of the last frame is this.
        let junk = ata(&Subject::registers(op::READ_EXT, u64::MAX >> 16, 1), &[0xee; 512]);
        let other = subject.header(Command::Ata);
        subject.told(&other, &junk)?;
        argument.resize((MIN_FRAME - Header::LENGTH).max(argument.len()), 0);
        let answer = subject.told(&header, &argument)?;
        clean(what, &answer.frame, used)?;
    }
    // A request shorter than its answer: the bytes between are nobody's.
    let junk = subject.header(Command::Config);
    subject.send(&junk, &[0xee; 1024 + 8])?;
    for (what, header, argument, used) in short(subject) {
        let answer = subject.told(&header, &argument)?;
        clean(what, &answer.frame, used)?;
    }
    Ok("zero".into())
}

/// An error answer may end with the header.
fn clean(what: &str, frame: &[u8], used: usize) -> anyhow::Result<()> {
    let stale = frame.get(used..).unwrap_or_default().iter().filter(|byte| **byte != 0).count();
    ensure!(stale == 0, "{what}: {stale} bytes of an earlier frame");
    Ok(())
}

fn cut(subject: &mut Subject) -> anyhow::Result<String> {
    subject.mark()?;
    for command in [Command::Ata, Command::Config, Command::Mask, Command::Reserve, Command::Other(9)] {
        let frame = message(&subject.header(command), &[0; 16]);
        for length in 14..frame.len() {
            subject.send_raw(&frame[..length])?;
        }
    }
    subject.marked()?;
    Ok("130 frames".into())
}

/// Frames that begin as they should and go on anyhow. Nothing that could edit the mask list: what
/// locks this end out is no failure.
fn random(subject: &mut Subject) -> anyhow::Result<String> {
    subject.mark()?;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    for round in 0..2000 {
        let [command, length, extra, ..] = next();
        let command = if command % 8 == 2 { Command::Reserve } else { Command::from(command % 8) };
        let header = subject.header(command);
        let long = if extra % 8 == 0 { 1400 } else { 60 };
        let mut argument: Vec<u8> = (0..(usize::from(length) + long) / 8).flat_map(|_| next()).collect();
        if command == Command::Config && argument.len() > 5 {
            // The string stays: it is what tells that the target did not start anew.
            argument[5] %= 3;
        }
        if command == Command::Ata && argument.len() > 3 {
            let codes = [op::READ_EXT, op::WRITE_EXT, op::READ, op::WRITE, op::IDENTIFY, op::FLUSH, 0xb0, 0x06];
            argument[3] = codes[usize::from(extra) % 8];
            argument[2] %= 4;
        }
        subject.send(&header, &argument)?;
        if round % 16 == 0 {
            // No more than a target can queue.
            ensure!(subject.survived()?, "the target fell silent");
        }
    }
    subject.marked()?;
    Ok("2000 frames".into())
}
