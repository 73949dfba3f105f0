//! The MAC mask list. Most of it ends vblade, or leaves it with a list of its own making.

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::op;
use nines_proto::aoe::mask::{Action, Mask, Verb};
use nines_proto::aoe::{Command, Header};
use nines_proto::mac::Mac;

use super::Check;
use super::reserve::OTHERS;
use super::subject::{Subject, ata, mask_argument, masked};

pub const CHECKS: &[Check] = &[
    Check { name: "an-empty-mask-is-shown", run: empty },
    Check { name: "a-masked-host-hears-nothing", run: silence },
    Check { name: "an-address-is-listed-once", run: once },
    Check { name: "several-addresses-are-listed-in-order", run: several },
    Check { name: "any-address-is-taken-off-the-list", run: delete },
    Check { name: "an-unknown-directive-stops-an-edit", run: stops },
    Check { name: "directives-the-frame-does-not-hold-are-not-executed", run: beyond },
    Check { name: "a-full-mask-still-fits-its-answer", run: full },
    Check { name: "unknown-mask-commands-are-refused", run: unknown },
];

/// Edits and wants this list in the answer and when asked again.
fn expect(subject: &mut Subject, edits: &[(Verb, Mac)], wanted: &[Mac]) -> anyhow::Result<()> {
    for (action, edits) in [(Action::Edit, edits), (Action::Read, &[])] {
        let list = masked(&subject.mask(action, edits)?.with_context(|| format!("{action:?}: no answer"))?)?;
        ensure!(list == wanted, "{action:?}: {list:?}, not {wanted:?}");
    }
    Ok(())
}

fn empty(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, &[], &[])?;
    Ok("no addresses".into())
}

fn silence(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, &[(Verb::Add, me)], &[me])?;
    let identify = ata(&Subject::registers(op::IDENTIFY, 0, 1), &[]);
    let table = [
        (Command::Ata, &identify[..]),
        (Command::Config, &[0; 36]),
        (Command::Mask, &[0; 4]),
        (Command::Reserve, &[0; 2]),
    ];
    for (command, argument) in table {
        let header = Header { source: OTHERS[0], ..subject.header(command) };
        subject.silence(&format!("{command:?} of another"), &header, argument)?;
    }
    Ok("silence".into())
}

fn once(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, &[(Verb::Add, me), (Verb::Add, me)], &[me])?;
    expect(subject, &[(Verb::Add, me), (Verb::None, OTHERS[0])], &[me])?;
    Ok("added three times".into())
}

fn several(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    let [first, second] = OTHERS;
    expect(subject, &[(Verb::Add, me)], &[me])?;
    expect(subject, &[(Verb::Add, first), (Verb::Add, second)], &[me, first, second])?;
    Ok("three".into())
}

fn delete(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    let [first, second] = OTHERS;
    expect(subject, &[(Verb::Add, me), (Verb::Add, first), (Verb::Add, second)], &[me, first, second])?;
    expect(subject, &[(Verb::Delete, first), (Verb::Delete, first)], &[me, second])?;
    expect(subject, &[(Verb::Delete, second)], &[me])?;
    expect(subject, &[(Verb::Delete, me)], &[])?;
    Ok("middle, last, only".into())
}

fn stops(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    let edits = [(Verb::Add, me), (Verb::Other(7), me), (Verb::Add, OTHERS[0])];
    let answer = subject.mask(Action::Edit, &edits)?.context("no answer")?;
    let mask = Mask::parse(answer.argument())?;
    ensure!(answer.header.error == 0, "AoE error {}", answer.header.error);
    ensure!((mask.error, mask.count) == (2, 1), "MError {} after {}", mask.error, mask.count);
    expect(subject, &[], &[me])?;
    Ok("MError 2, the first one done".into())
}

fn beyond(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    // Directives that a target may still have from a frame before.
    let junk = mask_argument(Action::Read, &[(Verb::Add, me), (Verb::Add, OTHERS[0]), (Verb::Add, OTHERS[1])]);
    let header = subject.header(Command::Mask);
    subject.told(&header, &junk)?;
    let mut argument = mask_argument(Action::Edit, &[(Verb::Add, me)]);
    argument[3] = 3;
    let header = subject.header(Command::Mask);
    let error = subject.ask(&header, &argument)?.map_or(0, |answer| answer.header.error);
    let list = masked(&subject.mask(Action::Read, &[])?.context("no answer")?)?;
    ensure!(list.is_empty(), "executed beyond the frame: {list:?}");
    Ok(format!("AoE error {error}"))
}

fn full(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, &[(Verb::Add, me)], &[me])?;
    for number in 0..300_u16 {
        let [high, low] = number.to_be_bytes();
        let mac = Mac([2, 0, 0, 0xfd, high, low]);
        let answer = subject.mask(Action::Edit, &[(Verb::Add, mac)])?.context("no answer")?;
        let mask = Mask::parse(answer.argument())?;
        if mask.error != 0 {
            ensure!(mask.error == 3, "MError {} with {} listed", mask.error, number + 1);
            let list = masked(&subject.mask(Action::Read, &[])?.context("no answer")?)?;
            ensure!(list.len() == usize::from(number) + 1, "{} listed", list.len());
            return Ok(format!("MError 3 after {}", number + 1));
        }
    }
    anyhow::bail!("301 addresses taken, a count byte says 255")
}

fn unknown(subject: &mut Subject) -> anyhow::Result<String> {
    for action in [2, 255] {
        let answer = subject.mask(Action::from(action), &[])?.context("no answer")?;
        ensure!(answer.header.error == 2, "command {action}: AoE error {}", answer.header.error);
    }
    Ok("AoE error 2".into())
}
