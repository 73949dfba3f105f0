//! Bytes to tokens. What a token is depends on whether a key or a value is expected: `1vg` is a
//! section's name in one place and a number with a stray word in the other.

use std::borrow::Cow;

use super::TextError;

/// One token where a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Int(i64),
    /// Not needed as a number anywhere in LVM2's metadata; kept as written.
    Float(&'a str),
    Text(Cow<'a, str>),
    Open,
    Close,
    Comma,
}

#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// A NUL ends the text.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.split('\0').next().unwrap_or_default(), at: 0 }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> TextError {
        // A comment or a string may have taken us to the very end.
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        TextError { line: 1 + before.iter().filter(|byte| **byte == b'\n').count(), what: what.into() }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips space and comments; answers the next byte.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                byte if byte.is_ascii_whitespace() || *byte == 0x0b => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    /// Takes `byte` when it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// The name before `{` or `=`.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, TextError> {
        match self.peek() {
            Some(b'"') => self.double_quoted(),
            Some(b'\'') => self.single_quoted().map(Cow::Borrowed),
            Some(b'=' | b'{' | b'}') => Err(self.error(format!("`{}' where a name belongs", &self.rest()[..1]))),
            Some(_) => Ok(Cow::Borrowed(self.word("#={}"))),
            None => Err(self.error("a name is missing")),
        }
    }

    /// The token of a value or inside a list; `None` at the end of the text.
    pub(super) fn value(&mut self) -> Result<Option<Token<'a>>, TextError> {
        let Some(byte) = self.peek() else { return Ok(None) };
        let single = match byte {
            b'[' => Some(Token::Open),
            b']' => Some(Token::Close),
            b',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok(Some(token));
        }
        Ok(Some(match byte {
            b'"' => Token::Text(self.double_quoted()?),
            b'\'' => Token::Text(Cow::Borrowed(self.single_quoted()?)),
            b'0'..=b'9' | b'+' | b'-' | b'.' => self.number()?,
            b'{' | b'}' | b'=' => return Err(self.error(format!("`{}' where a value belongs", char::from(byte)))),
            _ => Token::Text(Cow::Borrowed(self.word("#={},[]"))),
        }))
    }

    fn word(&mut self, ends: &str) -> &'a str {
        let rest = self.rest();
        let length =
            rest.find(|c: char| c.is_ascii_whitespace() || c == '\x0b' || ends.contains(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<Token<'a>, TextError> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let length = sign + rest[sign..].bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let text = &rest[..length];
        let token = if text.contains('.') {
            text.parse::<f64>().ok().map(|_| Token::Float(text))
        } else {
            let digits = &text[sign..];
            // As strtoll reads it: a leading zero means octal.
            let radix = if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 };
            i64::from_str_radix(text, radix).ok().map(Token::Int)
        };
        let token = token.ok_or_else(|| self.error(format!("`{}' is not a number", clip(text))))?;
        self.at += length;
        Ok(token)
    }

    fn single_quoted(&mut self) -> Result<&'a str, TextError> {
        let inner = &self.rest()[1..];
        let length = inner.find('\'').ok_or_else(|| self.error("a string without its end"))?;
        self.at += length + 2;
        Ok(&inner[..length])
    }

    fn double_quoted(&mut self) -> Result<Cow<'a, str>, TextError> {
        let inner = &self.rest()[1..];
        let bytes = inner.as_bytes();
        let mut end = 0;
        let mut escaped = false;
        loop {
            match bytes.get(end) {
                None => return Err(self.error("a string without its end")),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(_) => end += 1,
            }
        }
        let raw = &inner[..end];
        self.at += end + 2;
        if !escaped {
            return Ok(Cow::Borrowed(raw));
        }
        let mut text = String::with_capacity(raw.len());
        let mut chars = raw.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('\\', Some(next @ ('"' | '\\'))) => {
                    text.push(*next);
                    chars.next();
                }
                _ => text.push(c),
            }
        }
        Ok(Cow::Owned(text))
    }
}

/// A piece of hostile text short enough for a message.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(at, _)| &text[..at])
}
