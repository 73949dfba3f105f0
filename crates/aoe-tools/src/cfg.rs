//! aoe-cfg, also as aoecfg: read, test and set the config strings of targets.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::{Exit, clean, log};
use nines_proto::aoe::config::{Action, Config};
use nines_proto::aoe::{Address, Command, MAX_CONFIG, Shelf, Slot};
use nines_proto::mac::Mac;

use crate::exchange::{self, Answer, Port, Question, USER_TAG};
use crate::getopt::{self, Grammar};
use crate::json;

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-cfg [-c cmd] [-s cfgstr] [-t timeout] [shelf slot] [net]
       aoe-cfg --json ...

Read, test or set the config strings of AoE targets: of the one with this shelf
and slot, of all (65535 and 255) without them; on eth0 unless told otherwise.

  -c cmd     read (unless given), test, prefix, set or fset
  -s cfgstr  the string to test for or to set
  -t secs    how long to wait: 2 unless given, 0 is for ever
  --json     one JSON object a line
  --help     print this
  --version  print the version
";

const USAGE: &str = "usage: aoe-cfg [-c cmd] [-s cfgstr] [-t timeout] [shelf slot] [net]\n";
/// The name that behaves to the letter as the program it is from.
pub const ORIGINAL: &str = "aoecfg";
/// An unanswered question is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How long aoe-cfg waits without -t; the original waits for ever.
const USUAL: Duration = Duration::from_secs(2);
/// More targets than a segment has.
const MOST: usize = 1 << 16;

#[derive(Debug)]
struct Wanted {
    action: Action,
    string: Vec<u8>,
    /// `None` is for ever.
    timeout: Option<Duration>,
    json: bool,
    address: Address,
    netif: String,
}

/// The program, under either name.
///
/// # Errors
/// A bad number, no such interface, a string too long.
pub fn run(program: &str, arguments: &[OsString]) -> anyhow::Result<Exit> {
    let line = (Grammar { letters: "s:c:t:", names: &["json"] }).parse(arguments);
    let wanted =
        line.map_err(|wrong| log(format_args!("{wrong}"))).ok().map(|line| wanted(program, &line)).transpose()?;
    let Some(wanted) = wanted.flatten() else {
        io::stderr().write_all(USAGE.replacen("aoe-cfg", program, 1).as_bytes())?;
        return Ok(Exit::No);
    };
    let ports = [Port::open(&wanted.netif)?];
    let argument = exchange::config_argument(wanted.action, &wanted.string)?;
    let question = Question {
        to: Mac::BROADCAST,
        address: wanted.address,
        command: Command::Config,
        tag: USER_TAG | std::process::id(),
        argument: &argument,
    };
    let (answered, refused) = converse(&ports, &question, &wanted)?;
    // Of the original every outcome is 0, and scripts may count on it.
    Ok(if program == ORIGINAL || answered && !refused { Exit::Ok } else { Exit::No })
}

fn wanted(program: &str, line: &getopt::Line) -> anyhow::Result<Option<Wanted>> {
    let mut wanted = Wanted {
        action: Action::Read,
        string: Vec::new(),
        timeout: (program != ORIGINAL).then_some(USUAL),
        json: false,
        address: Address::ALL,
        netif: "eth0".to_owned(),
    };
    for option in &line.options {
        match option.name.as_str() {
            "c" => match action(&option.value) {
                Some(action) => wanted.action = action,
                None => return Ok(None),
            },
            "s" => wanted.string = option.value.as_bytes().to_vec(),
            "t" => {
                let seconds: u32 = getopt::number(&option.value, 0, u32::MAX).context("-t")?;
                wanted.timeout = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            }
            _ => wanted.json = true,
        }
    }
    let (address, netif) = match line.operands.as_slice() {
        [] => (None, None),
        [netif] => (None, Some(netif)),
        [shelf, slot] => (Some((shelf, slot)), None),
        [shelf, slot, netif] => (Some((shelf, slot)), Some(netif)),
        _ => return Ok(None),
    };
    if let Some((shelf, slot)) = address {
        wanted.address.shelf = Shelf(getopt::c_number(shelf, u16::MAX).context("shelf")?);
        let slot = getopt::c_number(slot, u8::MAX.into()).context("slot")?;
        wanted.address.slot = Slot(u8::try_from(slot).unwrap_or(u8::MAX));
    }
    if let Some(netif) = netif {
        wanted.netif = netif.to_string_lossy().into_owned();
    }
    if wanted.string.len() > MAX_CONFIG {
        anyhow::bail!("-s: config string of {} bytes, more than {MAX_CONFIG}", wanted.string.len());
    }
    Ok(Some(wanted))
}

fn action(name: &OsStr) -> Option<Action> {
    Some(match name.as_bytes() {
        b"read" => Action::Read,
        b"test" => Action::Test,
        b"prefix" => Action::TestPrefix,
        b"set" => Action::Set,
        b"fset" => Action::ForceSet,
        _ => return None,
    })
}

/// Asks until it has its answer, or the time is over: whether anybody answered, and whether
/// somebody refused.
fn converse(ports: &[Port], question: &Question<'_>, wanted: &Wanted) -> anyhow::Result<(bool, bool)> {
    let port = &ports[0];
    let deadline = wanted.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let wild = wanted.address.is_wild();
    let (mut heard, mut refused) = (HashSet::new(), false);
    loop {
        match port.send(question) {
            Err(error) if !exchange::is_loss(&error) => {
                anyhow::bail!("{}: send config query: {}", port.name, exchange::words(&error))
            }
            _ => {}
        }
        let next = Instant::now() + AGAIN;
        let until = deadline.map_or(next, |deadline| deadline.min(next));
        while let Some(answer) = exchange::wait(ports, until)? {
            let header = &answer.header;
            let ours = header.tag == question.tag && header.command == Command::Config;
            // Asked again, everybody answers again.
            if !ours || !wanted.address.reaches(header.address) || heard.contains(&(header.address, header.source)) {
                continue;
            }
            let Some(text) = describe(&answer, wanted) else { continue };
            if heard.len() < MOST {
                heard.insert((header.address, header.source));
            }
            refused |= answer.refusal().is_some();
            let mut out = io::stdout().lock();
            out.write_all(&text)?;
            out.flush()?;
            if !wild {
                return Ok((true, refused));
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok((!heard.is_empty(), refused));
        }
    }
}

/// The line an answer is printed as, or `None` for one that is no answer to a config query.
fn describe(answer: &Answer, wanted: &Wanted) -> Option<Vec<u8>> {
    let address = answer.header.address;
    let error = answer.refusal();
    let string = match error {
        Some(_) => &[],
        None => Config::parse(answer.argument()).ok()?.string,
    };
    if wanted.json {
        let text = error.is_none().then(|| String::from_utf8_lossy(string));
        let text = text.as_deref().map_or_else(|| "null".to_owned(), json::quoted);
        let why = error.map_or_else(|| "null".to_owned(), |error| json::quoted(exchange::refusal_words(error)));
        let (shelf, slot, mac) = (address.shelf.0, address.slot.0, answer.header.source);
        let line =
            format!("{{\"shelf\":{shelf},\"slot\":{slot},\"mac\":\"{mac}\",\"string\":{text},\"error\":{why}}}\n");
        return Some(line.into_bytes());
    }
    let mut line = Vec::new();
    if wanted.address.is_wild() {
        line.extend_from_slice(format!("{}.{}\t", address.shelf.0, address.slot.0).as_bytes());
    }
    match error {
        Some(error) => line.extend_from_slice(star(error).as_bytes()),
        // Whoever answers chooses these bytes: a terminal is not to act on them.
        None if io::stdout().is_terminal() => {
            line.extend_from_slice(clean(&String::from_utf8_lossy(string)).as_bytes());
        }
        None => line.extend_from_slice(string),
    }
    line.push(b'\n');
    Some(line)
}

fn star(error: u8) -> &'static str {
    match error {
        1 => "*badcmd*",
        2 => "*badarg*",
        3 => "*baddev*",
        4 => "*badcfg*",
        5 => "*badvers*",
        _ => "*GOK*",
    }
}
