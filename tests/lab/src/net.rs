//! The lab's network: one namespace, two bridges, a tap for each cable.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::args::Interface;
use crate::process;
use crate::state::{Lab, Node};

/// This machine's address in the hosts' network.
const fn here(interface: Interface) -> Ipv4Addr {
    match interface {
        Interface::Eth0 => Ipv4Addr::new(192, 168, 100, 254),
        Interface::Eth1 => Ipv4Addr::new(10, 0, 0, 254),
    }
}

/// Where the hosts' power switch listens.
pub const POWER: SocketAddr = SocketAddr::new(IpAddr::V4(here(Interface::Eth0)), 7777);

/// The host's end of a cable.
pub fn tap(node: Node, interface: Interface) -> String {
    format!("n{}{}", node.number(), interface.name())
}

/// The largest packet on a cable; jumbo frames are what AoE is fast with.
pub fn mtu(interface: Interface) -> u16 {
    match interface {
        Interface::Eth0 => 1500,
        Interface::Eth1 => 9000,
    }
}

fn bridge(interface: Interface) -> &'static str {
    match interface {
        Interface::Eth0 => "public",
        Interface::Eth1 => "storage",
    }
}

/// Makes the namespace and the cables of `nodes` hosts.
///
/// # Errors
/// When ip(8) refuses.
pub fn up(lab: &Lab, nodes: u8) -> Result<()> {
    crate::disk::run(Command::new("ip").args(["netns", "add", &lab.netns()]))?;
    let mut script = "link set lo up\n".to_owned();
    for interface in Interface::ALL {
        let (bridge, mtu) = (bridge(interface), mtu(interface));
        // Neither may hold frames back: no spanning tree, no multicast groups to join first.
        script += &format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n");
        script += &format!("link set {bridge} mtu {mtu} up\n");
        script += &format!("address add {}/24 dev {bridge}\n", here(interface));
        for node in Node::all(nodes) {
            let tap = tap(node, interface);
            script += &format!("tuntap add {tap} mode tap\nlink set {tap} mtu {mtu} master {bridge} up\n");
        }
    }
    ip(lab, &script)
}

/// Raises or drops this machine's end of a cable.
///
/// # Errors
/// When ip(8) refuses.
pub fn plug(lab: &Lab, node: Node, interface: Interface, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    ip(lab, &format!("link set {} {state}\n", tap(node, interface)))
}

fn ip(lab: &Lab, script: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-netns", &lab.netns(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).context("ip")?;
    }
    let output = child.wait_with_output().context("ip")?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Ends what runs in the namespace, but not who asks for it, and removes it.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn down(lab: &Lab) -> Result<()> {
    let name = lab.netns();
    if !Path::new("/run/netns").join(&name).exists() {
        return Ok(());
    }
    let pids = Command::new("ip").args(["netns", "pids", &name]).output().context("ip")?;
    let ours = process::ancestors();
    for pid in String::from_utf8_lossy(&pids.stdout).lines().filter_map(|line| line.parse().ok()) {
        if !ours.contains(&pid) {
            // It may end by itself just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    crate::disk::run(Command::new("ip").args(["netns", "del", &name]))
}

/// A command line that runs in the namespace.
pub fn inside(lab: &Lab) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.netns()]);
    command
}

/// Becomes a command of this machine in the namespace.
///
/// # Errors
/// When it cannot be run; otherwise this does not return.
pub fn exec(lab: &Lab, argv: &[OsString]) -> anyhow::Error {
    anyhow::Error::from(inside(lab).args(argv).exec()).context("ip")
}
