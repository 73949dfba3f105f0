//! Every message that can be written is read back the same, whatever lies behind it.
#![cfg(feature = "aoe")]

use nines_proto::aoe::ata::Registers;
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::{Identified, Identity, Trim, world_wide_name};
use nines_proto::aoe::mask::{Directive, Mask};
use nines_proto::aoe::reserve::Reserve;
use nines_proto::aoe::{Address, Flags, Header, Malformed, Shelf, Slot};
use nines_proto::mac::Mac;
use proptest::collection::vec;
use proptest::prelude::*;

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn header() -> impl Strategy<Value = Header> {
    let fields = (mac(), mac(), 0..16u8, 0..16u8, any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>());
    fields.prop_map(|(destination, source, version, flags, error, shelf, slot, command, tag)| Header {
        destination,
        source,
        version,
        flags: Flags(flags),
        error,
        address: Address { shelf: Shelf(shelf), slot: Slot(slot) },
        command: command.into(),
        tag,
    })
}

proptest! {
    #[test]
    fn a_header_is_read_as_written(header in header(), argument in vec(any::<u8>(), 0..64)) {
        let mut frame = vec![0xee; Header::LENGTH + argument.len()];
        header.encode(&mut frame).unwrap().copy_from_slice(&argument);
        prop_assert_eq!(Header::parse(&frame), Ok((header, &argument[..])));
        for room in 0..Header::LENGTH {
            prop_assert!(header.encode(&mut frame[..room]).is_err());
        }
    }

    #[test]
    fn registers_are_read_as_written(
        (flags, feature_error, count, command_status, lba) in any::<(u8, u8, u8, u8, [u8; 6])>(),
        data in vec(any::<u8>(), 0..64),
    ) {
        let registers = Registers { flags, feature_error, count, command_status, lba };
        let mut argument = vec![0xee; 12 + data.len()];
        registers.encode(&mut argument).unwrap().copy_from_slice(&data);
        prop_assert_eq!(Registers::parse(&argument), Ok((registers, &data[..])));
        prop_assert_eq!(Registers::lba_bytes(registers.lba48()), lba);
        prop_assert_eq!(registers.lba28(), registers.lba48() % (1 << 28));
    }

    #[test]
    fn a_config_is_read_as_written(
        (buffers, firmware, sectors, version, action) in (any::<u16>(), any::<u16>(), any::<u8>(), 0..16u8, 0..16u8),
        string in vec(any::<u8>(), 0..1100),
        padding in 0..64usize,
    ) {
        let config = Config { buffers, firmware, sectors, version, action: action.into(), string: &string };
        let mut argument = vec![0xee; Config::LENGTH + string.len() + padding];
        let length = config.encode(&mut argument);
        if string.len() > 1024 {
            prop_assert_eq!(length, Err(Malformed::ConfigLength(string.len())));
        } else {
            prop_assert_eq!(length, Ok(Config::LENGTH + string.len()));
            prop_assert_eq!(Config::parse(&argument), Ok(config));
            prop_assert!(config.encode(&mut argument[..Config::LENGTH + string.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_mask_is_read_as_written(
        action in any::<u8>(),
        list in vec((any::<u8>(), mac()), 0..260),
        padding in 0..64usize,
    ) {
        let list: Vec<Directive> = list.into_iter().map(|(verb, mac)| Directive { verb: verb.into(), mac }).collect();
        let mut argument = vec![0xee; Mask::LENGTH + list.len() * Mask::DIRECTIVE + padding];
        let written = Mask::encode(action.into(), list.iter().copied(), &mut argument);
        if list.len() > 255 {
            prop_assert!(written.is_err());
        } else {
            prop_assert_eq!(written, Ok(argument.len() - padding));
            let mask = Mask::parse(&argument).unwrap();
            prop_assert_eq!((u8::from(mask.action), mask.error, usize::from(mask.count)), (action, 0, list.len()));
            prop_assert_eq!(mask.directives().unwrap().collect::<Vec<_>>(), list);
        }
    }

    #[test]
    fn a_reservation_is_read_as_written(action in any::<u8>(), macs in vec(mac(), 0..260), padding in 0..64usize) {
        let mut argument = vec![0xee; Reserve::LENGTH + macs.len() * Reserve::ENTRY + padding];
        let written = Reserve::encode(action.into(), &macs, &mut argument);
        if macs.len() > 255 {
            prop_assert!(written.is_err());
        } else {
            prop_assert_eq!(written, Ok(argument.len() - padding));
            let reserve = Reserve::parse(&argument).unwrap();
            prop_assert_eq!(u8::from(reserve.action), action);
            prop_assert_eq!(reserve.macs().collect::<Vec<_>>(), macs);
        }
    }

    #[test]
    fn an_identity_is_read_as_written(
        (serial, firmware, model) in ("[!-~]{1,20}", "[!-~]{1,8}", "[!-~]{1,40}"),
        sectors in 0..1u64 << 48,
        write_cache in any::<bool>(),
        physical_exponent in 0..16u8,
        trim in prop::sample::select(vec![Trim::None, Trim::Undetermined, Trim::Zeroes]),
    ) {
        let identity = Identity {
            serial: &serial, firmware: &firmware, model: &model, sectors, write_cache, physical_exponent, rotating: None,
            trim,
        };
        let wanted = Identified {
            serial: serial.clone(), firmware: firmware.clone(), model: model.clone(), sectors, lba48: true, write_cache,
            smart: true, physical_exponent, world_wide_name: Some(world_wide_name(&serial)), trim,
            checksum_valid: Some(true),
        };
        prop_assert_eq!(Identified::parse(&identity.encode()), wanted);
    }

    #[test]
    fn no_bytes_are_too_strange_to_read(bytes in vec(any::<u8>(), 0..2200)) {
        let _ = Header::parse(&bytes);
        let _ = Registers::parse(&bytes);
        let _ = Config::parse(&bytes);
        let _ = Mask::parse(&bytes).and_then(|mask| Ok(mask.directives()?.count()));
        let _ = Reserve::parse(&bytes).map(|reserve| reserve.macs().count());
        if let Some(sector) = bytes.first_chunk() {
            let _ = Identified::parse(sector);
        }
    }
}
