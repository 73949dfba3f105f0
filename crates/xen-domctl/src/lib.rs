//! Xen domains of one host and of the cluster: started, listed, stopped and moved live, each
//! under a cluster lock that says which host runs it.
#![forbid(unsafe_code)]

mod child;
mod create;
mod disk;
pub mod domain;
pub mod file;
mod keys;
mod list;
mod lock;
mod state;
mod stop;
mod time;
mod volume;
mod xl;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nines_cli::Exit;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use lock::Cluster;

use volume::VgTool;
use xl::Xl;

/// Create, list, move and stop Xen domains in the cluster.
#[derive(Debug, Parser)]
#[command(name = "xen-domctl", version, about)]
pub struct Args {
    /// Control socket of cluster-join [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a domain on this host
    Create {
        /// A domain file, or a name looked up as /etc/xen/auto/NAME, /etc/xen/NAME, with and without .cfg
        #[arg(value_name = "FILE|NAME")]
        file: PathBuf,
        /// Attach to the domain's console once it runs
        #[arg(long)]
        console: bool,
    },
    /// List this host's domains, or the cluster's
    List {
        /// Every domain some host of the cluster runs
        #[arg(long)]
        cluster: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Have a domain shut itself down, and free its volumes
    Shutdown {
        domain: String,
        /// How long the guest may take
        #[arg(long, value_name = "SECS", default_value_t = 120)]
        wait: u64,
    },
    /// End a domain at once, and free its volumes
    Destroy { domain: String },
    /// Attach to a domain's console; Ctrl-] leaves
    Console { domain: String },
}

/// What every command works with.
struct Context {
    socket: Option<PathBuf>,
    xl: Xl,
    vg_tool: VgTool,
    /// Readable when we are asked to end.
    signals: SignalFd,
}

impl Context {
    fn cluster(&self) -> Result<Cluster, nines_proto::ctl::ClientError> {
        Cluster::connect(self.socket.clone())
    }
}

/// Runs the program.
///
/// # Errors
/// What the command could not do.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let signals = nines_sys::proc::signal_fd(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])?;
    let context = Context { socket: args.socket, xl: Xl::from_env(), vg_tool: VgTool::from_env(), signals };
    match args.command {
        Command::Create { file, console } => {
            let name = create::create(&context, &file)?;
            if console { attach(&context, &name) } else { Ok(Exit::Ok) }
        }
        Command::List { cluster: false, json } => list::local(&context, json),
        Command::List { cluster: true, json } => list::cluster(&context, json),
        Command::Shutdown { domain, wait } => stop::shutdown(&context, &domain, Duration::from_secs(wait)),
        Command::Destroy { domain } => stop::destroy(&context, &domain),
        Command::Console { domain } => {
            domain::check_name(&domain).map_err(anyhow::Error::msg)?;
            attach(&context, &domain)
        }
    }
}

/// Becomes xl's console, terminal and all.
fn attach(context: &Context, name: &str) -> anyhow::Result<Exit> {
    let mut command = context.xl.program.command(&["console", name]);
    // The terminal's foreground group is ours and stays so.
    command.process_group(nix::unistd::getpgrp().as_raw());
    Err(anyhow::Error::from(command.exec()).context("xl console"))
}
