//! The target under random sequences of frames, beside one made from the protocol's text.

use proptest::collection::vec;
use proptest::prelude::*;

mod model;

use model::Setup;

/// Three hosts, so that masks and reservations bite.
fn source() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![Just([2, 0, 0, 0, 0, 0x10]), Just([2, 0, 0, 0, 0, 0x20]), Just([3, 0, 0, 0, 0, 0x30])]
}

fn address() -> impl Strategy<Value = [u8; 3]> {
    prop_oneof![8 => Just([0, 7, 3]), 1 => Just([0xff; 3]), 1 => Just([0xff, 0xff, 3]), 1 => Just([0, 7, 4])]
}

fn version_flags() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(0x10), 1 => any::<u8>()]
}

/// SMART, with its key mostly.
fn smart() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let key = prop_oneof![6 => Just([0x4f, 0xc2]), 1 => any::<[u8; 2]>()];
    let feature = prop_oneof![3 => Just(0xda), 1 => Just(0xd8), 1 => any::<u8>()];
    (feature, key).prop_map(|(feature, [mid, high])| (0, vec![0, feature, 1, 0xb0, 0, mid, high, 0xa0, 0, 0, 0, 0]))
}

fn ata() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let code = prop_oneof![
        10 => prop::sample::select(vec![0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xc8, 0xca]),
        2 => prop::sample::select(vec![0xec, 0xe7, 0xea, 0xe5]),
        1 => any::<u8>(),
    ];
    let sector = prop_oneof![12 => 0..44u64, 1 => any::<u64>()];
    let count = prop_oneof![12 => 0..4u8, 1 => any::<u8>()];
    let data = (any::<u8>(), prop::sample::select(vec![0, 24, 511, 512, 1023, 1024, 1478]));
    (any::<u8>(), code, count, sector, data).prop_map(|(flags, code, count, sector, (fill, length))| {
        let mut argument = vec![flags, 0, count, code];
        argument.extend(&sector.to_le_bytes()[..6]);
        argument.extend([0, 0]);
        argument.extend(vec![fill; length]);
        (0, argument)
    })
}

fn trim() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let range = (prop_oneof![12 => 0..44u64, 1 => any::<u64>()], prop_oneof![12 => 0..9u16, 1 => any::<u16>()]);
    let (feature, count) = (prop_oneof![12 => Just(1), 1 => any::<u8>()], prop_oneof![12 => 0..4u8, 1 => any::<u8>()]);
    let length = prop::sample::select(vec![24, 512, 1024, 1478]);
    (feature, count, vec(range, 0..5), length).prop_map(|(feature, count, ranges, length)| {
        let mut argument = vec![0x40, feature, count, 0x06, 0, 0, 0, 0, 0, 0, 0, 0];
        for (first, sectors) in ranges {
            argument.extend(&first.to_le_bytes()[..6]);
            argument.extend(sectors.to_le_bytes());
        }
        argument.resize(12 + length, 0);
        (0, argument)
    })
}

fn config() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0..6u8, vec(97..99u8, 0..5), prop_oneof![6 => Just(0), 1 => any::<u16>()]).prop_map(|(action, string, more)| {
        let length = u16::try_from(string.len()).unwrap().wrapping_add(more);
        let mut argument = vec![0, 0, 0, 0, 0, action];
        argument.extend(length.to_be_bytes());
        argument.extend(string);
        (1, argument)
    })
}

fn mask() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let directive = (prop_oneof![8 => 0..3u8, 1 => any::<u8>()], source());
    (0..3u8, vec(directive, 0..4), prop_oneof![6 => Just(0), 1 => 0..4u8]).prop_map(|(action, directives, more)| {
        let count = u8::try_from(directives.len()).unwrap() + more;
        let mut argument = vec![0, action, 0, count];
        for (verb, mac) in directives {
            argument.extend([0, verb]);
            argument.extend(mac);
        }
        (2, argument)
    })
}

fn reserve() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0..4u8, vec(source(), 0..3), prop_oneof![6 => Just(0), 1 => 0..4u8]).prop_map(|(action, macs, more)| {
        let count = u8::try_from(macs.len()).unwrap() + more;
        let mut argument = vec![action, count];
        argument.extend(macs.concat());
        (3, argument)
    })
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![12 => ata(), 3 => trim(), 1 => smart(), 3 => config(), 1 => mask(), 1 => reserve(), 1 => (any::<u8>(), vec(any::<u8>(), 0..40))];
    let cut = prop_oneof![12 => Just(usize::MAX), 1 => 0..64usize];
    let destination = prop_oneof![12 => Just([2, 0, 0, 0, 0, 1]), 1 => Just([0xff; 6])];
    (destination, source(), version_flags(), address(), any::<u32>(), message, cut).prop_map(
        |(destination, source, version_flags, address, tag, (command, argument), cut)| {
            let mut frame = Vec::from(destination);
            frame.extend(source);
            frame.extend([0x88, 0xa2, version_flags, 0]);
            frame.extend(address);
            frame.push(command);
            frame.extend(tag.to_be_bytes());
            frame.extend(argument);
            frame.truncate(cut);
            frame
        },
    )
}

/// What may happen, with the frame's bytes its own.
#[derive(Debug, Clone)]
enum Event {
    Frame(Vec<u8>),
    Other(model::Event<'static>),
}

fn event() -> impl Strategy<Value = Event> {
    use model::Event::{Admit, Broken, Deny, Failing, Link, Mask, Resize, Restart, Unmask};
    let other = prop_oneof![
        1 => source().prop_map(Deny),
        3 => source().prop_map(Admit),
        1 => source().prop_map(Mask),
        3 => source().prop_map(Unmask),
        1 => prop::sample::select(vec![0, 60, 547, 548, 1500, 9000]).prop_map(Link),
        1 => (1..=model::SECTORS).prop_map(Resize),
        2 => prop_oneof![1 => Just(true), 3 => Just(false)].prop_map(Broken),
        1 => any::<bool>().prop_map(Failing),
        1 => Just(Restart),
    ];
    prop_oneof![20 => frame().prop_map(Event::Frame), 1 => other.prop_map(Event::Other)]
}

fn setup() -> impl Strategy<Value = Setup> {
    let mostly = || prop_oneof![6 => Just(true), 1 => Just(false)];
    (mostly(), mostly(), mostly()).prop_map(|(writes, trims, wire_edits)| Setup {
        read_only: !writes,
        trims,
        wire_edits,
    })
}

fn run(setup: Setup, events: &[Event]) {
    let events = events.iter().map(|event| match event {
        Event::Frame(frame) => model::Event::Frame(frame),
        Event::Other(event) => *event,
    });
    model::run(setup, events);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_and_the_disk_are_what_the_protocol_says(setup in setup(), events in vec(event(), 1..80)) {
        run(setup, &events);
    }

    #[test]
    fn arbitrary_bytes_change_nothing(frames in vec(vec(any::<u8>(), 0..1600), 1..8)) {
        model::run(Setup::default(), frames.iter().map(|frame| model::Event::Frame(frame)));
    }
}
