//! Every part of an AoE frame, read from any bytes; what is read is written again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nines_proto::aoe::Header;
use nines_proto::aoe::ata::Registers;
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::mask::{Directive, Mask};
use nines_proto::aoe::reserve::Reserve;
use nines_proto::aoe::trim::{Range, Ranges};
use nines_proto::mac::Mac;

fuzz_target!(|frame: &[u8]| {
    let Ok((header, argument)) = Header::parse(frame) else { return };
    let mut again = vec![0; frame.len()];
    header.encode(&mut again).expect("as long as it was");
    assert_eq!(again[..Header::LENGTH], frame[..Header::LENGTH]);
    let mut again = vec![0; argument.len()];
    if let Ok((registers, _)) = Registers::parse(argument) {
        registers.encode(&mut again).expect("as long as it was");
        assert_eq!(again[..10], argument[..10]);
    }
    if let Ok(config) = Config::parse(argument) {
        let length = config.encode(&mut again).expect("as long as it was");
        assert_eq!(again[..length], argument[..length]);
    }
    if let Ok(mask) = Mask::parse(argument)
        && let Ok(directives) = mask.directives()
    {
        let directives: Vec<Directive> = directives.collect();
        Mask::encode(mask.action, directives.into_iter(), &mut again).expect("as long as it was");
        assert_eq!(again[1], argument[1]);
    }
    if let Ok(reserve) = Reserve::parse(argument) {
        let macs: Vec<Mac> = reserve.macs().collect();
        let length = Reserve::encode(reserve.action, &macs, &mut again).expect("as long as it was");
        assert_eq!(again[..length], argument[..length]);
    }
    let ranges: Vec<Range> = Ranges::parse(argument).iter().collect();
    assert!(Ranges::encode(&ranges, &mut again), "fewer than there were");
    assert!(Ranges::parse(&again).iter().take(ranges.len()).eq(ranges));
    if let Some(sector) = argument.first_chunk() {
        let _ = Identified::parse(sector);
    }
});
