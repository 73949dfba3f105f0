//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::state::{MAX_NODES, Node};

/// Real Xen hosts in QEMU on this machine.
#[derive(Debug, Parser)]
#[command(name = "lab", bin_name = "lab", version, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring up hosts node1..nodeN with fresh disks, after taking down what was up.
    Up {
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
        nodes: u8,
        /// Without a hypervisor: the same system on plain virtual machines.
        #[arg(long)]
        no_xen: bool,
        /// Size of a data disk (K, M, G), once for each; the default is two of 512M.
        #[arg(long = "disk", value_name = "SIZE", value_parser = size)]
        disks: Vec<u64>,
        /// Megabytes of memory of a host; dom0 takes 768 of them.
        #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(512..=65536))]
        mem: Option<u32>,
    },
    /// Take everything down and remove it.
    Down,
    /// List the hosts.
    Status {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a host (no shell unless you name one); its exit status is ours.
    Exec {
        /// Kill it after so long, with exit status 124.
        #[arg(long, value_name = "SECS")]
        timeout: Option<u64>,
        /// Give it an empty stdin.
        #[arg(short = 'n', long)]
        no_stdin: bool,
        node: Node,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
    /// Copy a file into a host, mode kept, flushed to its disk.
    Push {
        node: Node,
        file: PathBuf,
        /// File name, or a directory's with a slash at its end.
        path: PathBuf,
    },
    /// Follow a host's console; from a terminal, use it (ctrl-] leaves).
    Console { node: Node },
    /// Cut a host's power at once: what its disks had not flushed is lost.
    Kill { node: Node },
    /// Switch a host that is off on again.
    Start {
        node: Node,
        /// Do not wait until it is ready.
        #[arg(long)]
        no_wait: bool,
    },
    /// Wait until a host is ready, or off.
    Wait {
        node: Node,
        #[arg(value_enum)]
        state: State,
        /// Give up after so long, with exit status 1.
        #[arg(long, value_name = "SECS", default_value_t = 180)]
        timeout: u64,
    },
    /// Pull a cable.
    Cut {
        node: Node,
        #[arg(value_enum)]
        interface: Interface,
    },
    /// Plug it in again.
    Join {
        node: Node,
        #[arg(value_enum)]
        interface: Interface,
    },
    /// Be the hosts' power switch at 192.168.100.254, for their fence agent fence_lab; run it in
    /// the hosts' network: lab net lab power.
    Power {
        /// How slow the switch is.
        #[arg(long, value_name = "MS", default_value_t = 1000)]
        delay: u64,
        /// Write a newline to this descriptor when it listens.
        #[arg(long, value_name = "N")]
        ready_fd: Option<u32>,
    },
    /// Print the name of the network namespace the hosts' cables end in.
    Netns,
    /// Run a command of this machine in that namespace (bridges "public" and "storage").
    Net {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
}

/// A host's network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Interface {
    Eth0,
    Eth1,
}

impl Interface {
    pub const ALL: [Self; 2] = [Self::Eth0, Self::Eth1];

    pub fn name(self) -> &'static str {
        match self {
            Self::Eth0 => "eth0",
            Self::Eth1 => "eth1",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Ready,
    Off,
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    bytes.filter(|bytes| *bytes > 0 && bytes % 512 == 0).ok_or_else(|| "not a size in whole sectors".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("1G"), Ok(1 << 30));
        assert_eq!(size("4096"), Ok(4096));
        for bad in ["", "M", "0", "100", "1.5G", "99999999999999G", "-1M", "1T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_may_have_options_of_its_own() {
        let args = Args::try_parse_from(["lab", "exec", "node1", "ls", "-l", "--", "x"]).unwrap();
        let Command::Exec { argv, .. } = args.command else { panic!("not exec") };
        assert_eq!(argv, ["ls", "-l", "--", "x"]);
    }
}
