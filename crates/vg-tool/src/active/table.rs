//! A logical volume's segments as device-mapper targets.

use std::io;

use lvm2_format::{Lv, Mapping};
use nines_sys::dm::Target;

use super::flush::has_write_cache;
use crate::groups::{Group, World};
use crate::stop::{Context, Result, Stop};

/// The table of a linear or striped volume. `sink` gives the device that takes the flushes of an
/// area without a write cache, in a clustered group.
///
/// # Errors
/// A physical volume it lies on is not there, or it lies on something else.
pub fn targets(
    world: &World,
    group: &Group,
    lv: &Lv,
    sink: impl Fn() -> io::Result<(u32, u32)>,
) -> Result<Vec<Target>> {
    let vg = &group.vg;
    let size = vg.extent_size;
    let missing = group.missing();
    let mut targets = Vec::new();
    for segment in &lv.segments {
        let Mapping::Striped { stripe_size, areas } = &segment.mapping else {
            return Err(Stop::failed(format_args!("{}/{}: cannot map type {}", vg.name, lv.name, segment.kind)));
        };
        let mut places = Vec::new();
        let mut cached = true;
        for area in areas {
            let index = vg.pvs.iter().position(|pv| pv.key == area.on);
            let Some(index) = index else {
                return Err(Stop::failed(format_args!("{}/{}: lies on {}, another volume", vg.name, lv.name, area.on)));
            };
            let Some(device) = group.devices[index].filter(|_| !missing.contains(&index)) else {
                return Err(Stop::failed(format_args!(
                    "Refusing activation of partial LV {}/{}.  Use '--activationmode partial' to override.",
                    vg.name, lv.name
                )));
            };
            let device = &world.pvs[device].device;
            let start = vg.pvs[index].pe_start + u64::from(area.extent) * size;
            let end = start + u64::from(segment.area_length()) * size;
            if end > device.size {
                return Err(Stop::failed(format_args!(
                    "{}/{}: ends at sector {end} of {}, which has {}",
                    vg.name,
                    lv.name,
                    device.name(),
                    device.size
                )));
            }
            places.push(format!("{}:{} {start}", device.major, device.minor));
            cached = has_write_cache(device);
        }
        let (kind, params) = match places.as_slice() {
            // Reads, writes and flushes, each with its device, start and milliseconds of delay.
            [place] if vg.is_clustered() && !cached => {
                let (major, minor) = sink().at(format_args!("{}/{}: cannot make its flush sink", vg.name, lv.name))?;
                ("delay", format!("{place} 0 {place} 0 {major}:{minor} 0 0"))
            }
            [place] => ("linear", place.clone()),
            places => {
                let chunk = stripe_size.unwrap_or_default();
                ("striped", format!("{} {chunk} {}", places.len(), places.join(" ")))
            }
        };
        targets.push(Target {
            start: u64::from(segment.start) * size,
            length: u64::from(segment.count) * size,
            kind: kind.into(),
            params,
        });
    }
    Ok(targets)
}
