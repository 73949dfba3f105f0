//! Export a file or block device over ATA over Ethernet.
//!
//! [`target`] decides what each frame comes to and does no I/O; [`order`] and [`commit`] decide
//! when the disk does what; [`store`] is the disk, [`wire`] the interface, [`serve`] the loop
//! between them.
#![forbid(unsafe_code)]

pub mod args;
pub mod ata;
pub mod commit;
pub mod export;
pub mod order;
pub mod serve;
pub mod stats;
pub mod store;
pub mod target;
pub mod wire;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process;

use anyhow::Context;
use nines_cli::{Exit, Ready, log};
use nines_proto::aoe::identify::{Identity, Trim};
use nines_proto::aoe::sectors_per_frame;
use nines_proto::mac::Mac;
use nines_sys::packet::link::LinkWatch;
use nines_sys::proc::signal_fd;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::gethostname;

use args::{HELP, Invocation, Options, USAGE, Wrong};
use export::Export;
use serve::Server;
use store::{Medium, Store};
use target::{Settings, Target};
use wire::Wire;

/// The program: exit status 1 for everything that goes wrong, as vblade's.
///
/// # Errors
/// A closed stdout.
pub fn main() -> anyhow::Result<Exit> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().map_or("aoe-vblade".into(), |name| name.to_string_lossy());
    match args::parse(arguments.collect::<Vec<OsString>>()) {
        Ok(Invocation::Help) => writeln!(io::stdout(), "usage: {name} {USAGE}\n{}", HELP.trim_end())?,
        Ok(Invocation::Version) => writeln!(io::stdout(), "aoe-vblade {}", env!("CARGO_PKG_VERSION"))?,
        Ok(Invocation::Serve(options)) => {
            if let Err(error) = serve(*options) {
                log(format_args!("{error:#}"));
                return Ok(Exit::Code(1));
            }
        }
        Err(Wrong(message)) => {
            if let Some(message) = message {
                log(format_args!("{message}"));
            }
            writeln!(io::stderr(), "usage: {name} {USAGE}")?;
            return Ok(Exit::Code(1));
        }
    }
    Ok(Exit::Ok)
}

/// What an operating system error says, without its number.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

fn serve(options: Options) -> anyhow::Result<()> {
    let Options { address, interface, opening, buffers, mask, engine, ready_fd } = options;
    let signals = signal_fd(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1]).context("signalfd")?;
    let (store, medium) = Store::open(&opening)?;
    // The watch comes first: what changes between the two is not missed.
    let watch = LinkWatch::open().context("netlink")?;
    let wire = Wire::open(&interface, &[address], buffers.into())?;
    let link = wire.link().with_context(|| format!("{interface}: gone"))?;
    let host = gethostname().unwrap_or_default();
    let serial = format!("{}.{}:{}", address.shelf.0, address.slot.0, host.to_string_lossy());
    let disk = disk(&serial, medium, opening.read_only, opening.write_back);
    let target =
        Target::new(Settings { address, mac: Mac(link.address), mtu: link.mtu, buffers, disk, mask, wire_edits: true })
            .context("-m")?;
    if opening.write_back {
        log(format_args!("{address}: --write-back: writes are answered before they are on stable storage"));
    }
    if buffers < 2 {
        log(format_args!("{address}: Linux initiators ignore a target with a buffer count of 1"));
    }
    if address.shelf.0 == 0xfff {
        log(format_args!("{address}: Linux initiators ignore shelf 4095"));
    }
    if sectors_per_frame(link.mtu) == 0 {
        log(format_args!("{interface}: no sector fits a frame at MTU {}", link.mtu));
    }
    let mode = if opening.read_only { "O_RDONLY" } else { "O_RDWR" };
    let mut stdout = io::stdout().lock();
    // Who closed stdout does not want the line; the disk is served all the same.
    let _ = writeln!(stdout, "pid {}: {address}, {} sectors {mode}", process::id(), medium.sectors)
        .and_then(|()| stdout.flush());
    drop(stdout);
    let frames = Server::frames_for(buffers.into());
    let export = Export::new(target, store, vec![0], frames);
    let mut server = Server::new(vec![wire], watch, vec![export], engine, frames)?;
    server.advertise();
    Ready::new(ready_fd).announce().context("ready")?;
    server.run(&signals)
}

fn disk(serial: &str, medium: Medium, read_only: bool, write_cache: bool) -> ata::Disk {
    let identity = Identity {
        serial,
        firmware: env!("CARGO_PKG_VERSION"),
        model: "fivenines aoe-vblade",
        sectors: medium.sectors,
        write_cache,
        physical_exponent: medium.physical_exponent,
        rotating: medium.rotating,
        trim: if medium.trims { Trim::Zeroes } else { Trim::None },
    };
    ata::Disk { sectors: medium.sectors, read_only, trim: medium.trims, identify: Box::new(identity.encode()) }
}
