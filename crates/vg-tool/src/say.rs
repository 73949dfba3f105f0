//! Lines for people and for scripts, indented by two spaces as LVM2's are.

use std::fmt::Display;
use std::io::{self, Write};

/// How much to say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Say {
    /// `-v` given so many times.
    pub verbose: usize,
    /// `-q`: results are not announced.
    pub quiet: bool,
}

impl Say {
    /// A result, on stdout.
    pub fn result(self, line: impl Display) {
        if !self.quiet {
            // A reader that went away is no failure of the command.
            let _ = writeln!(io::stdout().lock(), "  {line}");
        }
    }

    /// What is going on, on stderr with `-v`.
    pub fn detail(self, line: impl Display) {
        if self.verbose > 0 {
            error(line);
        }
    }

    pub fn warning(self, line: impl Display) {
        error(format_args!("WARNING: {line}"));
    }
}

/// An error, on stderr. Control characters, which may come from a disk, are shown escaped.
pub fn error(lines: impl Display) {
    let mut out = String::new();
    for line in lines.to_string().lines() {
        out.push_str("  ");
        for c in line.chars() {
            if c.is_control() && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
        }
        out.push('\n');
    }
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// Asks a yes-or-no question on stderr; no terminal or no answer is no.
#[must_use]
pub fn ask(question: impl Display) -> bool {
    eprint!("{question} [y/n]: ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_err() || answer.is_empty() {
        eprintln!("[n]");
        return false;
    }
    answer.trim_start().starts_with(['y', 'Y'])
}
