//! aoe-mkdevs and aoe-mkshelf: device nodes where neither udev nor the driver makes them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use nines_cli::{Exit, log};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fchmodat, makedev, mknod};

use crate::paths;

/// What `--help` prints.
pub const DEVS_HELP: &str = "usage: aoe-mkdevs {dir}
       n_partitions=16 aoe-mkdevs {dir}

Make the aoe driver's device nodes in a directory: its control files and the
disks of shelves 0 to 9. Not needed where udev runs.

  --help     print this
  --version  print the version

environment:
  n_partitions  as the driver was built: minor numbers for a disk, 16 or 1
  n_shelves     how many shelves, 10
";

/// What `--help` prints.
pub const SHELF_HELP: &str = "usage: aoe-mkshelf {dir} {shelfaddress}
       n_partitions=16 aoe-mkshelf {dir} {shelfaddress}

Make the device nodes of one shelf's disks in a directory. Not needed where
udev runs.

  --help     print this
  --version  print the version

environment:
  n_partitions  as the driver was built: minor numbers for a disk, 16 or 1
";

/// The driver's major number.
const MAJOR: u64 = 152;
/// The driver's control files: name, minor number, mode.
const CONTROLS: [(&str, u64, u32); 5] = [
    ("err", 2, 0o400),
    ("discover", 3, 0o200),
    ("interfaces", 4, 0o200),
    ("revalidate", 5, 0o200),
    ("flush", 6, 0o200),
];
/// Disks of a shelf that have a place among the static minor numbers.
const SLOTS: u64 = 16;
/// A minor number is 20 bits wide.
const MINORS: u64 = 1 << 20;

/// The program aoe-mkdevs.
///
/// # Errors
/// A node cannot be made.
pub fn devs(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let [directory] = arguments else { return usage(DEVS_HELP) };
    if !wanted("aoe-mkdevs")? {
        return Ok(Exit::No);
    }
    let partitions = number("n_partitions", 16)?;
    let shelves = number("n_shelves", 10)?;
    let directory = Path::new(directory);
    fs::create_dir_all(directory)
        // Not as an io::Error, which would pass for a closed stdout.
        .map_err(|error| anyhow::Error::msg(error.to_string()))
        .with_context(|| directory.display().to_string())?;
    for (name, minor, mode) in CONTROLS {
        node(&directory.join(name), SFlag::S_IFCHR, mode, minor)?;
    }
    for shelf in 0..shelves {
        make_shelf(directory, shelf, partitions)?;
    }
    Ok(Exit::Ok)
}

/// The program aoe-mkshelf.
///
/// # Errors
/// A node cannot be made, or the shelf is no number.
pub fn shelf(arguments: &[OsString]) -> anyhow::Result<Exit> {
    let [directory, shelf] = arguments else { return usage(SHELF_HELP) };
    if !wanted("aoe-mkshelf")? {
        return Ok(Exit::No);
    }
    let partitions = number("n_partitions", 16)?;
    let text = shelf.to_string_lossy();
    let shelf = text.parse().with_context(|| format!("shelf address `{text}'"))?;
    make_shelf(Path::new(directory), shelf, partitions)?;
    Ok(Exit::Ok)
}

fn usage(help: &str) -> anyhow::Result<Exit> {
    // Its first two lines, as the originals write them.
    let lines = help.lines().take(2).collect::<Vec<_>>().join("\n");
    writeln!(io::stderr(), "{}", lines.replacen("usage", "Usage", 1))?;
    Ok(Exit::No)
}

/// Whether nodes made by hand are of use here: says why not.
fn wanted(program: &str) -> io::Result<bool> {
    let dynamic = fs::read(paths::sysfs().join("module/aoe/parameters/aoe_dyndevs"));
    let why = if dynamic.is_ok_and(|value| value.trim_ascii() == b"1") {
        "aoe module is using dynamic devices.".to_owned()
    } else if Path::new("/run/udev").is_dir() || Path::new("/dev/.udev").is_dir() {
        format!("udev detected.  You shouldn't need to use {program}.")
    } else {
        return Ok(true);
    };
    writeln!(io::stderr(), "{program} Error: {why}")?;
    log(format_args!("Please see the {program} manpage."));
    log(format_args!("Exiting."));
    Ok(false)
}

fn number(variable: &str, usual: u64) -> anyhow::Result<u64> {
    let value = std::env::var(variable).unwrap_or_default();
    if value.is_empty() {
        return Ok(usual);
    }
    let number = value.parse().ok().filter(|number| (1..=MINORS).contains(number));
    number.with_context(|| format!("{variable}=`{value}' is not a number from 1 to {MINORS}"))
}

fn make_shelf(directory: &Path, shelf: u64, partitions: u64) -> anyhow::Result<()> {
    let first = shelf.checked_mul(SLOTS * partitions).filter(|first| first + SLOTS * partitions <= MINORS);
    let first = first.with_context(|| {
        format!("shelf address {shelf}: beyond the minor numbers: load the driver with aoe_dyndevs=1")
    })?;
    for slot in 0..SLOTS {
        for partition in 0..partitions {
            let name = match partition {
                0 => format!("e{shelf}.{slot}"),
                partition => format!("e{shelf}.{slot}p{partition}"),
            };
            node(&directory.join(name), SFlag::S_IFBLK, 0o660, first + slot * partitions + partition)?;
        }
    }
    Ok(())
}

fn node(path: &Path, kind: SFlag, mode: u32, minor: u64) -> anyhow::Result<()> {
    let mode = Mode::from_bits_truncate(mode);
    let made = match nix::unistd::unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => mknod(path, kind, mode, makedev(MAJOR, minor)),
        Err(error) => Err(error),
    };
    // Whatever the umask says.
    let moded =
        made.and_then(|()| fchmodat(nix::fcntl::AT_FDCWD, path, mode, nix::sys::stat::FchmodatFlags::FollowSymlink));
    moded.map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.desc()))
}
