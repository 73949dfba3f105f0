//! Writing a changed volume group so that a crash at any point leaves the old state or the new.
//!
//! 1. the text into the free part of every ring,
//! 2. every header with the text as precommitted,
//! 3. every header with the text as committed; the first that is written is the commit.
//!
//! Each step is on the medium of every device, past its write cache, before the next begins.

use lvm2_format::mda::{Header, Slot};
use lvm2_format::vg::to_disk;
use lvm2_format::{Label, Vg, crc};

use crate::dev::Disk;
use crate::groups::World;
use crate::host::Host;
use crate::say::Say;
use crate::scan::Found;
use crate::stop::{Context, Result, Stop};

/// A metadata area about to be written.
struct Target {
    disk: usize,
    name: String,
    old: Header,
    new: Slot,
}

/// The devices of a group, open for writing.
pub struct Writer {
    disks: Vec<(String, Disk)>,
    targets: Vec<Target>,
    labels: Vec<(usize, Label)>,
}

impl Writer {
    /// Opens `pvs`, indexes into the world's, for writing.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(world: &World, pvs: &[usize]) -> Result<Self> {
        let mut writer = Self { disks: Vec::new(), targets: Vec::new(), labels: Vec::new() };
        for pv in pvs {
            writer.add(&world.pvs[*pv])?;
        }
        Ok(writer)
    }

    fn add(&mut self, found: &Found) -> Result<()> {
        let name = found.device.name();
        let disk = Disk::open(&found.device.path, true, false).at(&name)?;
        let at = self.disks.len();
        // An area whose header cannot be read is left to whoever repairs it, one that is set
        // aside stays so.
        for header in found.areas.iter().filter_map(|area| area.header).filter(|header| !header.is_ignored()) {
            self.targets.push(Target { disk: at, name: name.clone(), old: header, new: Slot::default() });
        }
        self.labels.push((at, found.label.clone()));
        self.disks.push((name, disk));
        Ok(())
    }

    /// Writes the group in place of what the areas hold.
    ///
    /// # Errors
    /// Nothing has changed when this fails: texts without a commit are no texts.
    pub fn commit(&mut self, vg: &Vg, host: &Host, description: &str, say: Say) -> Result<()> {
        // Whatever the command built, nothing that readers would refuse is written.
        vg.check().at(format_args!("VG {}", vg.name))?;
        let text = to_disk(vg, &host.origin(description));
        let size = text.len() as u64;
        let sum = crc(&text);
        if self.targets.is_empty() {
            return Err(Stop::failed(format_args!("VG {} has no metadata area that can be written", vg.name)));
        }
        for target in &mut self.targets {
            let offset = target.old.place(size).map_err(|_| {
                Stop::failed(format_args!(
                    "VG {} {} metadata on {} ({size} bytes) exceeds maximum metadata size ({} bytes)",
                    vg.name,
                    vg.seqno,
                    target.name,
                    target.old.max_text()
                ))
            })?;
            target.new = Slot { offset, size, crc: sum, flags: 0 };
        }
        self.write_labels()?;
        self.write_texts(&text)?;
        let step = |target: &Target, slots| Header { slots, ..target.old };
        for index in 0..self.targets.len() {
            let target = &self.targets[index];
            let header = step(target, [target.old.slots[0], target.new]);
            if let Err(stop) = self.write_header(target.disk, &header) {
                self.revert(index);
                return Err(stop);
            }
        }
        if let Err(stop) = self.sync() {
            self.revert(self.targets.len());
            return Err(stop);
        }
        let mut committed = 0;
        let mut failed = Vec::new();
        for target in &self.targets {
            let header = step(target, [target.new, Slot::default()]);
            let written = self.write_header(target.disk, &header);
            match written.and_then(|()| self.disks[target.disk].1.sync().at(&target.name)) {
                Ok(()) => committed += 1,
                Err(stop) => failed.push(stop.message),
            }
        }
        if committed == 0 {
            self.revert(self.targets.len());
            return Err(Stop::failed(failed.join("\n")));
        }
        // One is enough: its sequence number wins, the next change brings the others up to date.
        for message in failed {
            say.warning(format_args!("Failed to commit VG {}: {message}", vg.name));
        }
        Ok(())
    }

    /// Empties every area of the group, then says in the labels that they are free.
    ///
    /// # Errors
    /// A write failed; what is left of the group may still be found.
    pub fn remove(&mut self) -> Result<()> {
        for target in &self.targets {
            self.write_header(target.disk, &Header { slots: [Slot::default(); 2], ..target.old })?;
        }
        self.sync()?;
        self.set_used(false);
        self.write_labels()
    }

    /// Has the labels say whether the devices belong to a group, from the next write on.
    pub fn set_used(&mut self, used: bool) {
        self.labels.retain_mut(|(_, label)| label.set_used(used));
    }

    fn write_labels(&mut self) -> Result<()> {
        for (disk, label) in std::mem::take(&mut self.labels) {
            let (name, disk) = &self.disks[disk];
            let bytes = label.encode().at(name)?;
            disk.write(label.sector * 512, &bytes).at(name)?;
            disk.sync().at(name)?;
        }
        Ok(())
    }

    fn write_texts(&self, text: &[u8]) -> Result<()> {
        for target in &self.targets {
            let disk = &self.disks[target.disk].1;
            let ranges = target.old.ranges(target.new.offset, target.new.size).at(&target.name)?;
            let [first, wrapped] = ranges;
            let cut = usize::try_from(first.end - first.start).at(&target.name)?;
            let (head, tail) = text.split_at(cut);
            if tail.is_empty() {
                disk.write(first.start, &padded(head)).at(&target.name)?;
            } else {
                // The first piece ends with the area, which is a whole number of sectors.
                disk.write(first.start, head).at(&target.name)?;
                disk.write(wrapped.start, &padded(tail)).at(&target.name)?;
            }
        }
        self.sync()
    }

    fn write_header(&self, disk: usize, header: &Header) -> Result<()> {
        let (name, disk) = &self.disks[disk];
        disk.write(header.start, &header.encode()).at(name)
    }

    fn sync(&self) -> Result<()> {
        self.disks.iter().try_for_each(|(name, disk)| disk.sync().at(name))
    }

    /// Takes the precommitted text out of the first `count` headers again. A failure is no worse
    /// than a crash here: readers never look at a precommitted text.
    fn revert(&self, count: usize) {
        for target in &self.targets[..count] {
            let _ =
                self.write_header(target.disk, &Header { slots: [target.old.slots[0], Slot::default()], ..target.old });
        }
    }
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.resize(text.len().next_multiple_of(512), 0);
    bytes
}
