//! Frames captured from Debian's vblade 25, aoeping and aoecfg (tests/golden/aoe/README says how):
//! each is read, means what it should, and is written again byte for byte.
#![cfg(feature = "aoe")]

use std::path::Path;

use nines_proto::aoe::ata::{self, Registers};
use nines_proto::aoe::config::{Action as ConfigAction, Config};
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::mask::{Action as MaskAction, Directive, Mask, Verb};
use nines_proto::aoe::reserve::{Action as ReserveAction, Reserve};
use nines_proto::aoe::{Address, Code, Command, Flags, Header, Shelf, Slot};
use nines_proto::mac::Mac;

const TARGET: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const OURS: Address = Address { shelf: Shelf(7), slot: Slot(3) };

/// The frames of a capture: a file header of 24 bytes, then 16 bytes and a frame each.
fn frames(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/aoe").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes[..4], 0xa1b2_c3d4u32.to_le_bytes(), "a little-endian pcap file");
    let (mut rest, mut frames) = (&bytes[24..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

const ALL: [&str; 7] =
    ["advertisement.pcap", "aoecfg.pcap", "aoeping.pcap", "ata.pcap", "config.pcap", "mask.pcap", "reserve.pcap"];

/// Reads a frame and writes it again; what follows the message (padding, junk) is taken over.
fn rewritten(frame: &[u8]) -> Vec<u8> {
    let (header, argument) = Header::parse(frame).unwrap();
    let mut again = vec![0; frame.len()];
    let rest = header.encode(&mut again).unwrap();
    let used = match header.command {
        Command::Ata => {
            let (registers, _) = Registers::parse(argument).unwrap();
            registers.encode(rest).unwrap();
            12
        }
        Command::Config => Config::parse(argument).unwrap().encode(rest).unwrap(),
        Command::Mask => {
            let mask = Mask::parse(argument).unwrap();
            if mask.error == 0 {
                let directives: Vec<Directive> = mask.directives().unwrap().collect();
                Mask::encode(mask.action, directives.into_iter(), rest).unwrap()
            } else {
                assert_eq!(mask.error, 2, "a bad directive");
                Mask::encode_error(nines_proto::aoe::mask::EditError::BadDirective, mask.count, rest).unwrap()
            }
        }
        Command::Reserve => {
            let reserve = Reserve::parse(argument).unwrap();
            let macs: Vec<Mac> = reserve.macs().collect();
            Reserve::encode(reserve.action, &macs, rest).unwrap()
        }
        Command::Other(_) => 0,
    };
    let used = Header::LENGTH + used;
    again[used..].copy_from_slice(&frame[used..]);
    again
}

#[test]
fn every_captured_frame_is_written_again_byte_for_byte() {
    let mut seen = 0;
    for name in ALL {
        for frame in frames(name) {
            assert_eq!(rewritten(&frame), frame, "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 60, "{seen} frames");
}

#[test]
fn no_captured_frame_is_read_beyond_its_end() {
    for name in ALL {
        for frame in frames(name) {
            for length in 0..frame.len() {
                let Ok((_, argument)) = Header::parse(&frame[..length]) else {
                    assert!(length < Header::LENGTH);
                    continue;
                };
                assert!(length >= Header::LENGTH);
                assert_eq!(Registers::parse(argument).is_ok(), length >= ata::DATA);
                if let Ok(config) = Config::parse(argument) {
                    assert!(Header::LENGTH + Config::LENGTH + config.string.len() <= length);
                }
                if let Ok(directives) = Mask::parse(argument).and_then(|mask| mask.directives().map(Iterator::count)) {
                    assert!(Header::LENGTH + Mask::LENGTH + directives * Mask::DIRECTIVE <= length);
                }
                if let Ok(reserve) = Reserve::parse(argument) {
                    assert!(Header::LENGTH + Reserve::LENGTH + reserve.macs().len() * Reserve::ENTRY <= length);
                }
            }
        }
    }
}

/// Header and argument of the answers in a capture, in order.
fn answers(frames: &[Vec<u8>]) -> Vec<(Header, &[u8])> {
    let parsed = frames.iter().map(|frame| Header::parse(frame).unwrap());
    parsed.filter(|(header, _)| header.flags.has(Flags::RESPONSE)).collect()
}

#[test]
fn vblade_answers_from_its_own_address() {
    for name in ALL.into_iter().filter(|name| *name != "advertisement.pcap") {
        let frames = frames(name);
        let answers = answers(&frames);
        assert!(!answers.is_empty(), "{name}");
        for (header, _) in answers {
            assert_eq!((header.destination, header.source), (CLIENT, TARGET));
            assert_eq!((header.address, header.version), (OURS, 1));
        }
    }
}

#[test]
fn vblade_advertises_itself_with_tag_0_and_version_0() {
    let frames = frames("advertisement.pcap");
    let (header, argument) = Header::parse(&frames[0]).unwrap();
    assert_eq!((header.destination, header.tag, header.version), (Mac::BROADCAST, 0, 0));
    let config = Config::parse(argument).unwrap();
    assert_eq!((config.buffers, config.firmware, config.sectors), (16, 0x4019, 17));
    assert_eq!((config.version, config.action, config.string), (1, ConfigAction::Read, &b""[..]));
}

#[test]
fn vblade_identifies_itself() {
    let frames = frames("ata.pcap");
    let (_, argument) = answers(&frames)[0];
    let (registers, data) = Registers::parse(argument).unwrap();
    assert_eq!((registers.command_status, registers.count), (0x40, 0));
    let identified = Identified::parse(data[..512].try_into().unwrap());
    assert_eq!(identified.serial, "7.3:golden");
    assert_eq!((identified.firmware.as_str(), identified.model.as_str()), ("V25", "Coraid EtherDrive vblade"));
    assert_eq!((identified.sectors, identified.lba48), (2048, true));
    assert_eq!((identified.write_cache, identified.checksum_valid), (false, None));
}

#[test]
fn vblade_reads_what_was_asked_and_names_what_it_cannot() {
    let frames = frames("ata.pcap");
    let answers = answers(&frames);
    let registers: Vec<Registers> = answers.iter().map(|(_, argument)| Registers::parse(argument).unwrap().0).collect();
    let status: Vec<(u8, u8)> = registers.iter().map(|r| (r.command_status, r.feature_error)).collect();
    // The last is FLUSH CACHE, which vblade answers not ready.
    let wanted = [0x40, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0x00].into_iter().zip([0, 0, 0, 0, 0, 0x10, 4, 4]);
    assert_eq!(status, wanted.collect::<Vec<_>>());
    let read = Registers::parse(answers[1].1).unwrap();
    assert_eq!((read.0.lba48(), read.1.len()), (5, 1024));
    // The disk is the numbers from 00000 on, a line each.
    let disk: Vec<u8> = (0..1000).flat_map(|number| format!("{number:05}\n").into_bytes()).collect();
    assert_eq!(*read.1, disk[5 * 512..7 * 512]);
    assert_eq!((registers[2].lba28(), registers[2].lba48()), (6, 0xe000_0006));
}

#[test]
fn vblade_keeps_a_config_string_that_is_set() {
    let frames = frames("config.pcap");
    let got: Vec<(u8, ConfigAction, &[u8])> = answers(&frames)
        .into_iter()
        .filter(|(header, _)| header.command == Command::Config)
        .map(|(header, argument)| {
            let config = Config::parse(argument).unwrap();
            (header.error, config.action, config.string)
        })
        .collect();
    let label = &b"label"[..];
    let wanted = [
        (0, ConfigAction::Read, &b""[..]),
        (0, ConfigAction::Set, label),
        (Code::ConfigPresent as u8, ConfigAction::Set, label),
        (0, ConfigAction::Test, label),
        (0, ConfigAction::TestPrefix, label),
        (0, ConfigAction::ForceSet, &b"label2"[..]),
        (Code::BadArgument as u8, ConfigAction::Other(5), &b"label2"[..]),
    ];
    assert_eq!(got, wanted);
    let last = answers(&frames).pop().unwrap().0;
    assert_eq!((last.command, last.error), (Command::Other(0x77), Code::UnrecognizedCommand as u8));
}

#[test]
fn vblade_lists_its_mask_and_counts_to_the_bad_directive() {
    let frames = frames("mask.pcap");
    let got: Vec<Mask<'_>> = answers(&frames).into_iter().map(|(_, argument)| Mask::parse(argument).unwrap()).collect();
    let list = |mask: &Mask<'_>| mask.directives().unwrap().collect::<Vec<_>>();
    let both = [CLIENT, OTHER].map(|mac| Directive { verb: Verb::None, mac });
    assert_eq!((got[0].action, list(&got[0])), (MaskAction::Read, vec![]));
    assert_eq!((got[1].action, list(&got[1])), (MaskAction::Edit, both.to_vec()));
    assert_eq!((got[2].action, list(&got[2])), (MaskAction::Read, both.to_vec()));
    assert_eq!((got[3].error, got[3].count), (2, 1));
    assert!(got[3].directives().is_err(), "an error answer carries none");
}

#[test]
fn vblade_refuses_a_reserved_disk_to_others() {
    let frames = frames("reserve.pcap");
    let answers = answers(&frames);
    let reserve = |at: usize| {
        let (header, argument) = answers[at];
        let reserve = Reserve::parse(argument).unwrap();
        (header.error, reserve.action, reserve.macs().collect::<Vec<_>>())
    };
    assert_eq!(reserve(0), (0, ReserveAction::Read, vec![]));
    assert_eq!(reserve(1), (0, ReserveAction::Set, vec![CLIENT, OTHER]));
    assert_eq!(reserve(2), (0, ReserveAction::Set, vec![]));
    assert_eq!(reserve(3), (0, ReserveAction::ForceSet, vec![OTHER]));
    assert_eq!((answers[4].0.command, answers[4].0.error), (Command::Ata, Code::Reserved as u8));
    assert_eq!(reserve(5), (Code::Reserved as u8, ReserveAction::Set, vec![OTHER]));
    assert_eq!(reserve(6), (0, ReserveAction::ForceSet, vec![]));
}

#[test]
fn aoeping_sends_a_read_full_of_junk() {
    let frames = frames("aoeping.pcap");
    let (header, argument) = Header::parse(&frames[0]).unwrap();
    assert_eq!((header.destination, header.tag >> 31), (Mac::BROADCAST, 1));
    let config = Config::parse(argument).unwrap();
    assert_eq!((config.action, config.string), (ConfigAction::Read, &[0xed; 1024][..]));
    let (header, argument) = Header::parse(&frames[2]).unwrap();
    assert_eq!((header.destination, header.command), (TARGET, Command::Ata));
    let (registers, data) = Registers::parse(argument).unwrap();
    assert_eq!((registers.command_status, registers.count, registers.lba[3]), (0xec, 1, 0xa0));
    assert_eq!(data.len(), 1024);
}

#[test]
fn aoecfg_asks_in_all_five_ways() {
    let frames = frames("aoecfg.pcap");
    let asked: Vec<(ConfigAction, Address)> = frames
        .iter()
        .map(|frame| Header::parse(frame).unwrap())
        .filter(|(header, _)| !header.flags.has(Flags::RESPONSE))
        .map(|(header, argument)| (Config::parse(argument).unwrap().action, header.address))
        .collect();
    let wanted = [
        (ConfigAction::ForceSet, OURS),
        (ConfigAction::Read, OURS),
        (ConfigAction::TestPrefix, Address::ALL),
        (ConfigAction::Test, OURS),
        (ConfigAction::Set, OURS),
    ];
    assert_eq!(asked, wanted);
}
