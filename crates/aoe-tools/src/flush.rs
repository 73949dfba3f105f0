//! aoe-flush: have the driver forget devices that are down, or named ones.

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Context;
use nines_cli::{Exit, log};

use crate::{control, paths, sysfs};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-flush [-a | eX.Y ...]

Have the aoe driver forget the devices that are down; with -a all that are not
in use, with names these. A device that is open stays.

  -a         all devices that are not in use
  --help     print this
  --version  print the version
";

/// The program.
///
/// # Errors
/// sysfs cannot be read.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let node = paths::etherd().join("flush");
    if !control::ready(&node) {
        return Ok(Exit::No);
    }
    let commands: Vec<Vec<u8>> = match arguments.first().map(|first| first.as_encoded_bytes()) {
        None | Some(b"") => vec![b"\n".to_vec()],
        Some(b"-a") => vec![b"all".to_vec()],
        Some(_) => {
            let devices = sysfs::devices(&paths::sysfs()).map_err(|error| anyhow::Error::msg(error.to_string()));
            let devices = devices.context("sysfs")?;
            let mut unknown = false;
            for name in arguments.iter().filter(|name| !devices.iter().any(|device| *name == device.name.as_str())) {
                writeln!(io::stderr(), "aoe-flush Error: \"{}\" is not an aoe device", name.to_string_lossy())?;
                unknown = true;
            }
            if unknown {
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
