//! One exported disk: what it answers, its store, and the requests that are under way there.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::log;
use nines_proto::aoe::identify::{Identity, Trim};
use nines_proto::mac::Mac;
use nix::errno::Errno;
use nix::unistd::gethostname;

use crate::args::ExportOptions;
use crate::ata::{Disk, Extent, Failure};
use crate::commit::Commit;
use crate::memory::Memory;
use crate::order::Order;
use crate::stats::{Clients, Counters};
use crate::store::{Medium, Store};
use crate::target::{Settings, Target};

/// An export.
#[derive(Debug)]
pub struct Export {
    /// How it was asked for.
    pub options: ExportOptions,
    /// What it answers.
    pub target: Target,
    /// The disk behind it.
    pub store: Store,
    /// The disk's size and shape.
    pub medium: Medium,
    /// The interfaces it is served on, by number.
    pub wires: Vec<usize>,
    /// Requests that are under way or wait for others.
    pub order: Order,
    /// Writes that are done and not yet durable.
    pub commit: Commit,
    /// What it has done so far.
    pub counters: Counters,
    /// For whom.
    pub clients: Clients,
    /// It takes no more requests and goes when those it has are answered.
    pub leaving: bool,
    last_complaint: Option<Instant>,
}

impl Export {
    /// Opens an export, on no interface yet, with room for `most` requests. `mtu` is that of its
    /// interfaces, the smallest of them.
    ///
    /// # Errors
    /// The file or device is unfit, the mask list too long, or what was kept unreadable.
    pub fn open(options: ExportOptions, memory: Option<&Memory>, mtu: usize, most: usize) -> anyhow::Result<Self> {
        let (store, medium) = Store::open(&options.opening)?;
        let settings = Settings {
            address: options.address,
            // Every frame is taken together with its interface.
            mac: Mac([0; 6]),
            mtu,
            buffers: options.buffers,
            disk: disk(&options, medium),
            mask: options.mask.clone(),
            wire_edits: options.wire_edits,
        };
        let mut target = Target::new(settings).context("-m")?;
        if let Some(memory) = memory {
            memory.recall(&mut target, &options.mask)?;
        }
        let (order, commit) = (Order::new(most), Commit::new(most));
        let (wires, leaving, last_complaint) = (Vec::new(), false, None);
        let (counters, clients) = (Counters::default(), Clients::default());
        Ok(Self { options, target, store, medium, wires, order, commit, counters, clients, leaving, last_complaint })
    }

    /// Looks whether the disk has another size now. True when it has.
    ///
    /// # Errors
    /// It cannot be served any more as it was asked for, or cannot be asked.
    pub fn measure_again(&mut self) -> anyhow::Result<bool> {
        let medium = self.store.measure(&self.options.opening)?;
        let changed = medium.sectors != self.medium.sectors;
        if changed {
            self.medium = medium;
            self.target.set_disk(disk(&self.options, medium));
        }
        Ok(changed)
    }

    /// Counts a failure of the medium, and logs at most one a second. From the first that is the
    /// disk's own, SMART says that the disk is failing.
    pub fn complain(&mut self, what: &str, extent: Option<Extent>, error: &io::Error) -> Failure {
        self.counters.disk_errors += 1;
        if of_the_disk(error) {
            self.target.set_failing(true);
        }
        if self.last_complaint.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.last_complaint = Some(Instant::now());
            let (address, errors) = (self.target.address(), self.counters.disk_errors);
            let place = extent.map_or(String::new(), |at| format!(" of {} sectors at {}", at.sectors, at.first));
            log(format_args!("{address}: {what}{place}: {error} ({errors} errors so far)"));
        }
        if what == "read" { Failure::UNREADABLE } else { Failure::FAULT }
    }
}

/// Whether an error says that the disk is not what it should be, by the names Linux's block layer
/// has for that: errors of the medium, the device, the data's protection, and a device that is gone.
/// A full file system, a lack of memory or a path that is down is not the disk's.
fn of_the_disk(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EIO | Errno::ENODATA | Errno::EREMOTEIO | Errno::EILSEQ | Errno::ENODEV | Errno::ENXIO))
}

/// The disk as hosts see it. Its serial number is vblade's: the address and this host's name.
fn disk(options: &ExportOptions, medium: Medium) -> Disk {
    let (address, host) = (options.address, gethostname().unwrap_or_default());
    let identity = Identity {
        serial: &format!("{}.{}:{}", address.shelf.0, address.slot.0, host.to_string_lossy()),
        firmware: env!("CARGO_PKG_VERSION"),
        model: "fivenines aoe-vblade",
        sectors: medium.sectors,
        write_cache: options.opening.write_back,
        physical_exponent: medium.physical_exponent,
        rotating: medium.rotating,
        trim: if medium.trims { Trim::Zeroes } else { Trim::None },
    };
    Disk {
        sectors: medium.sectors,
        read_only: options.opening.read_only,
        trim: medium.trims,
        identify: Box::new(identity.encode()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_fails_by_its_own_errors_and_not_by_those_around_it() {
        let of_the_disk = |errno: Errno| of_the_disk(&errno.into());
        for errno in [Errno::EIO, Errno::ENODATA, Errno::EREMOTEIO, Errno::EILSEQ, Errno::ENODEV, Errno::ENXIO] {
            assert!(of_the_disk(errno), "{errno}");
        }
        for errno in [Errno::ENOSPC, Errno::EDQUOT, Errno::ENOMEM, Errno::EAGAIN, Errno::ENOLINK, Errno::EFBIG] {
            assert!(!of_the_disk(errno), "{errno}");
        }
        assert!(!super::of_the_disk(&io::ErrorKind::UnexpectedEof.into()), "a file that was cut short");
    }
}
