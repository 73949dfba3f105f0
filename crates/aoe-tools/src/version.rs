//! aoe-version: which tools and which driver.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use nines_cli::Exit;

use crate::paths;

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-version

Print the version of aoetools that these programs behave as, and those of the
installed and of the running aoe driver.

  --help     print this
  --version  print the version
";

/// The aoetools whose commands, output and exit statuses these are.
const AOETOOLS: &str = "36";

/// The program.
///
/// # Errors
/// A closed stdout.
pub fn run(_: &[OsString]) -> anyhow::Result<Exit> {
    let installed = installed().unwrap_or_else(|| "(unknown)".to_owned());
    let module = paths::sysfs().join("module/aoe");
    let running = if module.is_dir() {
        let version = fs::read_to_string(module.join("version")).ok().map(|version| version.trim_end().to_owned());
        version.unwrap_or_else(|| "(unknown)".to_owned())
    } else {
        "(none)".to_owned()
    };
    let mut out = io::stdout().lock();
    for (what, version) in
        [("aoetools", AOETOOLS), ("installed aoe driver", &installed), ("running aoe driver", &running)]
    {
        writeln!(out, "{what:>22}:\t{version}")?;
    }
    Ok(Exit::Ok)
}

/// What modinfo(8) knows of the driver on disk: its parameter `version`, or its own version.
fn installed() -> Option<String> {
    let output = Command::new("modinfo").arg("aoe").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parameter = text.lines().find(|line| line.starts_with("parm:") && line.contains("version:aoe module"));
    let version = parameter.or_else(|| text.lines().find(|line| line.starts_with("version:")))?;
    version.split_whitespace().next_back().map(str::to_owned)
}
