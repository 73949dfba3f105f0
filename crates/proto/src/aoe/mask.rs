//! MAC mask list (command 2, AoEr11 §3.3): the addresses a target serves at all.

use super::{Malformed, put, raw, split};
use crate::mac::Mac;

/// What to do with the list (offset 25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// 0: answer with it.
    Read,
    /// 1: carry out the directives.
    Edit,
    /// Unassigned.
    Other(u8),
}

impl From<u8> for Action {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::Read,
            1 => Self::Edit,
            other => Self::Other(other),
        }
    }
}

impl From<Action> for u8 {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => 0,
            Action::Edit => 1,
            Action::Other(other) => other,
        }
    }
}

/// Why an edit stopped (offset 26 of an answer, 0 when it did not).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EditError {
    /// No reason given.
    Unspecified = 1,
    /// A directive that is neither add, delete nor nothing.
    BadDirective = 2,
    /// No room for another address.
    Full = 3,
}

/// What a directive does with its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// 0: nothing; in an answer, the address is on the list.
    None,
    /// 1: put the address on the list.
    Add,
    /// 2: take it off.
    Delete,
    /// Unassigned.
    Other(u8),
}

impl From<u8> for Verb {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::None,
            1 => Self::Add,
            2 => Self::Delete,
            other => Self::Other(other),
        }
    }
}

impl From<Verb> for u8 {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::None => 0,
            Verb::Add => 1,
            Verb::Delete => 2,
            Verb::Other(other) => other,
        }
    }
}

/// One entry of the list, or one step of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive {
    /// What to do.
    pub verb: Verb,
    /// With which address.
    pub mac: Mac,
}

/// A mask message's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask<'a> {
    /// Offset 25.
    pub action: Action,
    /// Offset 26: an [`EditError`], or 0.
    pub error: u8,
    /// Offset 27: directives that follow; in an answer with an error those that were carried out.
    pub count: u8,
    rest: &'a [u8],
}

impl<'a> Mask<'a> {
    /// Bytes before the directives.
    pub const LENGTH: usize = size_of::<raw::Mask>();
    /// Bytes of a directive.
    pub const DIRECTIVE: usize = size_of::<raw::Directive>();

    /// Takes a message's argument apart. Whether the directives are all there is for
    /// [`directives`](Self::directives) to say: an answer with an error need not carry them.
    ///
    /// # Errors
    /// The argument is short.
    pub fn parse(argument: &'a [u8]) -> Result<Self, Malformed> {
        let (raw, rest) = split::<raw::Mask>(argument, "mask list")?;
        Ok(Self { action: raw.command.into(), error: raw.error, count: raw.count, rest })
    }

    /// The directives the count announces.
    ///
    /// # Errors
    /// Fewer are there.
    pub fn directives(&self) -> Result<impl ExactSizeIterator<Item = Directive> + 'a, Malformed> {
        let need = usize::from(self.count) * Self::DIRECTIVE;
        let have = self.rest.len();
        let bytes = self.rest.get(..need).ok_or(Malformed::Short { part: "mask directives", need, have })?;
        let (directives, _) = bytes.as_chunks::<8>();
        Ok(directives.iter().map(|directive| {
            let raw: raw::Directive = zerocopy::transmute!(*directive);
            Directive { verb: raw.command.into(), mac: Mac(raw.mac) }
        }))
    }

    /// Writes an argument with these directives to the front of `out` and returns its length.
    ///
    /// # Errors
    /// `out` is too short, or there are more than 255 directives.
    pub fn encode(
        action: Action,
        directives: impl ExactSizeIterator<Item = Directive>,
        out: &mut [u8],
    ) -> Result<usize, Malformed> {
        let length = Self::LENGTH + directives.len() * Self::DIRECTIVE;
        let count = u8::try_from(directives.len())
            .map_err(|_| Malformed::Count { part: "mask list", count: directives.len() })?;
        let mut rest = Self::encode_head(action, 0, count, out)?;
        for directive in directives {
            let raw = raw::Directive { reserved: 0, command: directive.verb.into(), mac: directive.mac.0 };
            rest = put(&raw, rest, "mask directives")?;
        }
        Ok(length)
    }

    /// Writes the answer to an edit that stopped after `done` directives; returns its length.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn encode_error(error: EditError, done: u8, out: &mut [u8]) -> Result<usize, Malformed> {
        Self::encode_head(Action::Edit, error as u8, done, out)?;
        Ok(Self::LENGTH)
    }

    fn encode_head(action: Action, error: u8, count: u8, out: &mut [u8]) -> Result<&mut [u8], Malformed> {
        put(&raw::Mask { reserved: 0, command: action.into(), error, count }, out, "mask list")
    }
}
