//! One entry of `disk = [ ... ]`: where its data is, in xm's and in xl's notation.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A logical volume as `vg-tool` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    pub vg: String,
    pub lv: String,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)
    }
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('/').filter(|(vg, lv)| is_lvm_name(vg) && is_lvm_name(lv));
        let (vg, lv) = named.ok_or_else(|| format!("`{text}' is not VG/LV"))?;
        Ok(Self { vg: vg.into(), lv: lv.into() })
    }
}

/// LVM's rule for names of groups and volumes.
fn is_lvm_name(name: &str) -> bool {
    (1..128).contains(&name.len())
        && !name.starts_with('-')
        && name != "."
        && name != ".."
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'_' | b'.' | b'-'))
}

/// What a disk's data is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// A device or a file.
    Path(PathBuf),
    /// What only a block script understands (iSCSI, NBD, DRBD, a driver domain).
    Script(String),
    /// An empty drive.
    Nothing,
}

/// A disk as xl is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// xl's disk specification, `phy:vg/lv` made `phy:/dev/vg/lv`.
    pub specification: String,
    pub backing: Backing,
}

impl Disk {
    /// Reads a specification: xm's `phy:TARGET,VDEV,MODE` or xl's `TARGET,FORMAT,VDEV,ACCESS` and
    /// `KEY=VALUE` forms (xl-disk-configuration(5)).
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\n') {
            return Err("a disk with a line break in it".into());
        }
        let text = text.trim();
        let (prefix, rest) = match text.split_once(':') {
            Some((prefix, rest)) if is_prefix(prefix) => (Some(prefix), rest),
            _ => (None, text),
        };
        let (target, after) = match (prefix, position_of_target(rest)) {
            (None, Some(start)) => (&rest[start..], ""),
            _ => match rest.split_once(',') {
                Some((target, after)) => (target, after),
                None => (rest, ""),
            },
        };
        let scripted = rest.split(',').any(|part| {
            let part = part.trim_start();
            part.starts_with("script=") || part.starts_with("backend=")
        });
        let (specification, backing) = match prefix {
            Some("phy") if target.is_empty() => return Err(format!("`{text}' names no device")),
            Some("phy") if !target.starts_with('/') => {
                (format!("phy:/dev/{target},{after}"), Backing::Path(Path::new("/dev").join(target)))
            }
            Some("phy" | "file" | "tap" | "tap2" | "aio" | "ioemu" | "raw" | "qcow" | "qcow2" | "vhd" | "tapdisk")
            | None
                if target.starts_with('/') && !scripted =>
            {
                (text.to_owned(), Backing::Path(target.into()))
            }
            None if target.is_empty() || target.contains('=') || target == "cdrom" => {
                (text.to_owned(), Backing::Nothing)
            }
            _ => (text.to_owned(), Backing::Script(target.to_owned())),
        };
        if let Backing::Path(path) = &backing
            && path.components().any(|part| matches!(part, std::path::Component::ParentDir))
        {
            return Err(format!("`{}' leads through `..'", path.display()));
        }
        Ok(Self { specification, backing })
    }

    /// The volume this disk would be, going by its path: `/dev/VG/LV` or `/dev/mapper/VG-LV`.
    /// Whether there is such a volume group is for `vg-tool` to say.
    pub fn volume(&self) -> Option<Volume> {
        let Backing::Path(path) = &self.backing else { return None };
        let rest = path.strip_prefix("/dev").ok()?.to_str()?;
        let (first, second) = rest.split_once('/')?;
        match first {
            "mapper" => from_mapper(second),
            // Directories of /dev that the kernel and udev make.
            "etherd" | "disk" | "block" | "loop" | "md" | "nbd" | "zvol" | "xen" => None,
            _ => rest.parse().ok(),
        }
    }
}

/// xl's and xm's disk prefixes end in a colon and hold no path.
fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Where the value of `target=`, which reaches to the end, starts.
fn position_of_target(text: &str) -> Option<usize> {
    let mut start = 0;
    for part in text.split(',') {
        let key = part.trim_start();
        if key.starts_with("target=") {
            return Some(start + (part.len() - key.len()) + "target=".len());
        }
        start += part.len() + 1;
    }
    None
}

/// Device-mapper names double the dashes inside the two names and put a single one between.
fn from_mapper(name: &str) -> Option<Volume> {
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'-' {
            if bytes.get(index + 1) != Some(&b'-') {
                let (vg, lv) = (name[..index].replace("--", "-"), name[index + 1..].replace("--", "-"));
                return format!("{vg}/{lv}").parse().ok();
            }
            index += 1;
        }
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(text: &str) -> Disk {
        Disk::parse(text).unwrap()
    }

    #[test]
    fn a_relative_phy_path_is_under_dev() {
        let disk = disk("phy:vg/blenke-web-00_mirror0,sda1,w");
        assert_eq!(disk.specification, "phy:/dev/vg/blenke-web-00_mirror0,sda1,w");
        assert_eq!(disk.volume().unwrap().to_string(), "vg/blenke-web-00_mirror0");
    }

    #[test]
    fn volumes_are_found_in_every_notation() {
        for text in [
            "/dev/vg/lv,raw,xvda,rw",
            "phy:/dev/vg/lv,xvda,w",
            "format=raw, vdev=xvda, access=rw, target=/dev/vg/lv",
            "/dev/mapper/vg-lv,,xvda",
        ] {
            assert_eq!(disk(text).volume().map(|v| v.to_string()).as_deref(), Some("vg/lv"), "{text}");
            assert_eq!(disk(text).specification, text);
        }
        assert_eq!(disk("phy:/dev/mapper/my--vg-a--b,xvda,w").volume().unwrap().to_string(), "my-vg/a-b");
    }

    #[test]
    fn other_disks_are_paths_scripts_or_empty_drives() {
        assert_eq!(disk("file:/var/img,xvda,w").backing, Backing::Path("/var/img".into()));
        assert_eq!(disk("/dev/etherd/e1.0,raw,xvda,w").volume(), None);
        assert_eq!(disk("phy:/dev/sdb1,xvda,w").volume(), None);
        assert_eq!(disk("iscsi:iqn.2001-05.com:x,xvda,w").backing, Backing::Script("iqn.2001-05.com:x".into()));
        assert_eq!(disk("vdev=xvda,script=block-foo,target=/x/y").backing, Backing::Script("/x/y".into()));
        assert_eq!(disk(",hdc:cdrom,r").backing, Backing::Nothing);
        assert_eq!(disk("vdev=hdc,cdrom").backing, Backing::Nothing);
        assert!(Disk::parse("phy:,xvda,w").is_err());
        assert!(Disk::parse("phy:../etc/shadow,xvda,w").is_err());
    }

    #[test]
    fn names_that_are_not_lvms_are_no_volumes() {
        for text in ["vg", "vg/", "/lv", "vg/lv/x", "-vg/lv", "vg/..", "vg/a b", "vg/$(id)"] {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
    }
}
