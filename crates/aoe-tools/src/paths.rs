//! Where the kernel's AoE driver is seen, redirected for tests by three variables.

use std::ffi::OsStr;
use std::path::PathBuf;

fn variable_or(name: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(name).filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.into()).into()
}

/// `$sysfs_dir`, or /sys.
#[must_use]
pub fn sysfs() -> PathBuf {
    variable_or("sysfs_dir", "/sys")
}

/// `$etherd_dir`, or /dev/etherd: the driver's device nodes.
#[must_use]
pub fn etherd() -> PathBuf {
    variable_or("etherd_dir", "/dev/etherd")
}

/// `$run_dir`, or /run: what must not survive a boot.
#[must_use]
pub fn run() -> PathBuf {
    variable_or("run_dir", "/run")
}

/// How many seconds the driver waits for a target before it fails the device, a module parameter.
#[must_use]
pub fn deadsecs() -> PathBuf {
    sysfs().join("module/aoe/parameters/aoe_deadsecs")
}

/// A device's directory in sysfs.
#[must_use]
pub fn device(name: &str) -> PathBuf {
    sysfs().join("block").join(format!("etherd!{name}"))
}

/// What the driver tells of a device in debugfs.
#[must_use]
pub fn debug(name: &str) -> PathBuf {
    sysfs().join("kernel/debug/aoe").join(name)
}

/// The driver's list of interfaces, a module parameter.
#[must_use]
pub fn interface_list() -> PathBuf {
    sysfs().join("module/aoe/parameters/aoe_iflist")
}

/// A network interface's directory, if it has one. A name with a slash names another.
#[must_use]
pub fn network_interface(name: &OsStr) -> Option<PathBuf> {
    let plain = !name.as_encoded_bytes().contains(&b'/') && name != "." && name != "..";
    let path = sysfs().join("class/net").join(name);
    (plain && path.is_dir()).then_some(path)
}
