//! A whole target under a sequence of frames, beside the model disk of the property test. The
//! input is frames behind their lengths, 16 bits each, big-endian.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/aoe-vblade/tests/model/mod.rs"]
mod model;

fuzz_target!(|input: &[u8]| {
    let (mut rest, mut frames) = (input, Vec::new());
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (frame, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)).min(tail.len()));
        frames.push(frame);
        rest = tail;
    }
    model::run(frames);
});
