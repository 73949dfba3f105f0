//! Why a clustered volume takes flushes on every host, whichever disk it lies on there.
//!
//! A host's own disk has a write cache; the same disk seen over AoE has none, since its target
//! answers when a write is durable. A Xen guest learns from its back end whether to send flushes,
//! and Linux's front end fails those that were under way when it moves to a back end that takes
//! none (`blkif_request_flush_invalid` in drivers/block/xen-blkfront.c). To a guest that mirrors
//! its volumes that is a failed disk, and it has lost one half by moving.
//!
//! So in a group that lies on both kinds of disk, an area without a write cache is mapped by the
//! target `delay`, with delays of zero. That target passes reads and writes on as `linear` does,
//! and takes a third device for flushes: a disk of the group with a write cache, for which a
//! flush too many is harmless, and to which nothing but flushes ever goes.

use std::fs;

use crate::dev::Device;
use crate::groups::{Group, World};

/// The disk to send the flushes of `device` to; `None` where `linear` serves as well.
pub fn flushed_by<'a>(world: &'a World, group: &Group, device: &Device) -> Option<&'a Device> {
    if !group.vg.is_clustered() || has_write_cache(device) {
        return None;
    }
    let present = group.devices.iter().flatten().map(|index| &world.pvs[*index].device);
    present.into_iter().find(|other| has_write_cache(other))
}

/// What the kernel says: a partition's queue is its disk's.
fn has_write_cache(device: &Device) -> bool {
    ["queue/write_cache", "../queue/write_cache"]
        .iter()
        .find_map(|file| fs::read_to_string(device.sysfs.join(file)).ok())
        .is_some_and(|text| text.trim() == "write back")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(directory: &std::path::Path, name: &str, cache: &str) -> Device {
        let sysfs = directory.join(name);
        fs::create_dir_all(sysfs.join("queue")).unwrap();
        fs::write(sysfs.join("queue/write_cache"), cache).unwrap();
        Device { path: format!("/dev/{name}").into(), major: 8, minor: 0, size: 1 << 20, sysfs }
    }

    #[test]
    fn the_write_cache_is_the_queues_also_for_a_partition() {
        let directory = tempfile::tempdir().unwrap();
        let cached = device(directory.path(), "vdc", "write back\n");
        assert!(has_write_cache(&cached));
        let partition = Device { sysfs: cached.sysfs.join("vdc1"), ..cached };
        fs::create_dir(&partition.sysfs).unwrap();
        assert!(has_write_cache(&partition));
        assert!(!has_write_cache(&device(directory.path(), "etherd!e0.1", "write through\n")));
    }
}
