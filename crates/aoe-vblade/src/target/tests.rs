use nines_proto::aoe::ata::{error, flag};
use nines_proto::aoe::config::Action as ConfigAction;
use nines_proto::aoe::identify::{Identity, Trim};
use nines_proto::aoe::trim::Range;
use nines_proto::aoe::{MIN_FRAME, Shelf, Slot};

use super::*;

const HOST: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const OURS: Address = Address { shelf: Shelf(7), slot: Slot(3) };
const TARGET: Mac = Mac([2, 0, 0, 0, 0, 1]);
const EVERYBODY: Address = Address::ALL;

fn settings() -> Settings {
    let identity = Identity {
        serial: "7.3:test",
        firmware: "0",
        model: "test",
        sectors: 1000,
        write_cache: false,
        physical_exponent: 0,
        rotating: None,
        trim: Trim::Zeroes,
    };
    Settings {
        address: OURS,
        mac: TARGET,
        mtu: 1500,
        buffers: 64,
        disk: Disk { sectors: 1000, read_only: false, trim: true, identify: Box::new(identity.encode()) },
        mask: Vec::new(),
        wire_edits: true,
    }
}

fn target() -> Target {
    Target::new(settings()).unwrap()
}

fn header(source: Mac, address: Address, command: Command) -> Header {
    Header {
        destination: if address.is_wild() { Mac::BROADCAST } else { TARGET },
        source,
        version: VERSION,
        flags: Flags::default(),
        error: 0,
        address,
        command,
        tag: 0xdead_beef,
    }
}

fn message(header: &Header, argument: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; Header::LENGTH];
    header.encode(&mut frame).unwrap();
    frame.extend_from_slice(argument);
    frame
}

/// What the target makes of a frame when every order to the disk succeeds: the answer, checked
/// for what all answers have in common.
fn ask(target: &mut Target, frame: &[u8]) -> Result<Vec<u8>, Ignored> {
    let mut answer = vec![0xee; ANSWER];
    let length = match target.take(frame, &mut answer) {
        Step::Ignore(why) => return Err(why),
        Step::Answer(length) => length,
        Step::Read(extent, pending) => {
            let data = pending.data(&mut answer);
            assert_eq!(data.len(), extent.length());
            data.fill(extent.first.to_le_bytes()[0]);
            pending.finish(Ok(()), &mut answer)
        }
        Step::Write(extent, data, pending) => {
            assert_eq!(data.len(), extent.length());
            pending.finish(Ok(()), &mut answer)
        }
        Step::Flush(pending) | Step::Trim(_, pending) => pending.finish(Ok(()), &mut answer),
    };
    answer.truncate(length);
    assert!(length >= MIN_FRAME);
    let (got, _) = Header::parse(&answer).unwrap();
    let (asked, _) = Header::parse(frame).unwrap();
    assert_eq!((got.destination, got.source, got.version), (asked.source, TARGET, VERSION));
    assert_eq!((got.address, got.command, got.tag), (OURS, asked.command, asked.tag));
    assert!(got.flags == Flags::RESPONSE || got.flags == Flags::RESPONSE.with(Flags::ERROR));
    assert_eq!(got.flags.has(Flags::ERROR), got.error != 0);
    Ok(answer)
}

fn code(answer: &[u8]) -> u8 {
    answer[15]
}

fn ata_from(source: Mac, address: Address, code: u8, sector: u64, count: u8, data: &[u8]) -> Vec<u8> {
    let registers = Registers {
        flags: flag::EXTENDED,
        feature_error: 0,
        count,
        command_status: code,
        lba: Registers::lba_bytes(sector),
    };
    let mut argument = vec![0; 12];
    registers.encode(&mut argument).unwrap();
    argument.extend_from_slice(data);
    message(&header(source, address, Command::Ata), &argument)
}

fn ata(code: u8, sector: u64, count: u8, data: &[u8]) -> Vec<u8> {
    ata_from(HOST, OURS, code, sector, count, data)
}

fn registers(answer: &[u8]) -> Registers {
    Registers::parse(&answer[Header::LENGTH..]).unwrap().0
}

fn status(answer: &[u8]) -> (u8, u8) {
    (registers(answer).command_status, registers(answer).feature_error)
}

const DONE: (u8, u8) = (0x40, 0);
const ABORTED: (u8, u8) = (0x41, error::ABORTED);

fn config_from(source: Mac, address: Address, action: ConfigAction, string: &[u8]) -> Vec<u8> {
    let config = Config { buffers: 0, firmware: 0, sectors: 0, version: 0, action, string };
    let mut argument = vec![0; Config::LENGTH + string.len()];
    config.encode(&mut argument).unwrap();
    message(&header(source, address, Command::Config), &argument)
}

fn config(action: ConfigAction, string: &[u8]) -> Vec<u8> {
    config_from(HOST, OURS, action, string)
}

fn string(answer: &[u8]) -> &[u8] {
    Config::parse(&answer[Header::LENGTH..]).unwrap().string
}

fn mask_from(source: Mac, action: mask::Action, directives: &[(Verb, Mac)]) -> Vec<u8> {
    let mut argument = vec![0; Mask::LENGTH + directives.len() * Mask::DIRECTIVE];
    let list = directives.iter().map(|(verb, mac)| Directive { verb: *verb, mac: *mac });
    Mask::encode(action, list, &mut argument).unwrap();
    message(&header(source, OURS, Command::Mask), &argument)
}

/// MError and the addresses an answer shows.
fn masked(answer: &[u8]) -> (u8, u8, Vec<Mac>) {
    let mask = Mask::parse(&answer[Header::LENGTH..]).unwrap();
    let list = if mask.error == 0 { mask.directives().unwrap().map(|d| d.mac).collect() } else { Vec::new() };
    (mask.error, mask.count, list)
}

fn reserve_from(source: Mac, action: reserve::Action, macs: &[Mac]) -> Vec<u8> {
    let mut argument = vec![0; Reserve::LENGTH + macs.len() * Reserve::ENTRY];
    Reserve::encode(action, macs, &mut argument).unwrap();
    message(&header(source, OURS, Command::Reserve), &argument)
}

fn reserved(answer: &[u8]) -> Vec<Mac> {
    Reserve::parse(&answer[Header::LENGTH..]).unwrap().macs().collect()
}

#[test]
fn an_extended_read_brings_its_sectors_and_nothing_else() {
    let answer = ask(&mut target(), &ata(op::READ_EXT, 5, 2, &[])).unwrap();
    assert_eq!(answer.len(), ata::DATA + 1024);
    assert_eq!((status(&answer), registers(&answer).count), (DONE, 0));
    assert_eq!(registers(&answer).lba, Registers::lba_bytes(5));
    assert_eq!(answer[ata::DATA..], [5; 1024]);
}

#[test]
fn a_read_with_surplus_payload_is_a_read() {
    // Linux probes a path with reads padded to a full data frame.
    let answer = ask(&mut target(), &ata(op::READ_EXT, 0, 1, &[0; 1024])).unwrap();
    assert_eq!((answer.len(), status(&answer)), (ata::DATA + 512, DONE));
}

#[test]
fn identify_takes_padding_of_any_length() {
    for surplus in [0, 24, 512, 1024] {
        let answer = ask(&mut target(), &ata(op::IDENTIFY, 0xa000_0000, 1, &vec![0; surplus])).unwrap();
        assert_eq!((answer.len(), status(&answer)), (ata::DATA + 512, DONE));
        assert_eq!(answer[ata::DATA..], *target().disk.identify);
    }
}

#[test]
fn short_answers_are_padded_with_zeroes() {
    let requests = [
        ata(op::WRITE_EXT, 0, 1, &[0xff; 512]),
        ata(op::READ_EXT, 1000, 1, &[]),
        ata(op::CHECK_POWER_MODE, 0, 0, &[]),
        config(ConfigAction::Read, &[]),
        mask_from(HOST, mask::Action::Read, &[]),
        reserve_from(HOST, reserve::Action::Read, &[]),
        message(&header(HOST, OURS, Command::Other(0xf0)), &[]),
    ];
    for frame in requests {
        let answer = ask(&mut target(), &frame).unwrap();
        assert_eq!(answer.len(), MIN_FRAME);
        let used = match Header::parse(&answer).unwrap().0.command {
            Command::Ata => ata::DATA,
            Command::Config => 32,
            Command::Mask => 28,
            Command::Reserve => 26,
            Command::Other(_) => 24,
        };
        assert!(answer[used..].iter().all(|byte| *byte == 0), "{answer:02x?}");
    }
}

#[test]
fn a_failing_medium_is_an_ata_error_without_data() {
    let mut answer = vec![0xee; ANSWER];
    let frame = ata(op::READ_EXT, 9, 2, &[]);
    let Step::Read(_, pending) = target().take(&frame, &mut answer) else { panic!("a read") };
    let length = pending.finish(Err(Failure::UNREADABLE), &mut answer);
    assert_eq!(length, MIN_FRAME);
    assert_eq!((status(&answer), registers(&answer).count), ((0x41, error::UNCORRECTABLE), 2));
    assert_eq!(answer[ata::DATA..MIN_FRAME], [0; 24]);
    assert_eq!(code(&answer), 0);
}

#[test]
fn data_commands_fail_with_ata_errors_and_never_aoe_errors() {
    // Linux drops an AoE error, retransmits for three minutes and gives the whole disk up.
    let bad = [
        ata(op::READ_EXT, 999, 2, &[]),
        ata(op::READ_EXT, 0, 3, &[]),
        ata(op::READ_EXT, 0, 0, &[]),
        ata(op::WRITE_EXT, 999, 2, &[0; 1024]),
        ata(op::WRITE_EXT, 0, 2, &[0; 1023]),
        ata(op::WRITE_EXT, 0, 3, &[0; 1536]),
        ata(0xb0, 0, 1, &[0; 512]),
    ];
    for frame in bad {
        let answer = ask(&mut target(), &frame).unwrap();
        assert_eq!((code(&answer), answer[27] & 0x41), (0, 0x41));
    }
}

#[test]
fn a_wildcard_reaches_identify_but_no_data() {
    let wild = [EVERYBODY, Address { shelf: Shelf::ALL, slot: Slot(3) }, Address { shelf: Shelf(7), slot: Slot::ALL }];
    for address in wild {
        let ask = |code, data: &[u8]| ask(&mut target(), &ata_from(HOST, address, code, 0, 1, data)).unwrap();
        assert_eq!(status(&ask(op::WRITE_EXT, &[0; 512])), ABORTED);
        assert_eq!(status(&ask(op::READ_EXT, &[])), ABORTED);
        assert_eq!(status(&ask(op::FLUSH, &[])), ABORTED);
        assert_eq!(status(&ask(op::IDENTIFY, &[])), DONE);
    }
    for address in [Address { shelf: Shelf::ALL, slot: Slot(4) }, Address { shelf: Shelf(8), slot: Slot::ALL }] {
        let frame = ata_from(HOST, address, op::IDENTIFY, 0, 1, &[]);
        assert_eq!(ask(&mut target(), &frame), Err(Ignored::NotOurs));
    }
}

#[test]
fn flush_and_power_mode_are_answered_ready() {
    for code in [op::FLUSH, op::FLUSH_EXT] {
        assert_eq!(status(&ask(&mut target(), &ata(code, 0, 0, &[])).unwrap()), DONE);
    }
    let answer = ask(&mut target(), &ata(op::CHECK_POWER_MODE, 0, 1, &[])).unwrap();
    assert_eq!((status(&answer), registers(&answer).count), (DONE, 0xff));
}

#[test]
fn another_version_is_refused_and_not_echoed() {
    for version in [0, 2, 15] {
        let frame = message(&Header { version, ..header(HOST, OURS, Command::Config) }, &[0; 8]);
        assert_eq!(code(&ask(&mut target(), &frame).unwrap()), Code::UnsupportedVersion as u8);
    }
}

#[test]
fn answers_are_ignored_and_reserved_bits_are_not_echoed() {
    let asked = header(HOST, OURS, Command::Config);
    let frame = message(&Header { flags: Flags::RESPONSE, ..asked }, &[0; 8]);
    assert_eq!(ask(&mut target(), &frame), Err(Ignored::NotOurs));
    let frame = message(&Header { flags: Flags(0x03), error: 9, ..asked }, &[0; 8]);
    assert_eq!(code(&ask(&mut target(), &frame).unwrap()), 0);
    let frame = message(&Header { flags: Flags::ERROR, error: 9, ..asked }, &[0; 8]);
    assert_eq!(code(&ask(&mut target(), &frame).unwrap()), Code::BadArgument as u8);
}

#[test]
fn a_group_address_is_no_sender() {
    for source in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let frame = config_from(source, OURS, ConfigAction::Read, &[]);
        assert_eq!(ask(&mut target(), &frame), Err(Ignored::Malformed));
    }
}

#[test]
fn unknown_commands_are_unrecognized() {
    for command in [4, 0x77, 0xf0, 0xff] {
        let frame = message(&header(HOST, OURS, Command::Other(command)), &[]);
        assert_eq!(code(&ask(&mut target(), &frame).unwrap()), Code::UnrecognizedCommand as u8);
    }
}

#[test]
fn a_config_answer_says_what_the_interface_carries() {
    for (mtu, sectors) in [(1500, 2), (4131, 7), (4132, 8), (9000, 17), (500, 1)] {
        let mut target = target();
        target.set_link(TARGET, mtu);
        let answer = ask(&mut target, &config_from(HOST, EVERYBODY, ConfigAction::Read, &[])).unwrap();
        let config = Config::parse(&answer[Header::LENGTH..]).unwrap();
        assert_eq!((config.buffers, config.sectors, config.version), (64, sectors, VERSION));
    }
}

#[test]
fn a_config_string_is_read_tested_and_prefix_tested() {
    let mut target = target();
    assert_eq!(string(&ask(&mut target, &config(ConfigAction::Read, b"junk")).unwrap()), b"");
    assert_eq!(string(&ask(&mut target, &config(ConfigAction::Set, b"label")).unwrap()), b"label");
    assert_eq!(string(&ask(&mut target, &config(ConfigAction::Read, b"junk")).unwrap()), b"label");
    for address in [OURS, EVERYBODY] {
        let mut answers = |action, string| ask(&mut target, &config_from(HOST, address, action, string)).is_ok();
        assert!(answers(ConfigAction::Test, b"label"));
        assert!(!answers(ConfigAction::Test, b"labe"));
        assert!(!answers(ConfigAction::Test, b"label2"));
        assert!(!answers(ConfigAction::Test, b""));
        assert!(answers(ConfigAction::TestPrefix, b"lab"));
        assert!(answers(ConfigAction::TestPrefix, b""));
        assert!(answers(ConfigAction::TestPrefix, b"label"));
        assert!(!answers(ConfigAction::TestPrefix, b"label2"));
    }
}

#[test]
fn a_config_set_by_another_host_stays_until_forced() {
    let mut target = target();
    let mut ask = |action, string| {
        let answer = ask(&mut target, &config(action, string)).unwrap();
        (code(&answer), self::string(&answer).to_vec())
    };
    assert_eq!(ask(ConfigAction::Set, b"first"), (0, b"first".to_vec()));
    assert_eq!(ask(ConfigAction::Set, b"second"), (Code::ConfigPresent as u8, b"first".to_vec()));
    assert_eq!(ask(ConfigAction::Set, b"first"), (0, b"first".to_vec()));
    assert_eq!(ask(ConfigAction::ForceSet, b"second"), (0, b"second".to_vec()));
    assert_eq!(ask(ConfigAction::ForceSet, b""), (0, b"".to_vec()));
    assert_eq!(ask(ConfigAction::Set, &[7; 1024]), (0, [7; 1024].to_vec()));
    for action in 5..16 {
        assert_eq!(ask(action.into(), b""), (Code::BadArgument as u8, [7; 1024].to_vec()));
    }
}

#[test]
fn a_config_longer_than_its_frame_is_refused() {
    let mut frame = config(ConfigAction::ForceSet, b"0123456789");
    for length in [11u16, 36, 1024, 1025, 0xffff] {
        frame[30..32].copy_from_slice(&length.to_be_bytes());
        let mut target = target();
        assert_eq!(code(&ask(&mut target, &frame).unwrap()), Code::BadArgument as u8);
        assert_eq!(target.config(), b"");
    }
}

#[test]
fn a_config_that_no_answer_could_show_is_refused() {
    let mut target = target();
    target.set_link(TARGET, 600);
    assert_eq!(code(&ask(&mut target, &config(ConfigAction::Set, &[7; 600])).unwrap()), Code::BadArgument as u8);
    assert_eq!(code(&ask(&mut target, &config(ConfigAction::Set, &[7; 582])).unwrap()), 0);
    target.set_link(TARGET, 599);
    assert_eq!(ask(&mut target, &config(ConfigAction::Read, &[])), Err(Ignored::TooLong));
}

#[test]
fn a_mask_admits_those_on_it_and_is_silent_to_others() {
    let mut target = Target::new(Settings { mask: vec![HOST, HOST], ..settings() }).unwrap();
    assert_eq!(target.audience(), [HOST]);
    assert!(ask(&mut target, &config(ConfigAction::Read, &[])).is_ok());
    for frame in [
        config_from(OTHER, EVERYBODY, ConfigAction::Read, &[]),
        ata_from(OTHER, OURS, op::IDENTIFY, 0, 1, &[]),
        mask_from(OTHER, mask::Action::Read, &[]),
        reserve_from(OTHER, reserve::Action::Read, &[]),
        message(&header(OTHER, OURS, Command::Other(9)), &[]),
    ] {
        assert_eq!(ask(&mut target, &frame), Err(Ignored::Masked));
    }
}

#[test]
fn a_mask_is_edited_in_order_and_listed() {
    let mut target = target();
    let third = Mac([2, 0, 0, 0, 0, 0x30]);
    let add = [(Verb::Add, HOST), (Verb::Add, OTHER), (Verb::None, third), (Verb::Add, third), (Verb::Add, HOST)];
    let answer = ask(&mut target, &mask_from(HOST, mask::Action::Edit, &add)).unwrap();
    assert_eq!(masked(&answer), (0, 3, vec![HOST, OTHER, third]));
    let delete = [(Verb::Delete, OTHER), (Verb::Delete, Mac([2; 6])), (Verb::Delete, OTHER)];
    let answer = ask(&mut target, &mask_from(HOST, mask::Action::Edit, &delete)).unwrap();
    assert_eq!(masked(&answer), (0, 2, vec![HOST, third]));
    assert_eq!(
        masked(&ask(&mut target, &mask_from(HOST, mask::Action::Read, &[])).unwrap()),
        (0, 2, vec![HOST, third])
    );
    let clear = [(Verb::Delete, HOST), (Verb::Delete, third)];
    assert_eq!(masked(&ask(&mut target, &mask_from(HOST, mask::Action::Edit, &clear)).unwrap()), (0, 0, vec![]));
    assert_eq!(target.audience(), [Mac::BROADCAST]);
    assert!(ask(&mut target, &config_from(OTHER, OURS, ConfigAction::Read, &[])).is_ok());
}

#[test]
fn a_bad_directive_stops_an_edit_where_it_stands() {
    let mut target = target();
    let edit = [(Verb::Add, HOST), (Verb::Other(3), OTHER), (Verb::Add, OTHER)];
    let answer = ask(&mut target, &mask_from(HOST, mask::Action::Edit, &edit)).unwrap();
    assert_eq!((code(&answer), masked(&answer)), (0, (EditError::BadDirective as u8, 1, vec![])));
    assert_eq!(target.audience(), [HOST]);
}

#[test]
fn directives_the_frame_does_not_hold_are_refused_unexecuted() {
    let mut target = target();
    let mut frame = mask_from(HOST, mask::Action::Edit, &[(Verb::Add, HOST)]);
    frame[27] = 2;
    assert_eq!(code(&ask(&mut target, &frame).unwrap()), Code::BadArgument as u8);
    assert_eq!(target.audience(), [Mac::BROADCAST]);
    for action in [2, 255] {
        let frame = mask_from(HOST, mask::Action::Other(action), &[]);
        assert_eq!(code(&ask(&mut target, &frame).unwrap()), Code::BadArgument as u8);
    }
}

#[test]
fn a_mask_is_full_before_its_list_outgrows_a_frame() {
    for (mtu, most) in [(1500, 183), (9000, 255)] {
        let mut target = Target::new(Settings { mtu, ..settings() }).unwrap();
        let mac = |n: u8| Mac([2, 1, 0, 0, 0, n]);
        let add = |n| mask_from(mac(0), mask::Action::Edit, &[(Verb::Add, mac(n))]);
        for n in 0..most {
            assert_eq!(masked(&ask(&mut target, &add(n)).unwrap()).0, 0, "{n}");
        }
        let answer = ask(&mut target, &mask_from(mac(0), mask::Action::Read, &[])).unwrap();
        assert!(answer.len() <= mtu + 14);
        let mut edit = mask_from(mac(0), mask::Action::Edit, &[(Verb::Add, OTHER)]);
        assert_eq!(masked(&ask(&mut target, &edit).unwrap()), (EditError::Full as u8, 0, vec![]));
        // An address already there needs no room.
        edit = add(most - 1);
        assert_eq!(masked(&ask(&mut target, &edit).unwrap()).1, most);
        let mask = vec![HOST; 1].into_iter().chain((0..most).map(mac)).collect();
        let error = Target::new(Settings { mtu, mask, ..settings() }).unwrap_err();
        assert_eq!(error, MaskTooLong { given: usize::from(most) + 1, most: usize::from(most) });
    }
}

#[test]
fn a_reservation_keeps_other_hosts_from_the_data() {
    let mut target = target();
    assert_eq!(reserved(&ask(&mut target, &reserve_from(HOST, reserve::Action::Set, &[HOST])).unwrap()), [HOST]);
    for (code_, data) in [(op::READ_EXT, &[][..]), (op::WRITE_EXT, &[0; 512]), (op::FLUSH, &[]), (0xb0, &[])] {
        assert_eq!(status(&ask(&mut target, &ata(code_, 0, 1, data)).unwrap()).0 & 0x40, 0x40);
        let answer = ask(&mut target, &ata_from(OTHER, OURS, code_, 0, 1, data)).unwrap();
        assert_eq!(code(&answer), Code::Reserved as u8);
    }
    let answer = ask(&mut target, &ata_from(OTHER, OURS, op::IDENTIFY, 0, 1, &[])).unwrap();
    assert_eq!((code(&answer), status(&answer)), (0, DONE));
    assert!(ask(&mut target, &config_from(OTHER, OURS, ConfigAction::Read, &[])).is_ok());
    assert_eq!(reserved(&ask(&mut target, &reserve_from(OTHER, reserve::Action::Read, &[])).unwrap()), [HOST]);
}

#[test]
fn a_reservation_is_changed_by_its_holders_or_by_force() {
    let mut target = target();
    let mut ask = |source, action, macs: &[Mac]| {
        let answer = ask(&mut target, &reserve_from(source, action, macs)).unwrap();
        (code(&answer), reserved(&answer))
    };
    assert_eq!(ask(HOST, reserve::Action::Set, &[OTHER]), (0, vec![OTHER]));
    assert_eq!(ask(HOST, reserve::Action::Set, &[]), (Code::Reserved as u8, vec![OTHER]));
    assert_eq!(ask(OTHER, reserve::Action::Set, &[OTHER, HOST]), (0, vec![OTHER, HOST]));
    assert_eq!(ask(HOST, reserve::Action::Set, &[]), (0, vec![]));
    assert_eq!(ask(HOST, reserve::Action::Set, &[HOST]), (0, vec![HOST]));
    assert_eq!(ask(OTHER, reserve::Action::ForceSet, &[OTHER]), (0, vec![OTHER]));
    assert_eq!(ask(HOST, reserve::Action::Other(3), &[]), (Code::BadArgument as u8, vec![OTHER]));
}

#[test]
fn reservations_the_frame_does_not_hold_or_no_answer_could_show_are_refused() {
    let mut target = target();
    let mut frame = reserve_from(HOST, reserve::Action::Set, &[HOST]);
    frame[25] = 2;
    assert_eq!(code(&ask(&mut target, &frame).unwrap()), Code::BadArgument as u8);
    let answer = ask(&mut target, &reserve_from(HOST, reserve::Action::ForceSet, &[HOST; 249])).unwrap();
    assert_eq!((code(&answer), reserved(&answer)), (Code::BadArgument as u8, vec![]));
    let answer = ask(&mut target, &reserve_from(HOST, reserve::Action::ForceSet, &[HOST; 248])).unwrap();
    assert_eq!((answer.len(), reserved(&answer).len()), (1514, 248));
}

#[test]
fn an_advertisement_is_an_answer_nobody_asked_for() {
    let mut answer = vec![0xee; ANSWER];
    let length = target().advertise(Mac::BROADCAST, &mut answer);
    let (header, argument) = Header::parse(&answer[..length]).unwrap();
    assert_eq!((header.destination, header.version, header.flags), (Mac::BROADCAST, VERSION, Flags::RESPONSE));
    assert_eq!((header.address, header.command, header.tag), (OURS, Command::Config, 0));
    let config = Config::parse(argument).unwrap();
    assert_eq!((config.action, config.buffers, config.sectors), (ConfigAction::Read, 64, 2));
    assert_eq!(length, MIN_FRAME);
}

fn trim(ranges: &[Range]) -> Vec<u8> {
    let mut data = vec![0; 512];
    assert!(Ranges::encode(ranges, &mut data));
    feature(op::DATA_SET_MANAGEMENT, ata::TRIM, [0; 6], 1, &data)
}

fn feature(command_status: u8, feature_error: u8, lba: [u8; 6], count: u8, data: &[u8]) -> Vec<u8> {
    let registers = Registers { flags: flag::EXTENDED, feature_error, count, command_status, lba };
    let mut argument = vec![0; 12];
    registers.encode(&mut argument).unwrap();
    argument.extend_from_slice(data);
    message(&header(HOST, OURS, Command::Ata), &argument)
}

fn to(destination: Mac, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&destination.0);
    frame
}

#[test]
fn a_trim_comes_out_as_its_ranges() {
    let ranges = [Range { first: 990, sectors: 10 }, Range { first: 0, sectors: 1 }, Range { first: 0, sectors: 5 }];
    let (frame, mut answer) = (trim(&ranges), vec![0xee; ANSWER]);
    let Step::Trim(got, pending) = target().take(&frame, &mut answer) else { panic!("a trim") };
    assert_eq!(got.iter().collect::<Vec<_>>(), ranges);
    let length = pending.finish(Ok(()), &mut answer);
    assert_eq!((length, status(&answer), registers(&answer).count), (MIN_FRAME, DONE, 0));
    let beyond = ask(&mut target(), &trim(&[Range { first: 991, sectors: 10 }])).unwrap();
    assert_eq!((code(&beyond), status(&beyond)), (0, (0x41, error::ID_NOT_FOUND)));
    let mut wild = trim(&ranges);
    wild[16..19].fill(0xff);
    assert_eq!(status(&ask(&mut target(), &wild).unwrap()), ABORTED);
}

#[test]
fn nothing_changes_a_disk_by_a_group_address() {
    for group in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        for frame in [
            ata(op::WRITE, 0, 1, &[0; 512]),
            ata(op::WRITE_DMA, 0, 1, &[0; 512]),
            ata(op::WRITE_EXT, 0, 1, &[0; 512]),
            ata(op::WRITE_DMA_EXT, 0, 1, &[0; 512]),
            trim(&[Range { first: 0, sectors: 1 }]),
        ] {
            assert_eq!(status(&ask(&mut target(), &to(group, frame.clone())).unwrap()), ABORTED);
            assert_eq!(status(&ask(&mut target(), &frame).unwrap()), DONE);
        }
        for code in [op::READ, op::READ_EXT, op::IDENTIFY, op::FLUSH_EXT] {
            assert_eq!(status(&ask(&mut target(), &to(group, ata(code, 0, 1, &[]))).unwrap()), DONE);
        }
    }
}

#[test]
fn smart_says_whether_the_medium_is_failing() {
    let ask = |target: &mut Target, subcommand, count| {
        let answer = ask(target, &feature(op::SMART, subcommand, [0, 0x4f, 0xc2, 0xa0, 0, 0], count, &[0xff; 512]));
        let answer = answer.unwrap();
        // aoeping takes nothing shorter.
        assert_eq!((answer.len(), code(&answer)), (ata::DATA + 512, 0));
        assert_eq!(answer[ata::DATA..], [0; 512]);
        (status(&answer), registers(&answer).count, registers(&answer).lba)
    };
    let mut target = target();
    let healthy = [0, 0x4f, 0xc2, 0xa0, 0, 0];
    assert_eq!(ask(&mut target, smart::RETURN_STATUS, 0), (DONE, 0, healthy));
    assert_eq!(ask(&mut target, smart::ENABLE, 1), (DONE, 0, healthy));
    for subcommand in [smart::READ_DATA, 0xd4, 0xd5, 0xd6, smart::DISABLE] {
        assert_eq!(ask(&mut target, subcommand, 1), (ABORTED, 1, healthy), "{subcommand:#x}");
    }
    target.set_failing(true);
    assert_eq!(ask(&mut target, smart::RETURN_STATUS, 0), (DONE, 0, [0, 0xf4, 0x2c, 0xa0, 0, 0]));
}

#[test]
fn a_denied_host_hears_nothing_even_if_the_mask_lists_it() {
    let mut target = Target::new(Settings { mask: vec![HOST, OTHER], ..settings() }).unwrap();
    for mac in [OTHER, HOST, Mac([2; 6]), HOST] {
        target.deny(mac);
    }
    assert_eq!(target.denied(), [HOST, OTHER, Mac([2; 6])]);
    for frame in [
        ata(op::IDENTIFY, 0, 1, &[]),
        ata(op::WRITE_EXT, 0, 1, &[0; 512]),
        config_from(HOST, EVERYBODY, ConfigAction::Read, &[]),
        mask_from(HOST, mask::Action::Edit, &[(Verb::Add, HOST)]),
        reserve_from(HOST, reserve::Action::ForceSet, &[HOST]),
        message(&Header { version: 2, ..header(HOST, OURS, Command::Other(9)) }, &[]),
    ] {
        assert_eq!(ask(&mut target, &frame), Err(Ignored::Denied));
    }
    target.admit(HOST);
    target.admit(HOST);
    assert_eq!(status(&ask(&mut target, &ata(op::IDENTIFY, 0, 1, &[])).unwrap()), DONE);
    assert_eq!(ask(&mut target, &ata_from(OTHER, OURS, op::IDENTIFY, 0, 1, &[])), Err(Ignored::Denied));
}

#[test]
fn a_mask_that_frames_cannot_edit_is_shown_and_stays() {
    let mut target = Target::new(Settings { mask: vec![HOST], wire_edits: false, ..settings() }).unwrap();
    for edit in [(Verb::Add, OTHER), (Verb::Delete, HOST), (Verb::Other(9), HOST)] {
        let answer = ask(&mut target, &mask_from(HOST, mask::Action::Edit, &[edit])).unwrap();
        assert_eq!((code(&answer), masked(&answer)), (0, (EditError::Unspecified as u8, 0, vec![])));
    }
    assert_eq!(masked(&ask(&mut target, &mask_from(HOST, mask::Action::Read, &[])).unwrap()).2, [HOST]);
    assert!(!target.changed());
}

#[test]
fn what_is_to_be_kept_is_known_and_taken_up_again() {
    let mut target = target();
    let mut changes = |frame: Option<Vec<u8>>, deny: Option<Mac>| {
        if let Some(frame) = frame {
            ask(&mut target, &frame).unwrap();
        }
        if let Some(mac) = deny {
            target.deny(mac);
        }
        let changed = target.changed();
        target.saved();
        changed
    };
    assert!(changes(Some(config(ConfigAction::Set, b"a\xff")), None));
    assert!(!changes(Some(config(ConfigAction::Set, b"a\xff")), None));
    assert!(!changes(Some(config(ConfigAction::Set, b"other")), None), "refused");
    assert!(!changes(Some(config(ConfigAction::Read, b"other")), None));
    assert!(changes(Some(mask_from(HOST, mask::Action::Edit, &[(Verb::Add, OTHER), (Verb::Add, HOST)])), None));
    assert!(!changes(Some(mask_from(HOST, mask::Action::Edit, &[(Verb::Add, OTHER)])), None));
    assert!(changes(Some(mask_from(HOST, mask::Action::Edit, &[(Verb::Add, TARGET), (Verb::Other(9), HOST)])), None));
    assert!(changes(Some(mask_from(HOST, mask::Action::Edit, &[(Verb::Delete, TARGET)])), None));
    assert!(changes(Some(reserve_from(HOST, reserve::Action::Set, &[HOST])), None));
    assert!(!changes(Some(reserve_from(HOST, reserve::Action::Set, &[HOST])), None));
    assert!(!changes(Some(ata(op::WRITE, 0, 1, &[0; 512])), None));
    assert!(changes(None, Some(Mac([2; 6]))));
    assert!(!changes(None, Some(Mac([2; 6]))));
    let kept = target.kept();
    let text = serde_json::to_string(&kept).unwrap();
    let wanted = r#"{"config":"61ff","mask":["02:00:00:00:00:20","02:00:00:00:00:10"],"reserved":["02:00:00:00:00:10"],"denied":["02:02:02:02:02:02"]}"#;
    assert_eq!(text, wanted);
    let mut again = Target::new(settings()).unwrap();
    again.restore(&serde_json::from_str(&text).unwrap()).unwrap();
    assert!(!again.changed());
    assert_eq!(again.kept(), kept);
    assert_eq!(
        (again.config(), again.audience(), again.denied()),
        (&b"a\xff"[..], &[OTHER, HOST][..], &[Mac([2; 6])][..])
    );
}

#[test]
fn what_no_target_kept_is_refused_and_changes_nothing() {
    let mut target = target();
    ask(&mut target, &config(ConfigAction::Set, b"label")).unwrap();
    let mac = "02:00:00:00:00:10".to_owned();
    for (kept, wanted) in [
        (Kept { config: "6".into(), ..Kept::default() }, "config: `6' is not hexadecimal"),
        (Kept { config: "zz".into(), ..Kept::default() }, "config: `zz' is not hexadecimal"),
        (Kept { config: "é".into(), ..Kept::default() }, "config: `é' is not hexadecimal"),
        (Kept { config: "00".repeat(1025), ..Kept::default() }, "config: 1025 entries, at most 1024"),
        (Kept { mask: vec![mac.clone(); 256], ..Kept::default() }, "mask: 256 entries, at most 255"),
        (Kept { reserved: vec![mac.clone(); 256], ..Kept::default() }, "reserved: 256 entries, at most 255"),
        (
            Kept { denied: vec![mac.clone(), "x".into()], ..Kept::default() },
            "denied: `x' is not an Ethernet address such as 00:16:3e:00:00:0a",
        ),
    ] {
        assert_eq!(target.restore(&kept).unwrap_err().to_string(), wanted);
        assert_eq!(
            (target.config(), target.audience(), target.denied()),
            (&b"label"[..], &[Mac::BROADCAST][..], &[][..])
        );
    }
    assert!(serde_json::from_str::<Kept>(r#"{"mask":[],"maks":[]}"#).is_err());
    assert_eq!(serde_json::from_str::<Kept>("{}").unwrap(), Kept::default());
}

#[test]
fn a_disk_that_grew_is_served_to_its_new_end() {
    let mut target = target();
    assert_eq!(status(&ask(&mut target, &ata(op::READ_EXT, 1 << 33, 1, &[])).unwrap()), (0x41, error::ID_NOT_FOUND));
    target.set_disk(Disk { sectors: (1 << 33) + 1, ..settings().disk });
    assert_eq!(status(&ask(&mut target, &ata(op::READ_EXT, 1 << 33, 1, &[])).unwrap()), DONE);
    assert_eq!(status(&ask(&mut target, &ata(op::READ_EXT, (1 << 33) + 1, 1, &[])).unwrap()).1, error::ID_NOT_FOUND);
}
