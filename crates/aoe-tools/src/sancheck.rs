//! aoe-sancheck: what the interfaces of this host and the targets behind them can do, and where a
//! path between them can do less.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::{Exit, log};
use nines_proto::aoe::ata::{Registers, flag, op, status};
use nines_proto::aoe::{Command, SECTOR, sectors_per_frame};
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::exchange::{self, PATIENCE, Port, Question, USER_TAG};
use crate::getopt::{self, Grammar};
use crate::survey::{self, Path, Seen, Survey};
use crate::{json, paths};

/// What `--help` prints.
pub const HELP: &str = "usage: aoe-sancheck [-v] [--interface IF]... [--timeout SECS]
       aoe-sancheck --json [--interface IF]... [--timeout SECS]

Print the network interfaces, the AoE devices seen from them, and what keeps
the devices from being used at their best.

  -v              what each path was found to carry as well
  --interface IF  this one only, and others so named
  --timeout SECS  how long to wait for devices after the last one [default: 2]
  --json          one JSON object a line
  --help          print this
  --version       print the version
";

const LINE: &str = "==========================================";
/// How often a probe is sent before its size counts as not passing.
const TRIES: u32 = 3;
/// Paths that are probed at once: each takes a frame of every size.
const BATCH: usize = 16;

/// An interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    name: String,
    up: bool,
    mtu: usize,
    pci: String,
}

/// The program.
///
/// # Errors
/// No such interface, or no CAP_NET_RAW.
pub fn run(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let grammar = Grammar { letters: "v", names: &["interface:", "timeout:", "json"] };
    let Ok(line) = grammar.parse(arguments).map_err(|wrong| log(format_args!("{wrong}"))) else {
        io::stderr().write_all(HELP.as_bytes())?;
        return Ok(Exit::No);
    };
    let (mut verbose, mut json, mut quiet, mut only) = (false, false, Duration::from_secs(2), Vec::new());
    for option in &line.options {
        match option.name.as_str() {
            "v" => verbose = true,
            "json" => json = true,
            "timeout" => quiet = getopt::seconds(&option.value).context("--timeout")?,
            _ => only.push(option.value.to_string_lossy().into_owned()),
        }
    }
    let locals = locals(&only)?;
    let mut out = io::stdout().lock();
    if !json {
        write!(out, "Probing...")?;
        out.flush()?;
    }
    let mut ports = Vec::new();
    let mut skipped = Vec::new();
    for local in &locals {
        match Port::open(&local.name) {
            Ok(port) if local.up => ports.push(port),
            Ok(_) => skipped.push((local.name.clone(), "Network is down".to_owned())),
            Err(error) => anyhow::bail!("{error:#}"),
        }
    }
    let survey = survey::everybody(&ports, quiet)?;
    skipped.extend(survey.mute.iter().map(|(at, why)| (ports[*at].name.clone(), why.clone())));
    let carried = carried(&ports, &survey)?;
    if json {
        show_json(&mut out, &locals, &ports, &survey, &carried)?;
    } else {
        show(&mut out, &locals, &ports, &survey, &carried)?;
        if verbose {
            show_paths(&mut out, &ports, &carried)?;
        }
    }
    for (name, why) in skipped {
        log(format_args!("skipping {name}, discover failure: {why}"));
    }
    Ok(Exit::Ok)
}

/// The Ethernet interfaces of this host, or those named.
fn locals(only: &[String]) -> anyhow::Result<Vec<Local>> {
    let mut flags: Vec<(String, InterfaceFlags)> = Vec::new();
    for found in getifaddrs().map_err(|error| anyhow::anyhow!("interfaces: {}", error.desc()))? {
        if !flags.iter().any(|(name, _)| *name == found.interface_name) {
            flags.push((found.interface_name, found.flags));
        }
    }
    for name in only {
        anyhow::ensure!(flags.iter().any(|(known, _)| known == name), "{name}: No such device");
    }
    let mut locals = Vec::new();
    for (name, flags) in flags {
        let wanted = only.contains(&name) || only.is_empty() && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
        // One that is no Ethernet's, or went away meanwhile.
        let (true, Ok(link)) = (wanted, Link::named(&name)) else { continue };
        let identity = |file: &str| {
            let path = paths::network_interface(name.as_ref())?.join("device").join(file);
            let text = fs::read_to_string(path).ok()?;
            Some(text.trim().trim_start_matches("0x").to_owned())
        };
        let pci = identity("vendor").zip(identity("device")).map(|(vendor, device)| format!("{vendor}:{device}"));
        let up = flags.contains(InterfaceFlags::IFF_UP);
        locals.push(Local { name, up, mtu: link.mtu, pci: pci.unwrap_or_default() });
    }
    Ok(locals)
}

/// The most sectors that were seen to pass on each path, there and back.
fn carried(ports: &[Port], survey: &Survey) -> anyhow::Result<BTreeMap<Path, u8>> {
    let mut carried: BTreeMap<Path, u8> = survey.paths.keys().map(|path| (*path, 0)).collect();
    let paths: Vec<(Path, Seen)> = survey.paths.iter().map(|(path, seen)| (*path, seen.clone())).collect();
    for (batch, paths) in paths.chunks(BATCH).enumerate() {
        for _ in 0..TRIES {
            for (at, (path, seen)) in paths.iter().enumerate() {
                let most = sectors_per_frame(ports[path.port].link.mtu);
                for sectors in carried[path] + 1..=most {
                    let argument = probe(sectors, sectors <= seen.sectors)?;
                    let tag = tag(batch, at, sectors);
                    let (to, address) = (path.mac, path.address);
                    // What cannot be sent does not pass.
                    let _ = ports[path.port].send(&Question {
                        to,
                        address,
                        command: Command::Ata,
                        tag,
                        argument: &argument,
                    });
                }
            }
            let until = Instant::now() + PATIENCE;
            let some_left = |carried: &BTreeMap<Path, u8>| {
                paths.iter().any(|(path, _)| carried[path] < sectors_per_frame(ports[path.port].link.mtu))
            };
            while some_left(&carried)
                && let Some(answer) = exchange::wait(ports, until)?
            {
                let header = &answer.header;
                let from = Path { address: header.address, port: answer.port, mac: header.source };
                let [_, _, _, sectors] = header.tag.to_be_bytes();
                let path = paths.iter().enumerate().find(|(_, (path, _))| *path == from);
                let Some((_, (path, seen))) = path.filter(|(at, _)| tag(batch, *at, sectors) == header.tag) else {
                    continue;
                };
                let Ok((registers, data)) = Registers::parse(answer.argument()) else { continue };
                let fine = answer.refusal().is_none() && registers.command_status & status::ERROR == 0;
                let due = if sectors <= seen.sectors { usize::from(sectors) * SECTOR } else { SECTOR };
                // A disk that refuses to be read has still taken a frame of this size.
                let passed = !fine || data.len() >= due;
                if let Some(best) = carried.get_mut(path).filter(|best| passed && **best < sectors) {
                    *best = sectors;
                }
            }
        }
    }
    Ok(carried)
}

/// Tells the probes of a batch from each other and from those of another.
fn tag(batch: usize, at: usize, sectors: u8) -> u32 {
    let which = u32::try_from(batch % 1024 * BATCH + at).unwrap_or(0);
    USER_TAG | which << 8 | u32::from(sectors)
}

/// A frame with so many sectors of zeroes: a read, answered by as many, or what any disk answers.
fn probe(sectors: u8, read: bool) -> anyhow::Result<Vec<u8>> {
    let registers = if read {
        Registers { flags: flag::EXTENDED, feature_error: 0, count: sectors, command_status: op::READ_EXT, lba: [0; 6] }
    } else {
        let lba = [0, 0, 0, 0xa0, 0, 0];
        Registers { flags: 0, feature_error: 0, count: 1, command_status: op::IDENTIFY, lba }
    };
    let mut argument = survey::ata(&registers)?;
    argument.resize(argument.len() + usize::from(sectors) * SECTOR, 0);
    Ok(argument)
}

/// What a device is, and what is wrong with the ways to it.
struct Device {
    name: String,
    macs: Vec<Mac>,
    payload: usize,
    netifs: Vec<String>,
    warnings: Vec<String>,
}

fn devices(ports: &[Port], survey: &Survey, carried: &BTreeMap<Path, u8>) -> Vec<Device> {
    let mut devices = Vec::new();
    for (address, paths) in survey.targets() {
        let mut macs: Vec<Mac> = paths.iter().map(|(path, _)| path.mac).collect();
        macs.sort_unstable();
        macs.dedup();
        let mut used: Vec<usize> = paths.iter().map(|(path, _)| path.port).collect();
        used.dedup();
        let sectors = paths.iter().map(|(_, seen)| seen.sectors).max().unwrap_or(0);
        let highest = used.iter().map(|port| ports[*port].link.mtu).max().unwrap_or(0);
        let mut warnings = Vec::new();
        if macs.len() != used.len() {
            warnings.push("Mismatched number of local vs remote interfaces".to_owned());
        }
        for port in &used {
            let (name, mtu) = (&ports[*port].name, ports[*port].link.mtu);
            if sectors_per_frame(mtu) < sectors {
                warnings.push(format!("{name}: MTU ({mtu}) not set optimally for device's capable payload"));
            }
            if mtu != highest {
                warnings.push(format!("{name}: MTU different from other interfaces ({mtu} vs. {highest})"));
            }
        }
        for (path, _) in &paths {
            let (name, passed) = (&ports[path.port].name, carried.get(path).copied().unwrap_or(0));
            if passed < sectors_per_frame(ports[path.port].link.mtu) {
                let (mac, bytes) = (plain(path.mac), usize::from(passed) * SECTOR);
                warnings.push(format!("The path {name}->{mac} is only capable of {bytes} byte payloads"));
            }
        }
        devices.push(Device {
            name: address.to_string(),
            macs,
            payload: usize::from(sectors) * SECTOR,
            netifs: used.iter().map(|port| ports[*port].name.clone()).collect(),
            warnings,
        });
    }
    devices
}

fn plain(mac: Mac) -> String {
    mac.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(
    out: &mut impl Write,
    locals: &[Local],
    ports: &[Port],
    survey: &Survey,
    carried: &BTreeMap<Path, u8>,
) -> io::Result<()> {
    writeln!(out, "done.\n{LINE}\nINTERFACE SUMMARY\n{LINE}\nName\tStatus\tMTU\tPCI ID")?;
    for Local { name, up, mtu, pci } in locals {
        writeln!(out, "{name}\t{}\t{mtu}\t{pci}", if *up { "UP" } else { "DN" })?;
    }
    writeln!(out, "{LINE}\nDEVICE SUMMARY\n{LINE}\nDevice\tMacs\tPayload\tLocal Interfaces")?;
    for device in devices(ports, survey, carried) {
        let Device { name, macs, payload, netifs, warnings } = device;
        writeln!(out, "{name}\t{:>4}\t{payload}\t{}", macs.len(), netifs.join(","))?;
        for warning in warnings {
            writeln!(out, "   {warning}")?;
        }
    }
    Ok(())
}

fn show_paths(out: &mut impl Write, ports: &[Port], carried: &BTreeMap<Path, u8>) -> io::Result<()> {
    for (at, port) in ports.iter().enumerate() {
        writeln!(out, "{}:", port.name)?;
        for (path, sectors) in carried.iter().filter(|(path, _)| path.port == at).rev() {
            writeln!(out, "{} {} {sectors}", path.address, plain(path.mac))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn show_json(
    out: &mut impl Write,
    locals: &[Local],
    ports: &[Port],
    survey: &Survey,
    carried: &BTreeMap<Path, u8>,
) -> io::Result<()> {
    for Local { name, up, mtu, pci } in locals {
        let (name, pci) = (json::quoted(name), json::quoted(pci));
        writeln!(out, "{{\"interface\":{name},\"up\":{up},\"mtu\":{mtu},\"pci\":{pci}}}")?;
    }
    for device in devices(ports, survey, carried) {
        let (macs, netifs) = (json::strings(&device.macs), json::strings(&device.netifs));
        let (name, warnings) = (json::quoted(&device.name), json::strings(&device.warnings));
        let payload = device.payload;
        writeln!(
            out,
            "{{\"device\":{name},\"macs\":{macs},\"payload\":{payload},\"interfaces\":{netifs},\"warnings\":{warnings}}}"
        )?;
    }
    Ok(())
}
