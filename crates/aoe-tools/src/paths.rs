//! Where the kernel's AoE driver is seen, redirected for tests by two variables.

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
