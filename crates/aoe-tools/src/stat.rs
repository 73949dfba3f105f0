//! aoe-stat: one line for each AoE device the kernel knows, or that answers on the wire.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, Stdio};

use anyhow::Context;
use nines_cli::Exit;
use nix::sys::stat::minor;

use crate::discover::{self, Raw};
use crate::sysfs::{self, Device};
use crate::{exchange, json, paths, survey, target};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-stat [regex]
       aoe-stat --json
       aoe-stat --interface IF... [--timeout SECS] [--json | regex]
       aoe-stat --target [--json | --prometheus] [PATH...]

Print the status of the AoE devices; with a basic regular expression, of those
whose line it matches. With --interface ask on that one, without the driver.
With --target print what this host's own targets have done, for each export and
client; PATH is a control socket (all of /run/aoe-vblade).

  --json          one JSON object a line
  --interface IF  ask on this one, and on others so named
  --timeout SECS  how long to wait after the last answer [default: 1]
  --target        what targets have done
  --prometheus    that in Prometheus' text format
  --help          print this
  --version       print the version
";

const MISSING: &str = "(NA)";

/// The program. Exit status 1 when no line was printed.
///
/// # Errors
/// sysfs or grep(1) fails.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    if target::is_meant(arguments) {
        return target::run(arguments);
    }
    if let Some(raw) = discover::raw(arguments)? {
        return show(&asked(&raw)?, raw.json, raw.operands.first().map(OsString::as_os_str));
    }
    let sysfs = paths::sysfs();
    if !sysfs.join("block").is_dir() {
        writeln!(io::stderr(), "aoe-stat Error: sysfs is not mounted")?;
        return Ok(Exit::No);
    }
    // Not as an io::Error, which would pass for a closed stdout.
    let devices = sysfs::devices(&sysfs).map_err(|error| anyhow::Error::msg(error.to_string()));
    let devices = devices.with_context(|| sysfs.join("block").display().to_string())?;
    for device in &devices {
        warn_of_wrong_minor(device)?;
    }
    let json = arguments.first().is_some_and(|argument| argument == "--json");
    show(&devices, json, arguments.first().map(OsString::as_os_str).filter(|_| !json))
}

/// The targets that answer on these interfaces, as the driver would show them.
fn asked(raw: &Raw) -> anyhow::Result<Vec<Device>> {
    let ports = exchange::open_all(&raw.interfaces)?;
    let mut survey = survey::everybody(&ports, raw.quiet)?;
    survey.identify(&ports)?;
    survey.warn_of_mute(&ports);
    survey.warn_of_doubles();
    let devices = survey.targets().into_iter().map(|(address, paths)| {
        let mut netifs: Vec<&str> = paths.iter().map(|(path, _)| ports[path.port].name.as_str()).collect();
        netifs.dedup();
        // The driver, too, cuts its frames to what every path carries.
        let payload = paths.iter().map(|(path, seen)| seen.payload(ports[path.port].link.mtu)).min();
        let disk = paths.iter().find_map(|(_, seen)| seen.disk.as_ref());
        Device {
            name: address.to_string(),
            minor: None,
            sectors: disk.map(|disk| disk.sectors),
            netif: Some(netifs.join(",")),
            payload: payload.map(|bytes| bytes.to_string()),
            state: Some(if disk.is_some() { "up" } else { "down" }.to_owned()),
        }
    });
    Ok(devices.collect())
}

fn show(devices: &[Device], json: bool, expression: Option<&OsStr>) -> anyhow::Result<Exit> {
    let with_payload = devices.iter().any(|device| device.payload.is_some());
    let mut lines: Vec<String> =
        devices.iter().map(|device| if json { object(device) } else { line(device, with_payload) }).collect();
    lines.sort_unstable();
    let text = lines.concat();
    match expression {
        Some(expression) => grep(expression, &text),
        None => {
            io::stdout().write_all(text.as_bytes())?;
            Ok(if lines.is_empty() { Exit::No } else { Exit::Ok })
        }
    }
}

/// The expression is grep's, and so are the words about a bad one, and the exit status.
fn grep(expression: &OsStr, text: &str) -> anyhow::Result<Exit> {
    let mut grep = Command::new("grep");
    grep.arg("-e").arg(expression).stdin(Stdio::piped());
    let mut child = grep.spawn().map_err(|error| anyhow::Error::msg(format!("grep: {error}")))?;
    // grep may end before it has read everything; its status says how.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let status = child.wait().map_err(|error| anyhow::Error::msg(format!("grep: {error}")))?;
    Ok(Exit::Code(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2)))
}

/// A node that is another device's is dangerous to use under this name.
fn warn_of_wrong_minor(device: &Device) -> io::Result<()> {
    let node = paths::etherd().join(&device.name);
    let (Some(minor_in_sysfs), Ok(metadata)) = (&device.minor, fs::metadata(&node)) else { return Ok(()) };
    if metadata.file_type().is_block_device() && minor(metadata.rdev()).to_string() != *minor_in_sysfs {
        let node = node.display();
        writeln!(io::stderr(), "aoe-stat Warning: device node {node} has wrong minor device number")?;
    }
    Ok(())
}

/// Thousandths of 10^9 bytes, as `0.104GB`.
fn size(sectors: u64) -> String {
    let thousandths = u128::from(sectors) * 512_000 / 1_000_000_000;
    format!("{}.{:03}GB", thousandths / 1000, thousandths % 1000)
}

/// Older drivers have no payload file: then no line has the column, and it is narrower.
fn line(device: &Device, with_payload: bool) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| MISSING.to_owned());
    let (name, netif, state) = (&device.name, text(&device.netif), text(&device.state));
    let size = device.sectors.map_or_else(|| MISSING.to_owned(), size);
    match (with_payload, &device.payload) {
        (false, _) => format!("{name:>10} {size:>15} {netif:>6} {state:<14}\n"),
        (true, Some(payload)) => format!("{name:>10} {size:>15} {netif:>10} {payload:<5} {state:<14}\n"),
        (true, None) => format!("{name:>10} {size:>15} {netif:>10} {state:<5} {:<14}\n", ""),
    }
}

fn object(device: &Device) -> String {
    let text = |field: &Option<String>| field.as_deref().map_or_else(|| "null".to_owned(), json::quoted);
    let number = |number: Option<u128>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    let bytes = device.sectors.map(|sectors| u128::from(sectors) * 512);
    let payload = device.payload.as_ref().and_then(|payload| payload.parse().ok());
    format!(
        "{{\"device\":{},\"bytes\":{},\"netif\":{},\"payload\":{},\"state\":{}}}\n",
        json::quoted(&device.name),
        number(bytes),
        text(&device.netif),
        number(payload),
        text(&device.state),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_thousandths() {
        let table = [(0, "0.000GB"), (1, "0.000GB"), (2048, "0.001GB"), (1_953_525_168, "1000.204GB")];
        for (sectors, wanted) in table.into_iter().chain([(u64::MAX, "9444732965739.290GB")]) {
            assert_eq!(size(sectors), wanted);
        }
    }
}
