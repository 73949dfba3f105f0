//! Reads and writes: what they transfer, where they end, and what they refuse.

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::{DATA, Registers, flag, op};
use nines_proto::aoe::{Address, Command, Header, SECTOR, Shelf, Slot};
use nines_proto::mac::Mac;

use super::Check;
use super::subject::{Outcome, Skipped, Subject, ata};

pub const CHECKS: &[Check] = &[
    Check { name: "what-is-written-is-read-at-every-length", run: lengths },
    Check { name: "28-bit-commands-ignore-the-device-register", run: short_form },
    Check { name: "dma-commands-are-the-same", run: dma },
    Check { name: "success-echoes-the-registers", run: registers },
    Check { name: "asynchronous-writes-are-writes", run: asynchronous },
    Check { name: "surplus-payload-is-ignored", run: surplus },
    Check { name: "the-last-sector-is-there", run: last },
    Check { name: "beyond-the-end-is-no-such-sector", run: beyond },
    Check { name: "a-write-across-the-end-writes-nothing", run: across },
    Check { name: "sectors-beyond-2-tib-are-their-own", run: far },
    Check { name: "a-count-of-zero-moves-nothing", run: none },
    Check { name: "more-than-a-frame-holds-is-an-ata-error", run: too_many },
    Check { name: "a-short-write-writes-nothing", run: short },
    Check { name: "writes-by-wildcard-are-refused", run: wildcard },
    Check { name: "writes-by-broadcast-are-refused", run: broadcast },
];

/// Bytes that tell the place and the round they are for.
fn pattern(sectors: u8, seed: u8) -> Vec<u8> {
    (0..usize::from(sectors) * SECTOR).map(|at| (at / 7 + at / SECTOR).to_le_bytes()[0] ^ seed).collect()
}

fn lengths(subject: &mut Subject) -> anyhow::Result<String> {
    for count in 1..=subject.most {
        let first = u64::from(count) * 40;
        subject.write(first - 1, &[1; SECTOR])?;
        subject.write(first + u64::from(count), &[2; SECTOR])?;
        let data = pattern(count, count);
        subject.write(first, &data)?;
        ensure!(subject.read(first, count)? == data, "{count} sectors");
        ensure!(subject.read(first - 1, 1)? == [1; SECTOR], "the sector before {count} sectors");
        ensure!(subject.read(first + u64::from(count), 1)? == [2; SECTOR], "the sector behind {count} sectors");
    }
    Ok(format!("1 to {} sectors", subject.most))
}

/// Writes a sector by one code and reads it by another.
fn by(subject: &mut Subject, write: Registers, read: Registers, seed: u8) -> anyhow::Result<()> {
    let data = pattern(1, seed);
    let outcome = subject.ata(write, &data)?.outcome()?;
    ensure!(outcome == Outcome::DONE, "{:02x}h: {outcome}", write.command_status);
    let answer = subject.ata(read, &[])?;
    ensure!(answer.outcome()? == Outcome::DONE, "{:02x}h: {}", read.command_status, answer.outcome()?);
    ensure!(
        answer.registers()?.1 == data,
        "{:02x}h does not read what {:02x}h wrote",
        read.command_status,
        write.command_status
    );
    Ok(())
}

fn short_form(subject: &mut Subject) -> anyhow::Result<String> {
    for high in [0x00, 0xe0, 0xf0] {
        let short = |command_status| Registers {
            flags: 0,
            lba: [9, 0, 0, high, 0xff, 0xff],
            ..Subject::registers(command_status, 0, 1)
        };
        by(subject, short(op::WRITE), Subject::registers(op::READ_EXT, 9, 1), high | 1)?;
        by(subject, Subject::registers(op::WRITE_EXT, 9, 1), short(op::READ), high | 2)?;
    }
    Ok("high bits 0, Eh, Fh".into())
}

fn dma(subject: &mut Subject) -> anyhow::Result<String> {
    for (write, read) in [(op::WRITE_DMA, op::READ_DMA), (op::WRITE_DMA_EXT, op::READ_DMA_EXT)] {
        by(subject, Subject::registers(write, 11, 1), Subject::registers(op::READ_EXT, 11, 1), write)?;
        by(subject, Subject::registers(op::WRITE_EXT, 11, 1), Subject::registers(read, 11, 1), read)?;
    }
    Ok("C8h, CAh, 25h, 35h".into())
}

fn registers(subject: &mut Subject) -> anyhow::Result<String> {
    for (code, data) in [(op::WRITE_EXT, &[3; SECTOR][..]), (op::READ_EXT, &[])] {
        let asked = Subject::registers(code, 12, 1);
        let answer = subject.ata(asked, data)?;
        let (got, _) = answer.registers()?;
        let wanted = Registers { feature_error: 0, count: 0, command_status: 0x40, ..asked };
        ensure!(got == wanted, "{code:02x}h: {got:?}");
    }
    Ok("status 40h count 0".into())
}

fn asynchronous(subject: &mut Subject) -> anyhow::Result<String> {
    let asked = Subject::registers(op::WRITE_EXT, 13, 1);
    by(
        subject,
        Registers { flags: asked.flags | flag::ASYNCHRONOUS, ..asked },
        Subject::registers(op::READ_EXT, 13, 1),
        0xa5,
    )?;
    Ok("read back at once".into())
}

fn surplus(subject: &mut Subject) -> anyhow::Result<String> {
    subject.write(14, &[7; SECTOR])?;
    subject.write(15, &[8; SECTOR])?;
    let mut data = vec![9; SECTOR];
    data.extend([0xee; 300]);
    let outcome = subject.ata(Subject::registers(op::WRITE_EXT, 14, 1), &data)?.outcome()?;
    ensure!(outcome == Outcome::DONE, "write: {outcome}");
    ensure!(subject.read(14, 1)? == [9; SECTOR] && subject.read(15, 1)? == [8; SECTOR], "written beyond its count");
    let answer = subject.ata(Subject::registers(op::READ_EXT, 14, 1), &[0xee; 600])?;
    ensure!(answer.registers()?.1 == [9; SECTOR], "read");
    Ok("300 and 600 bytes".into())
}

fn last(subject: &mut Subject) -> anyhow::Result<String> {
    let last = subject.sectors - 1;
    subject.write(last, &[0x1a; SECTOR])?;
    ensure!(subject.read(last, 1)? == [0x1a; SECTOR], "sector {last}");
    Ok(format!("{last}"))
}

fn beyond(subject: &mut Subject) -> anyhow::Result<String> {
    let end = subject.sectors;
    for (first, count) in [(end, 1), (end - 1, 2), (end + (1 << 32), 1), ((1 << 48) - 1, 1), ((1 << 48) - 1, 2)] {
        for (code, data) in [(op::READ_EXT, 0), (op::WRITE_EXT, usize::from(count) * SECTOR)] {
            let answer = subject.ata(Subject::registers(code, first, count), &vec![0xbb; data])?;
            let outcome = answer.outcome()?;
            ensure!(outcome == Outcome::NO_SUCH_SECTOR, "{code:02x}h of {count} at {first}: {outcome}");
            ensure!(answer.frame.len() < DATA + SECTOR, "{code:02x}h of {count} at {first}: data in the refusal");
        }
    }
    Ok(Outcome::NO_SUCH_SECTOR.to_string())
}

fn across(subject: &mut Subject) -> anyhow::Result<String> {
    let end = subject.sectors;
    subject.write(end - 1, &[0x2b; SECTOR])?;
    let outcome = subject.ata(Subject::registers(op::WRITE_EXT, end - 1, 2), &[0xcc; 2 * SECTOR])?.outcome()?;
    ensure!(outcome == Outcome::NO_SUCH_SECTOR, "{outcome}");
    ensure!(subject.read(end - 1, 1)? == [0x2b; SECTOR], "the last sector was written");
    Ok(Outcome::NO_SUCH_SECTOR.to_string())
}

fn far(subject: &mut Subject) -> anyhow::Result<String> {
    if subject.sectors <= (1 << 32) + 100 {
        return Err(Skipped("needs a disk of more than 2 TiB").into());
    }
    // Each one would be another's after losing bits.
    let places = [5, (1 << 28) + 5, (1 << 31) + 5, (1 << 32) + 5];
    for (seed, place) in (1..).zip(places) {
        subject.write(place, &pattern(2, seed))?;
    }
    for (seed, place) in (1..).zip(places) {
        ensure!(subject.read(place, 2)? == pattern(2, seed), "sector {place} was written as another");
    }
    let edge = (1 << 32) - 1;
    subject.write(edge, &pattern(2, 99))?;
    ensure!(subject.read(edge, 2)? == pattern(2, 99), "two sectors at {edge}");
    Ok(format!("{places:?}"))
}

fn none(subject: &mut Subject) -> anyhow::Result<String> {
    subject.write(20, &[4; SECTOR])?;
    let mut seen = String::new();
    for (code, data) in [(op::READ_EXT, &[][..]), (op::WRITE_EXT, &[0xdd; SECTOR])] {
        let answer = subject.ata(Subject::registers(code, 20, 0), data)?;
        ensure!(answer.header.error == 0, "{code:02x}h: AoE error {}", answer.header.error);
        ensure!(answer.frame.len() < DATA + SECTOR, "{code:02x}h: {} bytes", answer.frame.len());
        seen = answer.outcome()?.to_string();
    }
    ensure!(subject.read(20, 1)? == [4; SECTOR], "the sector was written");
    Ok(seen)
}

fn too_many(subject: &mut Subject) -> anyhow::Result<String> {
    // Linux drops AoE errors and retransmits for three minutes.
    for count in [subject.most + 1, 255] {
        for code in [op::READ_EXT, op::WRITE_EXT] {
            let answer = subject.ata(Subject::registers(code, 0, count), &[0; SECTOR])?;
            ensure!(answer.outcome()? == Outcome::ABORTED, "{code:02x}h of {count}: {}", answer.outcome()?);
        }
    }
    Ok(Outcome::ABORTED.to_string())
}

fn short(subject: &mut Subject) -> anyhow::Result<String> {
    let count = subject.most.min(2);
    subject.write(30, &vec![5; usize::from(count) * SECTOR])?;
    for length in [0, 24, SECTOR - 1, usize::from(count) * SECTOR - 1] {
        let outcome = subject.ata(Subject::registers(op::WRITE_EXT, 30, count), &vec![0xdd; length])?.outcome()?;
        ensure!(outcome == Outcome::ABORTED, "{length} bytes for {count} sectors: {outcome}");
    }
    ensure!(subject.read(30, count)?.iter().all(|byte| *byte == 5), "a part of it was written");
    Ok(Outcome::ABORTED.to_string())
}

fn wildcard(subject: &mut Subject) -> anyhow::Result<String> {
    let Address { shelf, slot } = subject.address;
    subject.write(32, &[6; SECTOR])?;
    for address in [Address::ALL, Address { shelf: Shelf::ALL, slot }, Address { shelf, slot: Slot::ALL }] {
        let header = Header { address, ..subject.header(Command::Ata) };
        let argument = ata(&Subject::registers(op::WRITE_EXT, 32, 1), &[0xdd; SECTOR]);
        let answer = subject.ask(&header, &argument)?;
        let outcome = answer.map(|answer| answer.outcome()).transpose()?;
        ensure!(subject.read(32, 1)? == [6; SECTOR], "executed by {address}");
        ensure!(outcome.is_none_or(|outcome| outcome == Outcome::ABORTED), "{address}: {}", outcome.context("")?);
    }
    Ok(Outcome::ABORTED.to_string())
}

fn broadcast(subject: &mut Subject) -> anyhow::Result<String> {
    subject.write(33, &[6; SECTOR])?;
    for destination in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let header = Header { destination, ..subject.header(Command::Ata) };
        let argument = ata(&Subject::registers(op::WRITE_EXT, 33, 1), &[0xdd; SECTOR]);
        let answer = subject.ask(&header, &argument)?;
        let outcome = answer.map(|answer| answer.outcome()).transpose()?;
        ensure!(subject.read(33, 1)? == [6; SECTOR], "executed, sent to {destination}");
        ensure!(outcome.is_none_or(|outcome| outcome == Outcome::ABORTED), "{destination}: {}", outcome.context("")?);
    }
    Ok(Outcome::ABORTED.to_string())
}
