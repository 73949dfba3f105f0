//! What a target kept, read from any text, and a request to the control socket. What is taken up
//! is kept again the same; what is refused has changed nothing.

use aoe_vblade::ata::Disk;
use aoe_vblade::memory::Page;
use aoe_vblade::target::{Kept, Settings, Target, Unfit};
use nines_proto::aoe::control::Request;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;

pub fn run(input: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let text = serde_json::to_vec(&request).expect("strings");
        assert_eq!(serde_json::from_slice::<Request>(&text).expect("what was just written"), request);
    }
    if let Ok(kept) = serde_json::from_slice::<Kept>(input) {
        taken(|target| target.restore(&kept));
    }
    if let Ok(page) = serde_json::from_slice::<Page>(input) {
        let given = [Mac([2, 0, 0, 0, 0, 0x10])];
        taken(|target| page.recall(target, &[]));
        taken(|target| page.recall(target, &given));
    }
}

fn taken(restore: impl Fn(&mut Target) -> Result<(), Unfit>) {
    let disk = Disk { sectors: 40, read_only: false, trim: true, identify: Box::new([0; 512]) };
    let address = Address { shelf: Shelf(7), slot: Slot(3) };
    let (mac, mask) = (Mac([2, 0, 0, 0, 0, 1]), Vec::new());
    let settings = Settings { address, mac, mtu: 1500, buffers: 64, disk, mask, wire_edits: true };
    let mut target = Target::new(settings).expect("an empty mask");
    let before = target.kept();
    if restore(&mut target).is_err() {
        assert_eq!(target.kept(), before);
        return;
    }
    let again = target.kept();
    target.restore(&again).expect("what it kept itself");
    assert_eq!(target.kept(), again);
    assert!(target.denied().is_sorted());
    let text = serde_json::to_vec(&again).expect("strings");
    assert_eq!(serde_json::from_slice::<Kept>(&text).expect("what was just written"), again);
}
