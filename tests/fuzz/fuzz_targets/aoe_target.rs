#![no_main]

#[path = "../../../crates/aoe-vblade/tests/fuzzed/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|input: &[u8]| session::run(input));
