//! Metadata text from any bytes; a group that is accepted and fully understood comes back the
//! same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvm2_format::Vg;
use lvm2_format::roles::Roles;
use lvm2_format::vg::{Origin, to_disk, to_file};

const ORIGIN: Origin<'_> =
    Origin { program: "fuzz", description: "fuzz", host: "fuzz", system: "fuzz", time: 1_795_362_609 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(vg) = Vg::parse(bytes) else { return };
    let roles = Roles::of(&vg);
    for lv in &vg.lvs {
        let _ = (roles.role(lv), roles.is_visible(lv));
    }
    let used: u64 = vg.used().iter().map(|(_, _, count)| u64::from(*count)).sum();
    assert!(used <= vg.extent_count());
    if vg.unknown.is_empty() {
        assert_eq!(Vg::parse(&to_disk(&vg, &ORIGIN)).as_ref(), Ok(&vg));
        assert_eq!(Vg::parse(to_file(&vg, &ORIGIN).as_bytes()).as_ref(), Ok(&vg));
    }
});
