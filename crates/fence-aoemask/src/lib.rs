//! A fence agent that takes a host's access to AoE targets away.
//!
//! A target's mask list says which Ethernet addresses it serves. `off` deletes a host's addresses
//! at every target and reads the lists back. That stops the host's writes, not the host.
#![forbid(unsafe_code)]

pub mod description;
pub mod goal;
pub mod options;
pub mod vblade;
mod wire;
mod work;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nines_cli::log;
use nines_proto::aoe::Address;
use nines_proto::mac::Mac;

use goal::Goal;
use options::{Action, Options};
use wire::{Port, What};
use work::{End, Work};

/// How long targets are listened for by `list`.
const LISTEN: Duration = Duration::from_secs(1);
/// Exit status of `status` when the host has no access; 1 is every failure.
const OFF: u8 = 2;

/// The program. Its exit statuses are those of the fence agents' interface, not of the others
/// here: 2 means something else there.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("fence_aoemask");
    let arguments: Vec<_> = std::env::args_os().collect();
    let done = options::read(&arguments, io::stdin().lock()).and_then(|options| run(&options));
    done.unwrap_or_else(|error| match error.downcast_ref::<clap::Error>() {
        Some(usage) => {
            // The only failure to print is a closed stream, which is silence.
            let _ = usage.print();
            if usage.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        None => {
            log(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.action == Action::Metadata {
        io::stdout().write_all(description::METADATA.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let ports: Vec<Port> = options.used_interfaces().into_iter().map(Port::open).collect::<anyhow::Result<_>>()?;
    let ours = |mac: &&Mac| ports.iter().any(|port| port.mac == **mac);
    let goal = match options.action {
        Action::Validate => return Ok(ExitCode::SUCCESS),
        Action::List => return list(&ports),
        Action::Off => Goal::Deny(options.victims.clone()),
        Action::On => Goal::Admit(options.victims.clone()),
        Action::Status | Action::Monitor | Action::Metadata => Goal::Look,
    };
    if options.action == Action::Off {
        if let Some(own) = options.victims.iter().find(ours) {
            bail!("mac: {own} is this host's: a host cannot take its own access away");
        }
        thread::sleep(options.delay);
    }
    let mut tag = [0; 4];
    getrandom::fill(&mut tag).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
    let mut work = Work::new(&ports, &places(options, &ports), goal, options.verbose, u32::from_ne_bytes(tag));
    work.run(options.patience).context("AoE")?;
    report(options, &work)
}

/// Where each target is asked: at its own interface, or at all.
fn places(options: &Options, ports: &[Port]) -> Vec<(usize, Address)> {
    let mut places = Vec::new();
    for plug in &options.plugs {
        for (at, port) in ports.iter().enumerate() {
            let named = plug.interface.as_ref().map_or(options.interfaces.contains(&port.name), |it| *it == port.name);
            if named && !places.contains(&(at, plug.address)) {
                places.push((at, plug.address));
            }
        }
    }
    places
}

/// Says what came of it and with which exit status.
fn report(options: &Options, work: &Work<'_>) -> anyhow::Result<ExitCode> {
    let (mut failures, mut serving, mut everybody) = (Vec::new(), 0, Vec::new());
    for site in &work.sites {
        let place = format!("{} at {}", site.address, work.ports[site.port].name);
        if site.servers.is_empty() {
            let seconds = options.patience.as_secs_f32();
            failures.push(format!("{place}: no answer within {seconds:.1} s: is it there, and does its mask name us?"));
        }
        for server in &site.servers {
            match &server.end {
                End::Reached(list) if list.is_empty() => {
                    everybody.push(format!("{place}: its mask list is empty: it serves everybody"));
                    serving += 1;
                }
                End::Reached(list) => serving += usize::from(options.victims.iter().any(|mac| list.contains(mac))),
                End::Refused(why) => failures.push(format!("{place}: {why}")),
                End::Open(why) if why.is_empty() => failures.push(format!("{place}: no answer of {}", server.mac)),
                End::Open(why) => failures.push(format!("{place}: {why}")),
            }
        }
    }
    if options.action == Action::Monitor {
        failures.append(&mut everybody);
    }
    for warning in failures.iter().chain(&everybody) {
        log(format_args!("{warning}"));
    }
    if !failures.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let count = work.sites.iter().map(|site| site.servers.len()).sum::<usize>();
    let (line, code) = match options.action {
        Action::Off => (format!("Success: denied at {count} targets"), ExitCode::SUCCESS),
        Action::On => (format!("Success: served at {count} targets"), ExitCode::SUCCESS),
        Action::Status if serving == 0 => ("Status: OFF".into(), ExitCode::from(OFF)),
        Action::Status => (format!("Status: ON, served at {serving} of {count} targets"), ExitCode::SUCCESS),
        _ => (format!("{count} targets answer"), ExitCode::SUCCESS),
    };
    writeln!(io::stdout(), "{line}").context("stdout")?;
    Ok(code)
}

/// Every target that is heard, as `shelf.slot@interface,its address`.
fn list(ports: &[Port]) -> anyhow::Result<ExitCode> {
    for port in ports {
        port.config(Mac::BROADCAST, Address::ALL, 1 << 31).with_context(|| port.name.clone())?;
    }
    let until = Instant::now() + LISTEN;
    let mut lines = Vec::new();
    while let Some(heard) = wire::hear(ports, until)? {
        let (shelf, slot) = (heard.address.shelf.0, heard.address.slot.0);
        let line = format!("{shelf}.{slot}@{},{}", ports[heard.port].name, heard.server);
        if matches!(heard.what, What::Firmware(_)) && lines.len() < 65_536 && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.sort();
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}
