//! aoe-discover: have the kernel's driver ask who is there, or ask oneself.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use nines_cli::{Exit, clean};

use crate::getopt::{self, Grammar};
use crate::{control, exchange, json, paths, survey};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-discover
       aoe-discover --interface IF... [--timeout SECS] [--json]

Tell the aoe driver to discover AoE devices on its network interfaces. With
--interface ask on that one without the driver, and print who answers.

  --interface IF  ask on this one, and on others so named
  --timeout SECS  how long to wait after the last answer [default: 1]
  --json          one JSON object a line
  --help          print this
  --version       print the version
";

/// How long no target may be new until all have answered.
const QUIET: Duration = Duration::from_secs(1);

/// What is asked without the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The interfaces to ask on.
    pub interfaces: Vec<String>,
    /// How long nobody new may answer.
    pub quiet: Duration,
    /// One JSON object a line.
    pub json: bool,
    /// What else was on the command line.
    pub operands: Vec<OsString>,
}

/// Takes the arguments apart when one of them is `--interface`.
///
/// # Errors
/// What is wrong with them.
pub fn raw(arguments: &[OsString]) -> anyhow::Result<Option<Raw>> {
    let named = |argument: &OsString| argument == "--interface" || starts_with(argument, "--interface=");
    if !arguments.iter().any(named) {
        return Ok(None);
    }
    let line = (Grammar { letters: "", names: &["interface:", "timeout:", "json"] }).parse(arguments)?;
    let mut raw = Raw { interfaces: Vec::new(), quiet: QUIET, json: false, operands: line.operands };
    for option in line.options {
        match option.name.as_str() {
            "interface" => raw.interfaces.push(option.value.to_string_lossy().into_owned()),
            "timeout" => raw.quiet = getopt::seconds(&option.value).context("--timeout")?,
            _ => raw.json = true,
        }
    }
    Ok(Some(raw))
}

fn starts_with(argument: &OsStr, beginning: &str) -> bool {
    argument.as_encoded_bytes().starts_with(beginning.as_bytes())
}

/// The program. Without --interface arguments are ignored, as in the original.
///
/// # Errors
/// The driver's refusal, or an interface's.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let Some(raw) = raw(arguments)? else {
        return control::command(&paths::etherd().join("discover"), b"\n");
    };
    let ports = exchange::open_all(&raw.interfaces)?;
    let survey = survey::everybody(&ports, raw.quiet)?;
    survey.warn_of_mute(&ports);
    let mut out = io::stdout().lock();
    for (path, seen) in &survey.paths {
        let (device, netif, mac) = (path.address, &ports[path.port].name, path.mac);
        let (buffers, payload) = (seen.buffers, seen.payload(ports[path.port].link.mtu));
        let label = String::from_utf8_lossy(&seen.string);
        if raw.json {
            let (netif, label) = (json::quoted(netif), json::quoted(&label));
            writeln!(
                out,
                "{{\"device\":\"{device}\",\"netif\":{netif},\"mac\":\"{mac}\",\"payload\":{payload},\"buffers\":{buffers},\"config\":{label}}}"
            )?;
        } else {
            // A label with a tab or a newline in it must not look like another column or line.
            let label = clean(&label).replace('\t', "\\t").replace('\n', "\\n");
            writeln!(out, "{device}\t{netif}\t{mac}\t{payload}\t{buffers}\t{label}")?;
        }
    }
    Ok(if survey.paths.is_empty() { Exit::No } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_interface_the_driver_is_asked_whatever_else_is_said() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(raw(&words(&[])).unwrap(), None);
        assert_eq!(raw(&words(&["-x", "--json", "eth1"])).unwrap(), None);
        let asked = raw(&words(&["--interface=eth1", "e0", "--interface", "eth2", "--json"])).unwrap().unwrap();
        assert_eq!((asked.interfaces, asked.json), (vec!["eth1".to_owned(), "eth2".to_owned()], true));
        assert_eq!(asked.operands, ["e0"]);
        assert!(raw(&words(&["--interface"])).is_err());
        assert!(raw(&words(&["--interface", "a", "--timeout", "x"])).is_err());
    }
}
