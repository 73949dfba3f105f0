//! Duplicates and overlapping requests: what a target that works on several at once could get
//! wrong.

use std::time::Instant;

use anyhow::ensure;
use nines_proto::aoe::ata::op;
use nines_proto::aoe::{Command, SECTOR};

use super::Check;
use super::subject::{Outcome, PATIENCE, Subject, ata};

pub const CHECKS: &[Check] = &[
    Check { name: "every-duplicate-is-answered", run: duplicates },
    Check { name: "as-many-as-can-be-queued-are-answered", run: queued },
    Check { name: "overlapping-requests-keep-their-order", run: overlapping },
    Check { name: "a-late-duplicate-never-undoes-a-newer-write", run: late },
];

/// One request of a burst.
struct Sent {
    tag: u32,
    sector: u64,
    count: u8,
    /// What a read has to find, byte for byte of each sector.
    finds: Option<Vec<u8>>,
}

/// Sends a read or a write without waiting.
fn send(subject: &mut Subject, sector: u64, count: u8, fill: Option<u8>) -> anyhow::Result<u32> {
    let header = subject.header(Command::Ata);
    let (code, data) = match fill {
        Some(fill) => (op::WRITE_EXT, vec![fill; usize::from(count) * SECTOR]),
        None => (op::READ_EXT, Vec::new()),
    };
    subject.send(&header, &ata(&Subject::registers(code, sector, count), &data))?;
    Ok(header.tag)
}

/// Waits for every answer of a burst and checks what reads found.
fn collect(subject: &mut Subject, mut burst: Vec<Sent>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !burst.is_empty() {
        let Some(answer) = subject.next(deadline)? else {
            anyhow::bail!("{} of the answers are missing", burst.len());
        };
        let Some(at) = burst.iter().position(|sent| sent.tag == answer.header.tag) else { continue };
        let sent = burst.swap_remove(at);
        ensure!(answer.outcome()? == Outcome::DONE, "{}", answer.outcome()?);
        let Some(finds) = sent.finds else { continue };
        let (_, data) = answer.registers()?;
        ensure!(data.len() == usize::from(sent.count) * SECTOR, "{} bytes", data.len());
        for (at, (sector, wanted)) in data.chunks_exact(SECTOR).zip(&finds).enumerate() {
            let found = sector[0];
            ensure!(sector.iter().all(|byte| *byte == found), "sector {} is torn", sent.sector + at as u64);
            ensure!(found == *wanted, "sector {}: write {found} instead of {wanted}", sent.sector + at as u64);
        }
    }
    Ok(())
}

fn duplicates(subject: &mut Subject) -> anyhow::Result<String> {
    let mut burst = Vec::new();
    for copy in 0..5 {
        let tag = send(subject, 40, 1, if copy % 2 == 0 { Some(1) } else { None })?;
        burst.push(Sent { tag, sector: 40, count: 1, finds: (copy % 2 == 1).then(|| vec![1]) });
    }
    collect(subject, burst)?;
    // The same frame twice, as a switch may deliver it.
    let header = subject.header(Command::Ata);
    let argument = ata(&Subject::registers(op::READ_EXT, 40, 1), &[]);
    let deadline = Instant::now() + PATIENCE;
    subject.send(&header, &argument)?;
    subject.send(&header, &argument)?;
    let mut answers = 0;
    while answers < 2 {
        let Some(answer) = subject.next(deadline)? else { anyhow::bail!("{answers} of 2 answers") };
        answers += usize::from(answer.header.tag == header.tag);
    }
    Ok("under new tags and under the same".into())
}

fn queued(subject: &mut Subject) -> anyhow::Result<String> {
    let (buffers, most) = (subject.buffers, subject.most);
    for fill in [None, Some(3)] {
        let mut burst = Vec::new();
        for at in 0..buffers {
            let sector = 64 + u64::from(at % 64) * 32;
            let tag = send(subject, sector, most, fill)?;
            burst.push(Sent { tag, sector, count: most, finds: None });
        }
        collect(subject, burst)?;
    }
    Ok(format!("{buffers} reads and {buffers} writes at once"))
}

fn overlapping(subject: &mut Subject) -> anyhow::Result<String> {
    const SPAN: usize = 64;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap_or(0) % below
    };
    let base = 2048;
    for sector in 0..SPAN as u64 {
        subject.write(base + sector, &[0; SECTOR])?;
    }
    let mut model = vec![0; SPAN];
    let depth = usize::from(subject.buffers.clamp(2, 32));
    for round in 0..40 {
        let mut burst = Vec::new();
        for at in 0..depth {
            let count = 1 + next(usize::from(subject.most).min(SPAN));
            let first = next(SPAN - count + 1);
            let fill = (next(2) == 0).then(|| u8::try_from(1 + (round * depth + at) % 255).unwrap_or(1));
            if let Some(fill) = fill {
                model[first..first + count].fill(fill);
            }
            let (sector, count) = (base + first as u64, u8::try_from(count)?);
            let tag = send(subject, sector, count, fill)?;
            let finds = fill.is_none().then(|| model[first..first + usize::from(count)].to_vec());
            burst.push(Sent { tag, sector, count, finds });
        }
        collect(subject, burst)?;
    }
    for (sector, wanted) in (base..).zip(&model) {
        ensure!(subject.read(sector, 1)? == [*wanted; SECTOR], "sector {sector} at the end");
    }
    Ok(format!("40 rounds of {depth}"))
}

fn late(subject: &mut Subject) -> anyhow::Result<String> {
    let rounds = 200;
    for round in 0..rounds {
        let (older, newer) = (1 + round % 127, 128 + round % 127);
        // The first copy is not waited for: as an initiator does that took it for lost.
        send(subject, 3000, subject.most, Some(older))?;
        let again = send(subject, 3000, subject.most, Some(older))?;
        collect(subject, vec![Sent { tag: again, sector: 3000, count: subject.most, finds: None }])?;
        let write = send(subject, 3000, 1, Some(newer))?;
        let read = send(subject, 3000, 1, None)?;
        collect(
            subject,
            vec![
                Sent { tag: write, sector: 3000, count: 1, finds: None },
                Sent { tag: read, sector: 3000, count: 1, finds: Some(vec![newer]) },
            ],
        )?;
        ensure!(subject.read(3000, 1)? == [newer; SECTOR], "the older write landed last");
    }
    Ok(format!("{rounds} rounds"))
}
