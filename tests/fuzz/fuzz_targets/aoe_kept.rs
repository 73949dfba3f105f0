#![no_main]

#[path = "../../../crates/aoe-vblade/tests/fuzzed/kept.rs"]
mod kept;

libfuzzer_sys::fuzz_target!(|input: &[u8]| kept::run(input));
