//! Records as they are on disk, and what is said of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit status and output of `cluster-history check` on the records of one golden directory.
fn checked(name: &str) -> (i32, String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_cluster-history")).arg("check").arg(directory).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn golden(name: &str, file: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).join(file);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_recorded_good_history_is_linearizable() {
    assert_eq!(checked("good"), (0, golden("good", "report")));
}

#[test]
fn two_inside_at_once_are_shown_with_what_they_did() {
    assert_eq!(checked("two-inside"), (1, golden("two-inside", "report")));
}

#[test]
fn a_lost_write_is_shown_with_its_neighbours() {
    assert_eq!(checked("lost-write"), (1, golden("lost-write", "report")));
}

#[test]
fn a_line_that_is_none_is_named() {
    let (status, text) = checked("damaged");
    assert_eq!(status, 2);
    assert!(text.contains("a.history: line 2: "), "{text}");
}
