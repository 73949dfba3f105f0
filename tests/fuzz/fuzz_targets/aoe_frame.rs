#![no_main]

#[path = "../../../crates/aoe-vblade/tests/fuzzed/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|input: &[u8]| frame::run(input));
