//! Every part of an AoE frame, read from any bytes; what is read is written again the same.

use nines_proto::aoe::Header;
use nines_proto::aoe::ata::Registers;
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::mask::{Directive, Mask};
use nines_proto::aoe::reserve::Reserve;
use nines_proto::aoe::trim::{Range, Ranges};
use nines_proto::mac::Mac;

pub fn run(frame: &[u8]) {
    let Ok((header, argument)) = Header::parse(frame) else {
        assert!(frame.len() < Header::LENGTH || frame[12..14] != [0x88, 0xa2], "a frame was not read");
        return;
    };
    let mut again = vec![0; frame.len()];
    header.encode(&mut again).expect("as long as it was");
    assert_eq!(again[..Header::LENGTH], frame[..Header::LENGTH]);
    let mut again = vec![0xee; argument.len()];
    if let Ok((registers, data)) = Registers::parse(argument) {
        registers.encode(&mut again).expect("as long as it was");
        assert_eq!((&again[..10], &again[10..12]), (&argument[..10], &[0; 2][..]));
        assert_eq!(*data, argument[12..]);
        assert_eq!(Registers::lba_bytes(registers.lba48()), registers.lba);
        assert!(registers.lba28() < 1 << 28);
    }
    if let Ok(config) = Config::parse(argument) {
        let length = config.encode(&mut again).expect("as long as it was");
        assert_eq!(again[..length], argument[..length]);
    }
    if let Ok(mask) = Mask::parse(argument)
        && let Ok(directives) = mask.directives()
    {
        let directives: Vec<Directive> = directives.collect();
        let length = Mask::encode(mask.action, directives.iter().copied(), &mut again).expect("as long as it was");
        assert_eq!((again[1], again[3], length), (argument[1], argument[3], 4 + 8 * usize::from(mask.count)));
        let read = Mask::parse(&again).expect("what was just written");
        assert!(read.directives().expect("all of them").eq(directives));
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
}
