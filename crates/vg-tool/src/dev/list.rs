//! Which block devices there are, out of /sys.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Device, Filter};
use crate::conf::Conf;
use crate::stop::{Result, Stop};

/// Sectors below which a device is never looked at (`devices/pv_min_size`, in KiB).
const MIN_SIZE: i64 = 2048;
/// How deep below /dev other names of devices are looked for.
const ALIAS_DEPTH: usize = 4;

fn line(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    line(path)?.parse().ok()
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Every device that may hold a physical volume and passes the filter, ordered by name.
#[must_use]
pub fn candidates(conf: &Conf, filter: &Filter) -> Vec<Device> {
    let block = Path::new("/sys/block");
    let dev_dir = conf.dev_dir();
    let min = u64::try_from(conf.number("devices", "pv_min_size").unwrap_or(MIN_SIZE)).unwrap_or_default() * 2;
    let scan_lvs = conf.flag("devices", "scan_lvs", false);
    let aliases = if filter.is_open() { HashMap::new() } else { aliases(&dev_dir) };
    let mut found = Vec::new();
    for name in names(block) {
        let dir = block.join(&name);
        // Partitions are folders named after their disk; a disk's other folders are many.
        let parts: Vec<PathBuf> = names(&dir)
            .into_iter()
            .filter(|part| part.starts_with(&name))
            .map(|part| dir.join(part))
            .filter(|part| part.join("partition").exists())
            .collect();
        // A partitioned disk is not a physical volume, its partitions may be.
        let dirs = if parts.is_empty() { vec![dir] } else { parts };
        for dir in dirs {
            let Some(device) = device(&dir, &dev_dir) else { continue };
            let name = device.name();
            let others = aliases.get(&(device.major, device.minor));
            let all: Vec<&str> =
                std::iter::once(name.as_str()).chain(others.into_iter().flatten().map(String::as_str)).collect();
            if filter.accepts(&all) && device.size >= min && usable(&device, scan_lvs) && is_node(&device) {
                found.push(device);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn device(sysfs: &Path, dev_dir: &Path) -> Option<Device> {
    let numbers = line(&sysfs.join("dev"))?;
    let (major, minor) = numbers.split_once(':')?;
    let kernel_name = sysfs.file_name()?.to_str()?;
    // sysfs writes a slash in a name as an exclamation mark: etherd!e0.1.
    let path = match line(&sysfs.join("dm/name")) {
        Some(name) => dev_dir.join("mapper").join(name),
        None => dev_dir.join(kernel_name.replace('!', "/")),
    };
    Some(Device {
        path,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        size: number(&sysfs.join("size"))?,
        sysfs: sysfs.to_path_buf(),
    })
}

fn is_node(device: &Device) -> bool {
    let Ok(metadata) = fs::metadata(&device.path) else { return false };
    let rdev = metadata.rdev();
    metadata.file_type().is_block_device()
        && (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev))
            == (u64::from(device.major), u64::from(device.minor))
}

/// Whether it is one of the kinds LVM2 looks at: no RAM disk, no CD, no part of an md array or a
/// multipath device, no logical volume unless `devices/scan_lvs` says so, nothing suspended.
fn usable(device: &Device, scan_lvs: bool) -> bool {
    let kernel_name = device.sysfs.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = kernel_name.trim_end_matches(|c: char| c.is_ascii_digit());
    if matches!(digits, "ram" | "sr" | "fd" | "zram") {
        return false;
    }
    if let Some(uuid) = line(&device.sysfs.join("dm/uuid")) {
        let inner = uuid.strip_prefix("LVM-");
        // Beyond the two ids a uuid names a layer, which is nobody's disk.
        if inner.is_some_and(|inner| !scan_lvs || inner.len() > 64)
            || number(&device.sysfs.join("dm/suspended")) == Some(1)
        {
            return false;
        }
    }
    !names(&device.sysfs.join("holders")).iter().any(|holder| {
        let dir = Path::new("/sys/block").join(holder);
        dir.join("md").exists() || line(&dir.join("dm/uuid")).is_some_and(|uuid| uuid.starts_with("mpath-"))
    })
}

/// Other names of devices below /dev, by number.
fn aliases(dev_dir: &Path) -> HashMap<(u32, u32), Vec<String>> {
    let mut found: HashMap<(u32, u32), Vec<String>> = HashMap::new();
    let mut dirs = vec![(dev_dir.to_path_buf(), 0)];
    while let Some((dir, depth)) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.filter_map(std::result::Result::ok) {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir()
                && depth < ALIAS_DEPTH
                && !matches!(entry.file_name().to_str(), Some("shm" | "pts" | "mqueue" | "char"))
            {
                dirs.push((path, depth + 1));
            } else if kind.is_symlink()
                && let Ok(metadata) = fs::metadata(&path)
                && metadata.file_type().is_block_device()
            {
                let rdev = metadata.rdev();
                let key = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
                if let (Ok(major), Ok(minor)) = (u32::try_from(key.0), u32::try_from(key.1)) {
                    found.entry((major, minor)).or_default().push(path.to_string_lossy().into_owned());
                }
            }
        }
    }
    found
}

/// The device a user names, which must be one of the candidates, by any of its names.
///
/// # Errors
/// There is no such device, or it is not for physical volumes.
pub fn find<'a>(candidates: &'a [Device], path: &str) -> Result<&'a Device> {
    if let Some(device) = candidates.iter().find(|device| device.path == Path::new(path)) {
        return Ok(device);
    }
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device());
    let rdev = metadata.map(|metadata| metadata.rdev());
    rdev.and_then(|rdev| {
        let numbers = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
        candidates.iter().find(|device| (u64::from(device.major), u64::from(device.minor)) == numbers)
    })
    .ok_or_else(|| {
        if rdev.is_some() {
            Stop::failed(format_args!("Cannot use {path}: device is rejected by filter config"))
        } else {
            Stop::failed(format_args!("No device found for {path}."))
        }
    })
}
