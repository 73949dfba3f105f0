//! Export a file or block device over ATA over Ethernet.
//!
//! [`target`] decides what each frame comes to and does no I/O; [`order`] and [`commit`] decide
//! when the disk does what; [`store`] is the disk, [`wire`] the interface, [`serve`] the loop
//! between them.
#![forbid(unsafe_code)]

pub mod args;
pub mod ata;
pub mod commit;
pub mod control;
pub mod everywhere;
pub mod export;
pub mod memory;
pub mod order;
pub mod sandbox;
pub mod serve;
pub mod slots;
pub mod stats;
pub mod store;
pub mod target;
pub mod wire;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use nines_cli::{Exit, Ready, log};
use nines_sys::proc::signal_fd;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use args::{Exports, HELP, Invocation, Options, USAGE, Wrong};
use control::Control;
use memory::Memory;
use sandbox::Sandbox;
use serve::{Server, Setup};

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
    let Options { exports, process } = options;
    // Two descriptors an export, and a table may have a thousand. Refused, the table's end is not served.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let ready = Ready::new(process.ready_fd).open().context("ready")?;
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1];
    let signals = signal_fd(&signals).context("signalfd")?;
    let (exports, table) = match exports {
        Exports::One(export) => (vec![export], None),
        Exports::Table(path) => (args::table::read(&path)?, Some(path)),
    };
    let mut sandbox = Sandbox::default();
    if let Some(table) = &table {
        sandbox = sandbox.with_table(table, exports.iter().map(|export| export.opening.path.as_path()));
    }
    if let Some(folder) = &process.state {
        sandbox = sandbox.with_state(folder);
    }
    if let Some(socket) = &process.control {
        sandbox = sandbox.with_control(socket);
    }
    let setup = Setup {
        engine: process.engine,
        control: process.control.as_deref().map(Control::open).transpose()?,
        memory: process.state.as_deref().map(Memory::open).transpose()?,
        buffers: exports.iter().map(|export| usize::from(export.buffers)).sum(),
        table,
    };
    let in_table = setup.table.is_some();
    let mut server = Server::new(setup, &signals)?;
    for export in &exports {
        match server.add(export) {
            // One bad disk of many is no reason not to serve the others.
            Err(error) if in_table => log(format_args!("{}: not served: {error:#}", export.address)),
            other => other?,
        }
    }
    let mut stdout = io::stdout().lock();
    for line in server.lines() {
        // Who closed stdout does not want the line; the disk is served all the same.
        let _ = writeln!(stdout, "pid {}: {line}", std::process::id());
    }
    let _ = stdout.flush();
    drop(stdout);
    if process.no_sandbox {
        server.launch()?;
    } else {
        sandbox.confine();
        server.launch()?;
        sandbox.seal();
    }
    server.advertise();
    ready.announce().context("ready")?;
    server.run(&signals)
}
