//! aoe-flush: have the driver forget devices that are down, or named ones, or give up on dead ones.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use nines_cli::{Exit, log};

use crate::getopt::{self, Grammar};
use crate::sysfs::{self, Device};
use crate::{control, dead, deadsecs, paths};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-flush [-a | eX.Y ...]
       aoe-flush --dead [--timeout SECS] eX.Y ...

Have the aoe driver forget the devices that are down; with -a all that are not
in use, with names these. A device that is open stays. With --dead fail these
devices, whose targets are dead, although they are in use.

  -a              all devices that are not in use
  --dead          fail requests under way and to come, as after aoe_deadsecs
  --timeout SECS  how long the driver may take for it [default: 30]
  --help          print this
  --version       print the version
";

/// The driver does not send a frame again before its estimate of the round trip, which is 15
/// seconds for a device it knows nothing of.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program.
///
/// # Errors
/// sysfs cannot be read.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    if let [read, node] = arguments
        && read == dead::READ
    {
        return Ok(dead::read_one(node));
    }
    deadsecs::put_right();
    if arguments.iter().any(|argument| argument == "--dead") {
        return fail(arguments);
    }
    let node = paths::etherd().join("flush");
    if !control::ready(&node) {
        return Ok(Exit::No);
    }
    let commands: Vec<Vec<u8>> = match arguments.first().map(|first| first.as_encoded_bytes()) {
        None | Some(b"") => vec![b"\n".to_vec()],
        Some(b"-a") => vec![b"all".to_vec()],
        Some(_) => {
            if known(arguments)?.is_none() {
                return Ok(Exit::No);
            }
            arguments.iter().map(|name| name.as_encoded_bytes().to_vec()).collect()
        }
    };
    let mut exit = Exit::Ok;
    for command in commands {
        if let Err(error) = control::write(&node, &command) {
            log(format_args!("flush failed"));
            log(format_args!("{error:#}"));
            exit = Exit::No;
        }
    }
    Ok(exit)
}

/// Every device there is, if all these are among them; says which are not.
fn known(names: &[OsString]) -> anyhow::Result<Option<Vec<Device>>> {
    let devices = sysfs::devices(&paths::sysfs()).map_err(|error| anyhow::Error::msg(error.to_string()));
    let devices = devices.context("sysfs")?;
    let mut unknown = false;
    for name in names.iter().filter(|name| !devices.iter().any(|device| *name == device.name.as_str())) {
        writeln!(io::stderr(), "aoe-flush Error: \"{}\" is not an aoe device", name.to_string_lossy())?;
        unknown = true;
    }
    Ok((!unknown).then_some(devices))
}

fn fail(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let line = (Grammar { letters: "", names: &["dead", "timeout:"] }).parse(arguments)?;
    let timeout = line.options.iter().rev().find(|option| option.name == "timeout");
    let timeout = timeout.map(|option| getopt::seconds(&option.value).context("--timeout")).transpose()?;
    anyhow::ensure!(!line.operands.is_empty(), "--dead: which devices? Name them, as in aoe-flush --dead e0.1");
    let Some(devices) = known(&line.operands)? else { return Ok(Exit::No) };
    let names: Vec<String> = line.operands.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    dead::fail(&names, &devices, timeout.unwrap_or(PATIENCE))
}
