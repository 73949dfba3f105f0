//! AoE devices as the kernel's driver shows them in sysfs.

use std::fs;
use std::io;
use std::path::Path;

use nines_proto::aoe::{Address, Shelf, Slot};

use crate::paths;

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

/// The address in a device's name: `e1.0` and nothing else.
#[must_use]
pub fn address(name: &str) -> Option<Address> {
    let (shelf, slot) = name.strip_prefix('e')?.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let address = Address { shelf: Shelf(shelf.parse().ok()?), slot: Slot(slot.parse().ok()?) };
    (plain(shelf) && plain(slot) && !address.is_wild()).then_some(address)
}

/// `up`, `down` and the like, as it is now; empty when there is no such device.
#[must_use]
pub fn state(name: &str) -> String {
    fs::read_to_string(paths::device(name).join("state")).unwrap_or_default().trim_end().to_owned()
}

/// Whether the driver takes requests for the device and sends them.
#[must_use]
pub fn is_up(name: &str) -> bool {
    state(name).starts_with("up")
}

/// Requests of a device that are under way, and how many have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Handed to the driver and not answered.
    pub under_way: u64,
    /// Reads, writes, discards and flushes that ended.
    pub ended: u64,
}

/// What is under way now; nothing when sysfs does not say.
#[must_use]
pub fn load(name: &str) -> Load {
    let numbers = |file: &str| -> Vec<u64> {
        let text = fs::read_to_string(paths::device(name).join(file)).unwrap_or_default();
        text.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect()
    };
    let ended = numbers("stat");
    Load {
        under_way: numbers("inflight").iter().sum(),
        ended: [0, 4, 11, 15].iter().filter_map(|at| ended.get(*at)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_two_plain_numbers() {
        assert_eq!(address("e7.3").map(|address| address.to_string()), Some("e7.3".into()));
        for bad in ["e7", "e7.3p1", "7.3", "e65535.1", "e1.255", "e+1.2", "e1.+2", "e.1", "../e1.1", ""] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

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
