//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::serve::Options;

/// Keep this host a member of the cluster.
#[derive(Debug, Parser)]
#[command(name = "cluster-join", version, about = "Keep this host a member of the cluster")]
pub struct Args {
    /// The cluster's nodes [default: $CLUSTER_CONF or /etc/cluster/cluster.conf]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Which of its nodes this host is [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Where the log is kept [default: /var/lib/cluster]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where clients connect [default: /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The cluster's key [default: cluster.conf's keyfile or /etc/cluster/cluster.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A group whose members may look at the cluster through the socket
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Leave out locked memory and real-time scheduling
    #[arg(long)]
    no_realtime: bool,
    /// Which boot of this host this is [default: the kernel's boot_id]
    #[arg(long, value_name = "ID")]
    boot: Option<String>,
    /// Programs that say what this host must not have before it joins [default: /etc/cluster/leftovers.d]
    #[arg(long, value_name = "DIR")]
    leftovers: Option<PathBuf>,
    /// Write a newline to this descriptor when ready
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
}

impl Args {
    pub fn options(self) -> Options {
        let usual = Options::default();
        Options {
            conf: self.conf.unwrap_or(usual.conf),
            node: self.node,
            state: self.state.unwrap_or(usual.state),
            socket: self.socket.unwrap_or(usual.socket),
            key: self.key,
            group: self.group,
            realtime: !self.no_realtime,
            boot: self.boot,
            leftovers: self.leftovers.unwrap_or(usual.leftovers),
            ready_fd: self.ready_fd,
        }
    }
}
