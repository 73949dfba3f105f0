//! What the fuzzer has found worth keeping, in tests/fuzz/corpus, through the same functions.

use std::fs;
use std::path::Path;

#[path = "fuzzed/frame.rs"]
mod frame;
#[path = "fuzzed/kept.rs"]
mod kept;
#[path = "fuzzed/session.rs"]
mod session;

/// Gives every file of a corpus to `run`.
fn replay(name: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        // Shown when what follows panics.
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 10, "{}: {files} files", folder.display());
}

#[test]
fn frames_that_were_found_are_read_and_written_the_same() {
    replay("aoe_frame", frame::run);
}

#[test]
fn memories_that_were_found_are_taken_up_or_change_nothing() {
    replay("aoe_kept", kept::run);
}

#[test]
fn sessions_that_were_found_go_as_the_protocol_says() {
    replay("aoe_target", session::run);
}
