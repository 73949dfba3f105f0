//! Xen domains of one host and of the cluster: started, listed, stopped and moved live, each
//! under a cluster lock that says which host runs it.
#![forbid(unsafe_code)]

mod child;
mod conf;
mod create;
mod disk;
pub mod domain;
pub mod file;
mod keys;
mod list;
mod lock;
mod migrate;
mod state;
mod stop;
mod volume;
mod xl;

use std::net::IpAddr;
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
    /// Move a running domain to another host
    Migrate {
        domain: String,
        /// The host's name in cluster.conf
        node: String,
        /// Keep it running meanwhile; xl always does, and xm's users say so
        #[arg(long)]
        live: bool,
        /// TCP port of the other host's `xen-domctl receive`
        #[arg(long, default_value_t = migrate::PORT)]
        port: u16,
        #[command(flatten)]
        session: Session,
    },
    /// Serve arriving domains, in the foreground
    Receive {
        /// Address to listen on [default: this host's in the cluster]
        #[arg(long, value_name = "ADDR")]
        listen: Option<IpAddr>,
        /// TCP port to listen on
        #[arg(long, default_value_t = migrate::PORT)]
        port: u16,
        #[command(flatten)]
        session: Session,
        /// Descriptor that gets a newline when domains can arrive
        #[arg(long, value_name = "N")]
        ready_fd: Option<u32>,
    },
    /// The command xl runs to reach `migrate`
    #[command(hide = true)]
    MigratePipe { socket: PathBuf },
}

/// Who may talk to whom between hosts.
#[derive(Debug, clap::Args)]
struct Session {
    /// The cluster's configuration [default: $CLUSTER_CONF or /etc/cluster/cluster.conf]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// The cluster's key [default: cluster.conf's keyfile or /etc/cluster/cluster.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
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
    // What changes nothing may be ended at any moment.
    let stoppable: &[Signal] = match args.command {
        Command::List { .. } | Command::Console { .. } => &[],
        _ => &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP],
    };
    let signals = nines_sys::proc::signal_fd(stoppable)?;
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
        Command::Migrate { domain, node, live: _, port, session: Session { conf, key } } => {
            migrate::migrate(&context, &domain, &node, migrate::Migrate { port, conf, key })
        }
        Command::Receive { listen, port, session: Session { conf, key }, ready_fd } => {
            migrate::receive(&context, migrate::Receive { listen, port, conf, key, ready_fd })
        }
        Command::MigratePipe { socket } => {
            migrate::pipe(&socket)?;
            Ok(Exit::Ok)
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
