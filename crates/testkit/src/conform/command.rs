//! ATA commands that move no sectors of the disk, and IDENTIFY.

use anyhow::{Context, bail, ensure};
use nines_proto::aoe::SECTOR;
use nines_proto::aoe::ata::{DATA, Registers, TRIM, flag, op, smart};
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::trim::{Range, Ranges};

use super::Check;
use super::subject::{Outcome, Subject};

pub const CHECKS: &[Check] = &[
    Check { name: "identify-brings-one-sector", run: identify },
    Check { name: "identify-takes-any-padding", run: padding },
    Check { name: "identify-tells-the-size-in-both-forms", run: size },
    Check { name: "identify-sums-to-zero", run: sum },
    Check { name: "identify-names-the-disk-for-good", run: name },
    Check { name: "identify-announces-what-is-there", run: announced },
    Check { name: "flush-answers-ready", run: flush },
    Check { name: "check-power-mode-answers-active", run: power },
    Check { name: "smart-is-there-as-announced", run: health },
    Check { name: "trim-is-there-as-announced", run: trim },
    Check { name: "trim-looks-before-it-discards", run: trim_checked },
    Check { name: "other-ata-commands-are-aborted", run: others },
];

fn identify(subject: &mut Subject) -> anyhow::Result<String> {
    for (flags, lba3) in [(0, 0xa0), (flag::EXTENDED, 0), (0, 0)] {
        let registers = Registers { flags, lba: [0, 0, 0, lba3, 0, 0], ..Subject::registers(op::IDENTIFY, 0, 1) };
        let answer = subject.ata(registers, &[])?;
        ensure!(answer.outcome()? == Outcome::DONE, "{}", answer.outcome()?);
        ensure!(answer.frame.len() == DATA + SECTOR, "{} bytes", answer.frame.len());
    }
    let Identified { model, serial, .. } = Identified::parse(&subject.identify);
    Ok(format!("{model}, {serial}"))
}

fn padding(subject: &mut Subject) -> anyhow::Result<String> {
    // aoe-sancheck finds the longest frame of a path with them.
    let steps = usize::from(subject.most);
    for step in 0..=steps {
        let answer = subject.ata(Subject::registers(op::IDENTIFY, 0, 1), &vec![0; step * SECTOR])?;
        ensure!(answer.outcome()? == Outcome::DONE && answer.frame.len() == DATA + SECTOR, "{step} sectors of it");
    }
    Ok(format!("up to {steps} sectors"))
}

fn size(subject: &mut Subject) -> anyhow::Result<String> {
    let (low, high) = (u64::from(subject.word(60)), u64::from(subject.word(61)));
    let (short, whole) = (low | high << 16, subject.sectors);
    ensure!(short == whole.min(0x0fff_ffff), "{short} sectors in words 60-61, {whole} in 100-103");
    ensure!((subject.word(83) & subject.word(86)) >> 10 & 1 == 1, "no 48-bit commands");
    Ok(format!("{whole} sectors"))
}

fn sum(subject: &mut Subject) -> anyhow::Result<String> {
    match Identified::parse(&subject.identify).checksum_valid {
        Some(true) => Ok("word 255".into()),
        Some(false) => bail!("the sum is wrong"),
        None => bail!("no checksum in word 255"),
    }
}

fn name(subject: &mut Subject) -> anyhow::Result<String> {
    let name = Identified::parse(&subject.identify).world_wide_name.context("no world wide name in words 108-111")?;
    let again = Identified::parse(&subject.identified()?).world_wide_name;
    ensure!(again == Some(name), "another one when asked again");
    Ok(format!("{name:016x}"))
}

fn announced(subject: &mut Subject) -> anyhow::Result<String> {
    let (cache, enabled) = (subject.word(82) >> 5 & 1, subject.word(85) >> 5 & 1);
    ensure!(enabled <= cache, "a write cache is enabled that is not there");
    for (bit, code, what) in [(12, op::FLUSH, "FLUSH CACHE"), (13, op::FLUSH_EXT, "FLUSH CACHE EXT")] {
        let said = subject.word(83) >> bit & 1 == 1;
        let there = subject.ata(Subject::registers(code, 0, 0), &[])?.outcome()? == Outcome::DONE;
        ensure!(said == there, "{what} is {}announced and {}there", not(said), not(there));
    }
    Ok(format!("write cache {}", if enabled == 1 { "on" } else { "off" }))
}

fn not(truth: bool) -> &'static str {
    if truth { "" } else { "not " }
}

fn flush(subject: &mut Subject) -> anyhow::Result<String> {
    for code in [op::FLUSH, op::FLUSH_EXT] {
        let outcome = subject.ata(Subject::registers(code, 0, 0), &[])?.outcome()?;
        ensure!(outcome == Outcome::DONE, "{code:02x}h: {outcome}");
    }
    Ok(Outcome::DONE.to_string())
}

fn power(subject: &mut Subject) -> anyhow::Result<String> {
    for count in [0, 1] {
        let answer = subject.ata(Subject::registers(op::CHECK_POWER_MODE, 0, count), &[])?;
        let (registers, _) = answer.registers()?;
        ensure!(answer.outcome()? == Outcome::DONE, "count {count}: {}", answer.outcome()?);
        ensure!(registers.count == 0xff, "count {count}: {:#x} is not active", registers.count);
    }
    Ok("count FFh".into())
}

fn smart_registers(feature_error: u8) -> Registers {
    let lba = [0, smart::KEY[0], smart::KEY[1], 0xa0, 0, 0];
    Registers { flags: 0, feature_error, lba, ..Subject::registers(op::SMART, 0, 0) }
}

fn health(subject: &mut Subject) -> anyhow::Result<String> {
    let answer = subject.ata(smart_registers(smart::RETURN_STATUS), &[0; SECTOR])?;
    if !Identified::parse(&subject.identify).smart {
        ensure!(answer.outcome()? == Outcome::ABORTED, "not announced: {}", answer.outcome()?);
        return Ok("not announced, aborted".into());
    }
    let (registers, _) = answer.registers()?;
    ensure!(answer.outcome()? == Outcome::DONE, "{}", answer.outcome()?);
    let said = [registers.lba[1], registers.lba[2]];
    ensure!([smart::KEY, smart::FAILING].contains(&said), "LBA {:02x} {:02x}", said[0], said[1]);
    ensure!(answer.frame.len() >= DATA + SECTOR, "{} bytes: aoeping overlooks it", answer.frame.len());
    let keyless = Registers { lba: [0; 6], ..smart_registers(smart::RETURN_STATUS) };
    for registers in [keyless, smart_registers(smart::READ_DATA), smart_registers(0xd5), smart_registers(0)] {
        let outcome = subject.ata(registers, &[0; SECTOR])?.outcome()?;
        ensure!(outcome == Outcome::ABORTED, "{:02x}h: {outcome}", registers.feature_error);
    }
    Ok(if said == smart::KEY { "healthy".into() } else { "failing".into() })
}

fn trim_registers() -> Registers {
    Registers { feature_error: TRIM, ..Subject::registers(op::DATA_SET_MANAGEMENT, 0, 1) }
}

fn ranges(list: &[Range]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    assert!(Ranges::encode(list, &mut sector), "{} ranges in a sector", list.len());
    sector
}

/// Writes 64 sectors and discards 20 of them in two ranges.
fn trim(subject: &mut Subject) -> anyhow::Result<String> {
    use nines_proto::aoe::identify::Trim;
    let announced = Identified::parse(&subject.identify).trim;
    for sector in 0..64 {
        subject.write(1000 + sector, &[0x5a; SECTOR])?;
    }
    let list = ranges(&[Range { first: 1008, sectors: 16 }, Range { first: 1040, sectors: 4 }]);
    let outcome = subject.ata(trim_registers(), &list)?.outcome()?;
    let wanted = if announced == Trim::None { Outcome::ABORTED } else { Outcome::DONE };
    ensure!(outcome == wanted, "{announced:?} announced: {outcome}");
    for sector in 0..64 {
        let data = subject.read(1000 + sector, 1)?;
        let trimmed = (8..24).contains(&sector) || (40..44).contains(&sector);
        let fill = match announced {
            Trim::Undetermined if trimmed => continue,
            Trim::Zeroes if trimmed => 0,
            _ => 0x5a,
        };
        ensure!(data.iter().all(|byte| *byte == fill), "sector {} is not {fill:#x}", 1000 + sector);
    }
    Ok(match announced {
        Trim::None => "not announced, aborted".into(),
        Trim::Undetermined => "anything afterwards".into(),
        Trim::Zeroes => "zeroes afterwards".into(),
    })
}

fn trim_checked(subject: &mut Subject) -> anyhow::Result<String> {
    use nines_proto::aoe::identify::Trim;
    let there = Identified::parse(&subject.identify).trim != Trim::None;
    subject.write(1000, &[0x5a; SECTOR])?;
    let good = Range { first: 1000, sectors: 1 };
    let beyond = |first, sectors| ranges(&[good, Range { first, sectors }]);
    let end = subject.sectors;
    let bad = if there { Outcome::NO_SUCH_SECTOR } else { Outcome::ABORTED };
    for (first, sectors) in [(end, 1), (end - 1, 2), ((1 << 48) - 1, 0xffff), (end - 1, 0xffff)] {
        let outcome = subject.ata(trim_registers(), &beyond(first, sectors))?.outcome()?;
        ensure!(outcome == bad, "{sectors} sectors at {first}: {outcome}");
    }
    let list = ranges(&[good]);
    for (what, registers, data) in [
        ("a short list", trim_registers(), &list[..100]),
        ("no list", Registers { count: 0, ..trim_registers() }, &list[..]),
        ("feature 0", Registers { feature_error: 0, ..trim_registers() }, &list[..]),
    ] {
        let outcome = subject.ata(registers, data)?.outcome()?;
        ensure!(outcome == Outcome::ABORTED, "{what}: {outcome}");
    }
    ensure!(subject.read(1000, 1)? == [0x5a; SECTOR], "a refused command discarded the sector");
    Ok(bad.to_string())
}

fn others(subject: &mut Subject) -> anyhow::Result<String> {
    let known = [
        op::DATA_SET_MANAGEMENT,
        op::READ,
        op::READ_EXT,
        op::READ_DMA_EXT,
        op::WRITE,
        op::WRITE_EXT,
        op::WRITE_DMA_EXT,
        op::SMART,
        op::READ_DMA,
        op::WRITE_DMA,
        op::CHECK_POWER_MODE,
        op::FLUSH,
        op::FLUSH_EXT,
        op::IDENTIFY,
    ];
    let mut aborted = 0;
    for code in (0..=255).filter(|code| !known.contains(code)) {
        let asked = subject.ata(Subject::registers(code, 0, 0), &[0; SECTOR]);
        let answer = asked.with_context(|| format!("{code:02x}h"))?;
        ensure!(answer.outcome()? == Outcome::ABORTED, "{code:02x}h: {}", answer.outcome()?);
        aborted += 1;
    }
    Ok(format!("{aborted} of them"))
}
