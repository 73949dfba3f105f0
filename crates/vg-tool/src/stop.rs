//! Why a command ends early, with LVM2's exit codes: 3 for a command line that means nothing,
//! 5 for anything that failed.

use std::fmt;

/// Done.
pub const OK: u8 = 0;
/// `lvm` was asked for a command it does not have.
pub const NO_COMMAND: u8 = 2;
/// The command line.
pub const USAGE: u8 = 3;
/// Not found, refused, failed, or failed in part.
pub const FAILED: u8 = 5;

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub code: u8,
    /// One or more lines for stderr; none when they were printed already.
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Stop>;

impl Stop {
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    #[must_use]
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { code: FAILED, message: message.to_string() }
    }

    /// One more line behind the others.
    #[must_use]
    pub fn then(mut self, line: impl fmt::Display) -> Self {
        if !self.message.is_empty() {
            self.message.push('\n');
        }
        self.message.push_str(&line.to_string());
        self
    }
}

/// Names the object of a failure.
pub trait Context<T> {
    /// # Errors
    /// The failure, as `object: cause`.
    fn at(self, object: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn at(self, object: impl fmt::Display) -> Result<T> {
        self.map_err(|cause| Stop::failed(format_args!("{object}: {cause}")))
    }
}
