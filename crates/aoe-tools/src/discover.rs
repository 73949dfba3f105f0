//! aoe-discover: have the kernel's driver ask who is there.

use std::ffi::OsString;

use nines_cli::Exit;

use crate::{control, paths};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-discover

Tell the aoe driver to discover AoE devices on its network interfaces.

  --help     print this
  --version  print the version
";

/// The program. Arguments are ignored, as in the original.
///
/// # Errors
/// The driver's refusal.
pub fn run(_: &[OsString]) -> anyhow::Result<Exit> {
    control::command(&paths::etherd().join("discover"), b"\n")
}
