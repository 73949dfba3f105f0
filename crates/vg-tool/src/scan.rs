//! What is on the devices: labels, metadata areas, committed texts. Nothing is judged here beyond
//! what one device says about itself.

use std::collections::HashMap;
use std::rc::Rc;

use lvm2_format::label::{Label, LabelError};
use lvm2_format::mda::Header;
use lvm2_format::{Region, SECTOR, Vg};

use crate::dev::{Device, Disk};

/// Label and, usually, the first metadata area's header are in here.
const START: u64 = 8192;

/// A device with a label.
#[derive(Debug)]
pub struct Found {
    pub device: Device,
    /// The device's size in bytes as the kernel says it.
    pub size: u64,
    pub label: Label,
    pub areas: Vec<Area>,
}

/// A metadata area.
#[derive(Debug)]
pub struct Area {
    /// Absent when it cannot be read; `problem` says why.
    pub header: Option<Header>,
    /// What the committed text says.
    pub text: Option<Rc<Vg>>,
    pub problem: Option<String>,
}

/// Texts read already: the same text is in every area of a group.
#[derive(Debug, Default)]
pub struct Texts {
    read: HashMap<(u32, u64), Rc<Vg>>,
}

impl Texts {
    /// Reads a device; `Ok(None)` when it has no label.
    ///
    /// # Errors
    /// It cannot be opened or read, or its label is damaged.
    pub fn scan(&mut self, device: &Device) -> Result<Option<Found>, String> {
        let said = |error: std::io::Error| format!("WARNING: {}: {error}", device.name());
        let disk = Disk::open(&device.path, false, false).map_err(said)?;
        let start = disk.read(0, START).map_err(said)?;
        let label = match Label::find(&start) {
            Ok(label) => label,
            Err(LabelError::Absent) => return Ok(None),
            Err(error) => return Err(format!("WARNING: {}: {error}", device.name())),
        };
        let areas = label.metadata.iter().map(|region| self.area(&disk, &start, *region)).collect();
        Ok(Some(Found { device: device.clone(), size: disk.size(), label, areas }))
    }

    fn area(&mut self, disk: &Disk, start: &[u8], region: Region) -> Area {
        let mut area = Area { header: None, text: None, problem: None };
        match self.read_area(disk, start, region) {
            Ok((header, text)) => {
                area.header = Some(header);
                match text {
                    Ok(text) => area.text = text,
                    Err(problem) => area.problem = Some(problem),
                }
            }
            Err(problem) => area.problem = Some(problem),
        }
        area
    }

    #[allow(clippy::type_complexity)]
    fn read_area(
        &mut self,
        disk: &Disk,
        start: &[u8],
        region: Region,
    ) -> Result<(Header, Result<Option<Rc<Vg>>, String>), String> {
        let at = usize::try_from(region.offset).ok();
        let bytes = match at.and_then(|at| start.get(at..at.checked_add(SECTOR)?)) {
            Some(bytes) => bytes.to_vec(),
            None => disk.read(region.offset, SECTOR as u64).map_err(|error| error.to_string())?,
        };
        let header = Header::parse(region.offset, &bytes).map_err(|error| error.to_string())?;
        Ok((header, self.text(disk, &header)))
    }

    fn text(&mut self, disk: &Disk, header: &Header) -> Result<Option<Rc<Vg>>, String> {
        let Some(slot) = header.committed() else { return Ok(None) };
        let (crc, size) = (slot.crc, slot.size);
        let ranges = header.ranges(slot.offset, size).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.extend(disk.read(range.start, range.end - range.start).map_err(|error| error.to_string())?);
        }
        let body = slot.check(&bytes).map_err(|error| error.to_string())?;
        let vg = match self.read.get(&(crc, size)) {
            Some(vg) => Rc::clone(vg),
            None => {
                let vg = Rc::new(Vg::parse(body).map_err(|error| error.to_string())?);
                self.read.insert((crc, size), Rc::clone(&vg));
                vg
            }
        };
        Ok(Some(vg))
    }
}
