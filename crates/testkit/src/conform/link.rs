//! The target's end of the link changing under it. Needs a command that can do that.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::op;
use nines_proto::aoe::config::{Action, Config};
use nines_proto::aoe::{Command, Flags, MIN_FRAME, sectors_per_frame};
use nines_proto::mac::Mac;

use super::Check;
use super::subject::{Answer, Outcome, Skipped, Subject, ata};

pub const CHECKS: &[Check] = &[
    Check { name: "a-smaller-mtu-is-followed", run: mtu },
    Check { name: "a-link-that-goes-down-is-waited-for", run: down },
];

const WAIT: Duration = Duration::from_secs(5);

/// Changes the link and takes the advertisement that follows.
fn advertised(subject: &mut Subject, change: &str) -> anyhow::Result<Answer> {
    subject.advertised();
    subject.change_link(change)?;
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(answer) = subject.advertised().into_iter().next() {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "`{change}': no advertisement");
        // Late answers end this wait as well as advertisements do.
        subject.next(Instant::now() + Duration::from_millis(20))?;
    }
}

/// What initiators want of an advertisement.
fn well_formed(answer: &Answer) -> anyhow::Result<()> {
    let header = answer.header;
    ensure!(header.version == 1, "version {} in the advertisement", header.version);
    ensure!(header.flags == Flags::RESPONSE && header.error == 0, "flags {:?} in the advertisement", header.flags);
    ensure!(header.destination == Mac::BROADCAST, "advertised to {}", header.destination);
    ensure!(answer.frame.len() >= MIN_FRAME, "advertisement of {} bytes", answer.frame.len());
    Ok(())
}

fn sectors(subject: &mut Subject) -> anyhow::Result<u8> {
    let answer = subject.config(Action::Read, b"")?.context("no answer")?;
    Ok(Config::parse(answer.argument())?.sectors)
}

fn mtu(subject: &mut Subject) -> anyhow::Result<String> {
    if subject.link.is_none() {
        return Err(Skipped("needs --link").into());
    }
    let before = subject.initiator.mtu;
    let result = smaller(subject, before);
    // Whatever came of it: the checks that follow want the old one.
    subject.change_link(&format!("mtu {before}"))?;
    let back = subject.alive(WAIT)?;
    let seen = result?;
    ensure!(back, "silent at the old MTU");
    Ok(seen)
}

fn smaller(subject: &mut Subject, before: usize) -> anyhow::Result<String> {
    let small = if before > 1500 { 1500 } else { 1000 };
    let old = sectors_per_frame(before);
    subject.mark()?;
    subject.change_link(&format!("mtu {small}"))?;
    // The first answers may be as long as they were and so not come at all: initiators ask again.
    let deadline = Instant::now() + WAIT;
    let answer = loop {
        let header = subject.header(Command::Ata);
        subject.send(&header, &ata(&Subject::registers(op::READ_EXT, 0, old), &[]))?;
        if let Some(answer) = subject.answer(header.tag, Duration::from_millis(200))? {
            break answer;
        }
        ensure!(Instant::now() < deadline, "no answer");
    };
    ensure!(answer.outcome()? == Outcome::ABORTED, "{old} sectors at MTU {small}: {}", answer.outcome()?);
    let now = sectors(subject)?;
    ensure!(now == sectors_per_frame(small), "{now} sectors at MTU {small}");
    subject.marked()?;
    Ok(format!("{old} sectors at {before}, {now} at {small}"))
}

fn down(subject: &mut Subject) -> anyhow::Result<String> {
    subject.mark()?;
    subject.change_link("down")?;
    let answer = advertised(subject, "up")?;
    subject.marked()?;
    well_formed(&answer)?;
    subject.read(0, 1)?;
    Ok("advertised again".into())
}
