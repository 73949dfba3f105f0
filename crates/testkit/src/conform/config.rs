//! Query config information: the five forms, and strings that are too long.

use anyhow::{Context, ensure};
use nines_proto::aoe::config::{Action, Config};
use nines_proto::aoe::{Address, Command, Header, MAX_CONFIG, sectors_per_frame};
use nines_proto::mac::Mac;

use super::Check;
use super::subject::{Subject, config_argument};

pub const CHECKS: &[Check] = &[
    Check { name: "config-says-what-can-be-queued-and-carried", run: numbers },
    Check { name: "config-read-ignores-the-argument", run: junk },
    Check { name: "config-test-wants-the-whole-string", run: test },
    Check { name: "config-prefix-wants-the-beginning", run: prefix },
    Check { name: "config-set-keeps-a-string-that-is-there", run: set },
    Check { name: "config-force-set-replaces-it", run: force },
    Check { name: "config-takes-1024-bytes-and-no-more", run: longest },
    Check { name: "config-never-takes-more-than-the-frame-holds", run: beyond },
    Check { name: "config-is-asked-by-wildcard-in-every-form", run: wildcard },
    Check { name: "config-refuses-unknown-forms", run: unknown },
];

/// AoE error and string of an answer.
fn answered(subject: &mut Subject, action: Action, string: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
    let answer = subject.config(action, string)?.context("no answer")?;
    let config = Config::parse(answer.argument())?;
    ensure!(config.action == action, "{:?} in the answer to {action:?}", config.action);
    Ok((answer.header.error, config.string.to_vec()))
}

fn expect(subject: &mut Subject, action: Action, string: &[u8], wanted: (u8, &[u8])) -> anyhow::Result<()> {
    let (error, now) = answered(subject, action, string)?;
    let wide = (error, &now[..]);
    ensure!(wide == wanted, "{action:?}: AoE error {error} and `{}'", now.escape_ascii());
    Ok(())
}

fn silent(subject: &mut Subject, action: Action, string: &[u8]) -> anyhow::Result<()> {
    let header = subject.header(Command::Config);
    subject.silence(&format!("{action:?} of `{}'", string.escape_ascii()), &header, &config_argument(action, string))
}

fn numbers(subject: &mut Subject) -> anyhow::Result<String> {
    let answer = subject.config(Action::Read, b"")?.context("no answer")?;
    let Config { buffers, sectors, version, .. } = Config::parse(answer.argument())?;
    // Linux halves it and brings no target up that is left with none.
    ensure!(buffers >= 2, "{buffers} buffers");
    let wanted = sectors_per_frame(subject.initiator.mtu);
    ensure!(sectors == wanted, "{sectors} sectors at MTU {}", subject.initiator.mtu);
    ensure!(version == 1, "AoE version {version}");
    Ok(format!("{buffers} buffers, {sectors} sectors"))
}

fn junk(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, Action::Read, &[0xed; MAX_CONFIG], (0, b""))?;
    Ok("as aoeping sends it".into())
}

fn test(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, Action::Set, b"label", (0, b"label"))?;
    expect(subject, Action::Test, b"label", (0, b"label"))?;
    for other in [&b"labe"[..], b"label2", b"", b"LABEL"] {
        silent(subject, Action::Test, other)?;
    }
    Ok("silence otherwise".into())
}

fn prefix(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, Action::Set, b"label", (0, b"label"))?;
    for beginning in [&b""[..], b"lab", b"label"] {
        expect(subject, Action::TestPrefix, beginning, (0, b"label"))?;
    }
    for other in [&b"abel"[..], b"label2"] {
        silent(subject, Action::TestPrefix, other)?;
    }
    Ok("silence otherwise".into())
}

fn set(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, Action::Set, b"first", (0, b"first"))?;
    expect(subject, Action::Set, b"second", (4, b"first"))?;
    // A set whose answer was lost is sent again.
    expect(subject, Action::Set, b"first", (0, b"first"))?;
    Ok("AoE error 4".into())
}

fn force(subject: &mut Subject) -> anyhow::Result<String> {
    for string in [&b"first"[..], b"second", b"", &[0, 0xff, 0]] {
        expect(subject, Action::ForceSet, string, (0, string))?;
        expect(subject, Action::Read, b"", (0, string))?;
    }
    Ok("any bytes".into())
}

fn longest(subject: &mut Subject) -> anyhow::Result<String> {
    let string: Vec<u8> = (0..MAX_CONFIG).map(|at| at.to_le_bytes()[0]).collect();
    expect(subject, Action::ForceSet, &string, (0, &string))?;
    let mut argument = config_argument(Action::ForceSet, &string);
    argument.push(0xee);
    argument[6..8].copy_from_slice(&1025_u16.to_be_bytes());
    let header = subject.header(Command::Config);
    let refused = subject.ask(&header, &argument)?.map(|answer| answer.header.error);
    expect(subject, Action::Read, b"", (0, &string))?;
    Ok(refused.map_or("silence for 1025".into(), |error| format!("AoE error {error} for 1025")))
}

fn beyond(subject: &mut Subject) -> anyhow::Result<String> {
    expect(subject, Action::ForceSet, b"now", (0, b"now"))?;
    for more in [1, 32, 33, 1000] {
        let mut argument = config_argument(Action::ForceSet, b"0123456789");
        argument[6..8].copy_from_slice(&(10_u16 + more).to_be_bytes());
        let header = subject.header(Command::Config);
        subject.ask(&header, &argument)?.with_context(|| format!("no answer to {more} bytes too many"))?;
        let (_, string) = answered(subject, Action::Read, b"")?;
        ensure!(string == b"now", "{} bytes that were not in the frame are published", string.len() - 10);
    }
    Ok("refused".into())
}

fn wildcard(subject: &mut Subject) -> anyhow::Result<String> {
    let forms = [Action::Set, Action::Read, Action::Test, Action::TestPrefix, Action::ForceSet];
    for action in forms {
        let header = Header { destination: Mac::BROADCAST, address: Address::ALL, ..subject.header(Command::Config) };
        let answer = subject.ask(&header, &config_argument(action, b"label"))?;
        let answer = answer.with_context(|| format!("{action:?}: no answer"))?;
        ensure!(Config::parse(answer.argument())?.string == b"label", "{action:?}");
    }
    Ok("all five".into())
}

fn unknown(subject: &mut Subject) -> anyhow::Result<String> {
    for action in 5..16 {
        expect(subject, Action::from(action), b"label", (2, b""))?;
    }
    Ok("AoE error 2".into())
}
