//! A whole target under a sequence of frames and of what its administrator does, beside the model
//! disk of the property test. The input is events behind 16 bits each, big-endian: a frame's
//! length, or above 3fffh another event.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/aoe-vblade/tests/model/mod.rs"]
mod model;

use model::Event;

fuzz_target!(|input: &[u8]| {
    let (mut rest, mut events) = (input, Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let head = u16::from_be_bytes(*head);
        rest = tail;
        let mac = |rest: &mut &[u8]| {
            let (mac, tail) = rest.split_first_chunk::<6>()?;
            *rest = tail;
            Some(*mac)
        };
        let event = match head >> 14 {
            0 => {
                let (frame, tail) = rest.split_at(usize::from(head).min(rest.len()));
                rest = tail;
                Some(Event::Frame(frame))
            }
            1 => mac(&mut rest).map(Event::Deny),
            2 => mac(&mut rest).map(Event::Admit),
            _ if head & 1 == 0 => Some(Event::Restart),
            _ => Some(Event::Link(usize::from(head & 0x3fff))),
        };
        events.extend(event);
    }
    model::run(events);
});
