//! What a target kept, read from any text, and a request to the control socket. What is taken up
//! is kept again the same.
#![no_main]

use aoe_vblade::ata::Disk;
use aoe_vblade::target::{Kept, Settings, Target};
use libfuzzer_sys::fuzz_target;
use nines_proto::aoe::control::Request;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let text = serde_json::to_vec(&request).expect("strings");
        assert_eq!(serde_json::from_slice::<Request>(&text).expect("what was just written"), request);
    }
    let Ok(kept) = serde_json::from_slice::<Kept>(input) else { return };
    let mut target = Target::new(Settings {
        address: Address { shelf: Shelf(7), slot: Slot(3) },
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        buffers: 64,
        disk: Disk { sectors: 40, read_only: false, trim: true, identify: Box::new([0; 512]) },
        mask: Vec::new(),
        wire_edits: true,
    })
    .expect("an empty mask");
    let before = target.kept();
    if target.restore(&kept).is_err() {
        assert_eq!(target.kept(), before);
        return;
    }
    let again = target.kept();
    target.restore(&again).expect("what it kept itself");
    assert_eq!(target.kept(), again);
});
