//! What `xl migrate` and `xl migrate-receive` say to each other around the domain's memory
//! (Xen 4.17 `tools/xl/xl.h`; the strings are unchanged since Xen 4.1).
//!
//! The target writes [`BANNER`], reads the memory, builds the domain paused and writes [`READY`].
//! The source renames its suspended copy, writes [`GO`] and from then on never resumes it by
//! itself. The target unpauses and writes [`REPORT`] and one byte: 0, or a failure after which it
//! destroys its copy and writes [`GO`] back. Then the source destroys its copy or resumes it.

/// Without its NUL, unlike the others.
pub const BANNER: &[u8] = b"xl migration receiver ready, send binary domain data.\n";
pub const READY: &[u8] = b"domain received, ready to unpause\0";
pub const GO: &[u8] = b"domain is yours, you are cleared to unpause\0";
pub const REPORT: &[u8] = b"my copy unpause results are as follows\0";

/// "It runs at the target": the source's xl destroys its copy.
pub fn success() -> Vec<u8> {
    [REPORT, &[0]].concat()
}

/// "It does not, and the target's copy is gone": the source's xl resumes its own.
pub fn failure() -> Vec<u8> {
    [REPORT, &[1], GO].concat()
}

/// How much of an expected text has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Part,
    /// All of it, and maybe more.
    Whole,
    SomethingElse,
}

pub fn seen(bytes: &[u8], expected: &[u8]) -> Seen {
    if bytes.starts_with(expected) {
        Seen::Whole
    } else if expected.starts_with(bytes) {
        Seen::Part
    } else {
        Seen::SomethingElse
    }
}
