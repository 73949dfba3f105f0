//! Lines for people on stderr, prefixed with the program's name.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// Names the program in every line [`log`] prints. The first name given stays.
pub fn set_program(name: &'static str) {
    let _ = PROGRAM.set(name);
}

/// Writes one `program: message` line to stderr in one `write`, so that lines of several
/// processes that share a log file do not mix. Control characters other than newline and tab in
/// the message, which may hold bytes of a peer or a file, are shown escaped.
pub fn log(message: Arguments<'_>) {
    let mut line = String::new();
    if let Some(program) = PROGRAM.get() {
        line.push_str(program);
        line.push_str(": ");
    }
    for c in message.to_string().chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    // Nothing useful is left to do when stderr is closed.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
