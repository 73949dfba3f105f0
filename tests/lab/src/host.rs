//! A host: its QEMU command line, power on, power cut, cables.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::args::Interface;
use crate::disk::{self, Disk};
use crate::process::{self, Process, Program};
use crate::state::{Lab, Node, Settings};
use crate::{image, monitor, net};

/// How many commands can run in a host at a time.
pub const PORTS: usize = 8;

/// Dom0's share of a host's memory. Its root is an initramfs, for which the kernel wants twice
/// the size while it unpacks.
const DOM0_MEM: u32 = 768;

/// Memory of a host unless said otherwise: the hypervisor takes 60 MB, two or three guests fit.
pub const DEFAULT_MEM: u32 = 1280;

/// Without a hypervisor there are no guests to leave room for.
pub const DEFAULT_PLAIN_MEM: u32 = 640;

/// What a host's processor has. QEMU's emulation of AVX state together with Xen's lazy switching
/// of it leaks the guests' vector registers into dom0's programs, which then crash at random;
/// without XSAVE nobody uses them. PKU, SMAP and SMEP crash or slow down a PV dom0 under
/// emulation. What is left has SVM with nested paging, which PVH guests need.
const CPU: &str = "max,-pku,-smap,-smep,-xsave,-avx,-avx2";

/// Makes a host's directories and disks.
///
/// # Errors
/// Naming what could not be made.
pub fn create(lab: &Lab, node: Node, settings: &Settings) -> Result<()> {
    let dir = lab.node_dir(node);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    disk::create(lab, node, settings)
}

/// Switches a host on; it is not ready yet when this returns.
///
/// # Errors
/// When it is on already, or a program does not start.
pub fn start(lab: &Lab, node: Node, settings: &Settings) -> Result<()> {
    let sockets = lab.sockets(node);
    if !process::find(Program::Qemu, &sockets)?.is_empty() {
        bail!("{node}: is on already");
    }
    // A host that switched itself off leaves its disks' servers; a new start is a power cycle.
    end(&process::find(Program::Nbdkit, &sockets)?, &[])?;
    if sockets.exists() {
        fs::remove_dir_all(&sockets).with_context(|| sockets.display().to_string())?;
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&sockets)
        .with_context(|| sockets.display().to_string())?;
    // QEMU splits its options at commas, which a checkout's path may have; this one has none.
    let boot = sockets.join("boot");
    std::os::unix::fs::symlink(lab.boot_dir(), &boot).with_context(|| boot.display().to_string())?;

    let disks = disk::disks(lab, node, settings);
    for disk in &disks {
        disk::serve(disk, &lab.node_dir(node))?;
    }
    let log = lab.console_log(node);
    OpenOptions::new().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
    let log_link = sockets.join("console.log");
    std::os::unix::fs::symlink(&log, &log_link).with_context(|| log_link.display().to_string())?;

    disk::run(&mut qemu(lab, node, settings, &disks)).with_context(|| node.to_string())?;
    for interface in Interface::ALL {
        if is_cut(lab, node, interface) {
            monitor::set_link(lab, node, interface.name(), false)?;
        }
    }
    Ok(())
}

fn qemu(lab: &Lab, node: Node, settings: &Settings, disks: &[Disk]) -> Command {
    let sockets = lab.sockets(node);
    let boot = sockets.join("boot");
    let file = |name: &str| boot.join(name).display().to_string();
    let socket = |name: &str| format!("path={},server=on,wait=off", sockets.join(name).display());
    let [xen, vmlinux, initrd] = image::FILES.map(file);
    let number = node.number();

    let mut command = net::inside(lab);
    command.args(["qemu-system-x86_64", "-name", &node.to_string(), "-daemonize", "-no-user-config", "-nodefaults"]);
    command.args(["-display", "none", "-accel", "tcg,thread=multi", "-cpu", CPU, "-m", &settings.mem.to_string()]);
    // A host that resets stays off, as if its power had been cut: `lab start` switches it on.
    command.args(["-no-reboot", "-device", "i6300esb", "-action", "watchdog=reset", "-rtc", "base=utc"]);
    if settings.xen {
        let linux = format!("{vmlinux} console=hvc0 panic=-1 quiet nokaslr mitigations=off node={number}");
        let console = "com1=115200,8n1 console=com1 loglvl=warning";
        let hypervisor = format!("dom0_mem={DOM0_MEM}M,max:{DOM0_MEM}M {console}");
        command.args(["-kernel", &xen, "-append", &hypervisor, "-initrd", &format!("{linux},{initrd}")]);
    } else {
        let linux = format!("console=ttyS0 panic=-1 quiet nokaslr mitigations=off node={number}");
        command.args(["-kernel", &vmlinux, "-append", &linux, "-initrd", &initrd]);
    }
    let log = sockets.join("console.log");
    let console = format!("socket,id=console,{},logfile={},logappend=on", socket("console"), log.display());
    command.args(["-chardev", &console, "-serial", "chardev:console"]);
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", sockets.join("qmp").display())]);
    for disk in disks {
        let (name, path) = (&disk.name, disk.socket.display());
        command.args(["-blockdev", &format!("driver=nbd,node-name={name},server.type=unix,server.path={path}")]);
        command.args(["-device", &format!("virtio-blk-pci,drive={name},serial={name},discard=off,write-zeroes=off")]);
    }
    command.args(["-device", &format!("virtio-serial-pci,max_ports={}", PORTS + 1)]);
    for port in 0..PORTS {
        command.args(["-chardev", &format!("socket,id=port{port},{}", socket(&port_name(port)))]);
        command.args(["-device", &format!("virtserialport,chardev=port{port},name=lab.{port}")]);
    }
    for (index, interface) in Interface::ALL.into_iter().enumerate() {
        let (name, tap, mtu) = (interface.name(), net::tap(node, interface), net::mtu(interface));
        command.args(["-netdev", &format!("tap,id=tap{index},ifname={tap},script=no,downscript=no")]);
        let mac = format!("52:54:00:05:{number:02x}:{index:02x}");
        command.args(["-device", &format!("virtio-net-pci,id={name},netdev=tap{index},mac={mac},host_mtu={mtu}")]);
    }
    command
}

/// The name of a port's socket.
pub fn port_name(port: usize) -> String {
    format!("port{port}")
}

/// The QEMU process of a host that is on.
///
/// # Errors
/// When /proc cannot be read.
pub fn running(lab: &Lab, node: Node) -> Result<Option<Process>> {
    Ok(process::find(Program::Qemu, &lab.sockets(node))?.pop())
}

/// Cuts a host's power.
///
/// # Errors
/// When a process does not end.
pub fn kill(lab: &Lab, node: Node) -> Result<()> {
    cut_power(&lab.sockets(node))
}

/// Cuts the power of whatever has sockets below `dir`.
///
/// # Errors
/// When a process does not end.
pub fn cut_power(dir: &Path) -> Result<()> {
    end(&process::find(Program::Nbdkit, dir)?, &process::find(Program::Qemu, dir)?)
}

/// The processors stop first, so that no host sees its disks fail; the disks' servers end before
/// QEMU closes them, so that nothing is flushed on the way.
fn end(disks: &[Process], hosts: &[Process]) -> Result<()> {
    process::signal(hosts, Signal::SIGSTOP);
    process::signal(disks, Signal::SIGKILL);
    process::wait_for_end(disks)?;
    process::signal(hosts, Signal::SIGKILL);
    process::wait_for_end(hosts)
}

/// Pulls a cable, or plugs it in again: the card loses its carrier, and this machine's end of the
/// cable is down as well. It stays pulled when the host is switched off and on.
///
/// # Errors
/// When QEMU or ip(8) refuses.
pub fn cable(lab: &Lab, node: Node, interface: Interface, plugged: bool) -> Result<()> {
    let mark = cut_mark(lab, node, interface);
    if plugged {
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    } else {
        fs::write(&mark, "").with_context(|| mark.display().to_string())?;
    }
    net::plug(lab, node, interface, plugged)?;
    if running(lab, node)?.is_some() {
        monitor::set_link(lab, node, interface.name(), plugged)?;
    }
    Ok(())
}

/// Whether a cable is pulled.
pub fn is_cut(lab: &Lab, node: Node, interface: Interface) -> bool {
    cut_mark(lab, node, interface).exists()
}

fn cut_mark(lab: &Lab, node: Node, interface: Interface) -> PathBuf {
    lab.node_dir(node).join(format!("{}.cut", interface.name()))
}
