//! aoe-revalidate: have the driver ask a device for its size again.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use nines_cli::{Exit, log};

use crate::{control, paths};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-revalidate e{major}.{minor}

Have the aoe driver ask the device for its size again, for instance after it
has grown.

  --help     print this
  --version  print the version
";

/// The program.
///
/// # Errors
/// A closed stderr.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let named = arguments.join(OsStr::new(" "));
    if named.is_empty() {
        writeln!(io::stderr(), "Usage: aoe-revalidate e{{major}}.{{minor}}")?;
        return Ok(Exit::No);
    }
    let node = paths::etherd().join("revalidate");
    if !control::writable(&node) {
        log(format_args!("{} does not exist or is not writeable", node.display()));
        return Ok(Exit::No);
    }
    if !control::ready(&node) {
        return Ok(Exit::No);
    }
    let mut command = named.into_encoded_bytes();
    command.push(b'\n');
    if let Err(error) = control::write(&node, &command) {
        log(format_args!("revalidate failed"));
        log(format_args!("{error:#}"));
        return Ok(Exit::No);
    }
    Ok(Exit::Ok)
}
