//! Find and watch ATA over Ethernet devices: what the aoe- programs share.
//!
//! The programs behave as those of aoetools 36 do: their output, messages and exit statuses are
//! what scripts rely on.
#![forbid(unsafe_code)]

pub mod cfg;
pub mod control;
pub mod dead;
pub mod deadsecs;
pub mod discover;
pub mod exchange;
pub mod flush;
pub mod getopt;
pub mod interfaces;
pub mod json;
pub mod mkdevs;
pub mod paths;
pub mod ping;
pub mod revalidate;
pub mod roundtrip;
pub mod sancheck;
pub mod signals;
pub mod smart;
pub mod stat;
pub mod survey;
pub mod sysfs;
pub mod target;
pub mod version;
pub mod warm;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use nines_cli::{Exit, log};

/// `usual`, or `original` when that is what this process was called as: through a link of that
/// name a program behaves to the letter as the one it is from.
#[must_use]
pub fn called(usual: &'static str, original: &'static str) -> &'static str {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = name.as_deref().and_then(std::path::Path::file_name);
    if name == Some(OsStr::new(original)) { original } else { usual }
}

/// Runs a program: `--help` and `--version` as its only argument are answered, an error is exit
/// status 1, as in the originals.
///
/// # Errors
/// A closed stdout.
pub fn main(name: &str, help: &str, run: impl FnOnce(&[OsString]) -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [only] if only == "--help" => io::stdout().write_all(help.as_bytes())?,
        [only] if only == "--version" => writeln!(io::stdout(), "{name} {}", env!("CARGO_PKG_VERSION"))?,
        arguments => match run(arguments) {
            Ok(exit) => return Ok(exit),
            // The reader went away: silence, as `nines_cli::run` keeps it.
            Err(error) if error.downcast_ref::<io::Error>().is_some() => return Err(error),
            Err(error) => {
                log(format_args!("{error:#}"));
                return Ok(Exit::No);
            }
        },
    }
    Ok(Exit::Ok)
}
