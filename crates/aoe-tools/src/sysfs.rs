//! AoE devices as the kernel's driver shows them in sysfs.

use std::fs;
use std::io;
use std::path::Path;

/// One device; what sysfs does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `e1.0`
    pub name: String,
    /// Minor number, as text.
    pub minor: Option<String>,
    /// Size in 512-byte sectors.
    pub sectors: Option<u64>,
    /// Local interfaces that reach it, separated by commas.
    pub netif: Option<String>,
    /// Bytes of data in a frame.
    pub payload: Option<String>,
    /// `up`, `down`, ...
    pub state: Option<String>,
}

/// The AoE devices below a sysfs, in no order.
///
/// # Errors
/// There is no block directory to read.
pub fn devices(sysfs: &Path) -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir(sysfs.join("block"))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if is_device(&file) {
            devices.push(device(&entry.path(), file.rsplit('!').next().unwrap_or(&file)));
        }
    }
    Ok(devices)
}

/// `etherd!e1.0` and the like, but no partition (`p`).
fn is_device(file: &str) -> bool {
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let numbered = |rest: &str| digit(rest) && rest.match_indices('.').any(|(at, _)| digit(&rest[at + 1..]));
    !file.contains('p') && file.match_indices('e').any(|(at, _)| numbered(&file[at + 1..]))
}

fn device(directory: &Path, name: &str) -> Device {
    let read = |file: &str| Some(fs::read_to_string(directory.join(file)).ok()?.trim_end_matches('\n').to_owned());
    Device {
        name: name.to_owned(),
        minor: read("dev").and_then(|numbers| Some(numbers.split(':').nth(1)?.to_owned())),
        sectors: read("size").and_then(|sectors| sectors.trim().parse().ok()),
        netif: read("netif"),
        payload: read("payload"),
        state: read("state"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_partitions_and_other_disks() {
        for yes in ["etherd!e1.0", "etherd!e65534.254", "e0.0"] {
            assert!(is_device(yes), "{yes}");
        }
        for no in ["etherd!e1.0p1", "sda", "nvme0n1", "etherd!e1", "etherd!e.1", "etherd!e1.x", "dm-0", ""] {
            assert!(!is_device(no), "{no}");
        }
    }
}
