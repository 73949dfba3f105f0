//! aoe-interfaces: which network interfaces the kernel's driver uses.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};

use nines_cli::Exit;

use crate::{control, paths};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-interfaces [interface ...]
       aoe-interfaces -c

Restrict the aoe driver to these network interfaces; without any, print the
list. An empty list is every interface.

  -c         clear the list
  --help     print this
  --version  print the version
";

/// The program.
///
/// # Errors
/// The driver's refusal.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let list = paths::interface_list();
    let names = match arguments {
        [clear] if clear == "-c" => OsString::new(),
        [clear, _, ..] if clear == "-c" => {
            complain("-c flag takes no arguments")?;
            return Ok(Exit::No);
        }
        names => names.join(OsStr::new(" ")),
    };
    if names.is_empty() && arguments.iter().all(|argument| argument.is_empty()) {
        let Ok(list) = fs::read(&list) else { return Ok(Exit::No) };
        io::stdout().write_all(&list)?;
        return Ok(Exit::Ok);
    }
    let mut unknown = false;
    // As the shell splits them: one argument may hold several names.
    for name in names.as_encoded_bytes().split(|byte| byte.is_ascii_whitespace()).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name);
        if paths::network_interface(OsStr::new(&*name)).is_none() {
            complain(&format!("\"{name}\" is not a network interface"))?;
            unknown = true;
        }
    }
    if unknown {
        return Ok(Exit::No);
    }
    let mut command = names.into_encoded_bytes();
    command.push(0);
    if control::writable(&list) {
        control::write(&list, &command)?;
        return Ok(Exit::Ok);
    }
    control::command(&paths::etherd().join("interfaces"), &command)
}

fn complain(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "aoe-interfaces Error: {what}")
}
