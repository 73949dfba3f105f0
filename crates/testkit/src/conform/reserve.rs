//! Reserve and release.

use anyhow::{Context, ensure};
use nines_proto::aoe::ata::op;
use nines_proto::aoe::reserve::{Action, Reserve};
use nines_proto::aoe::{Command, Header, SECTOR};
use nines_proto::mac::Mac;

use super::Check;
use super::subject::{Subject, ata};

pub const CHECKS: &[Check] = &[
    Check { name: "a-reservation-is-set-read-and-released", run: set },
    Check { name: "a-reservation-of-others-is-refused-and-shown", run: conflict },
    Check { name: "a-reserved-disk-gives-others-no-data", run: data },
    Check { name: "a-reserved-disk-tells-others-what-it-is", run: harmless },
    Check { name: "a-reservation-is-taken-by-force", run: force },
    Check { name: "reservations-the-frame-does-not-hold-are-refused", run: beyond },
    Check { name: "unknown-reserve-commands-are-refused", run: unknown },
];

/// Two hosts that are not this one.
pub(super) const OTHERS: [Mac; 2] = [Mac([2, 0, 0, 0, 0xfe, 1]), Mac([2, 0, 0, 0, 0xfe, 2])];

/// Sets or reads and wants this error and list.
fn expect(subject: &mut Subject, from: Mac, action: Action, macs: &[Mac], wanted: (u8, &[Mac])) -> anyhow::Result<()> {
    let answer = subject.reserve(from, action, macs)?.context("no answer")?;
    let list: Vec<Mac> = Reserve::parse(answer.argument())?.macs().collect();
    ensure!((answer.header.error, &list[..]) == wanted, "{action:?}: AoE error {}, list {list:?}", answer.header.error);
    Ok(())
}

fn set(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, me, Action::Read, &[], (0, &[]))?;
    expect(subject, me, Action::Set, &[me, OTHERS[0]], (0, &[me, OTHERS[0]]))?;
    expect(subject, OTHERS[1], Action::Read, &[], (0, &[me, OTHERS[0]]))?;
    expect(subject, OTHERS[0], Action::Set, &[], (0, &[]))?;
    Ok("by either holder".into())
}

fn conflict(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, me, Action::Set, &[me], (0, &[me]))?;
    expect(subject, OTHERS[0], Action::Set, &[OTHERS[0]], (6, &[me]))?;
    expect(subject, OTHERS[0], Action::Set, &[], (6, &[me]))?;
    Ok("AoE error 6".into())
}

fn data(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    subject.write(50, &[1; SECTOR])?;
    expect(subject, me, Action::Set, &[me], (0, &[me]))?;
    for (code, data) in [(op::READ_EXT, &[][..]), (op::WRITE_EXT, &[2; SECTOR]), (op::FLUSH, &[])] {
        let header = Header { source: OTHERS[0], ..subject.header(Command::Ata) };
        let answer = subject.told(&header, &ata(&Subject::registers(code, 50, 1), data))?;
        ensure!(answer.header.error == 6, "{code:02x}h: AoE error {}", answer.header.error);
    }
    ensure!(subject.read(50, 1)? == [1; SECTOR], "another's write was executed");
    subject.write(50, &[3; SECTOR])?;
    Ok("AoE error 6".into())
}

fn harmless(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, me, Action::Set, &[me], (0, &[me]))?;
    let identify = ata(&Subject::registers(op::IDENTIFY, 0, 1), &[]);
    for (command, argument) in [(Command::Ata, &identify[..]), (Command::Config, &[0; 36]), (Command::Mask, &[0; 4])] {
        let header = Header { source: OTHERS[0], ..subject.header(command) };
        let answer = subject.told(&header, argument)?;
        ensure!(answer.header.error == 0, "{command:?}: AoE error {}", answer.header.error);
    }
    Ok("IDENTIFY, config, mask".into())
}

fn force(subject: &mut Subject) -> anyhow::Result<String> {
    let me = subject.initiator.mac;
    expect(subject, me, Action::Set, &[me], (0, &[me]))?;
    expect(subject, OTHERS[0], Action::ForceSet, &[OTHERS[0]], (0, &[OTHERS[0]]))?;
    expect(subject, me, Action::Set, &[me], (6, &[OTHERS[0]]))?;
    expect(subject, me, Action::ForceSet, &[], (0, &[]))?;
    Ok("and by force again".into())
}

fn beyond(subject: &mut Subject) -> anyhow::Result<String> {
    for count in [2, 6, 255] {
        // One address, and what is left of the shortest frame.
        let mut argument = vec![1, count];
        argument.extend(OTHERS[0].0);
        let header = subject.header(Command::Reserve);
        let error = subject.ask(&header, &argument)?.map_or(0, |answer| answer.header.error);
        let answer = subject.reserve(OTHERS[0], Action::Read, &[])?.context("no answer")?;
        let list = Reserve::parse(answer.argument())?.macs().len();
        ensure!(list == 0, "{count} addresses of which one was there: {list} listed");
        ensure!(error == 2, "{count} addresses of which one was there: AoE error {error}");
    }
    Ok("AoE error 2".into())
}

fn unknown(subject: &mut Subject) -> anyhow::Result<String> {
    for action in [3, 255] {
        let answer = subject.reserve(subject.initiator.mac, Action::from(action), &[])?.context("no answer")?;
        ensure!(answer.header.error == 2, "command {action}: AoE error {}", answer.header.error);
    }
    Ok("AoE error 2".into())
}
