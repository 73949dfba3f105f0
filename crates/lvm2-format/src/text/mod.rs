//! LVM2's text: the syntax of metadata, of backup files and of lvm.conf.

mod lex;
mod print;
mod tree;

pub(crate) use print::shown;
pub use print::{Sheet, Style, quoted, timestamp};
pub use tree::{Content, Node, Section, Value, parse};

/// How deep sections and the parser go; LVM2's own metadata needs five.
pub const MAX_DEPTH: usize = 24;

/// A place in a text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TextError {
    pub line: usize,
    pub what: String,
}
