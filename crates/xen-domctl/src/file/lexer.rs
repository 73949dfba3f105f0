//! Bytes to tokens. Comments may hold any bytes (files written in 2005 are rarely UTF-8), strings
//! must be UTF-8 without NUL.

use std::fmt;

use super::{At, SyntaxError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Equals,
    PlusEquals,
    Comma,
    Open,
    Close,
    Semicolon,
    Newline,
    End,
}

/// As an error names it.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}'"),
            Self::Text(_) => f.write_str("a string"),
            Self::Number(number) => write!(f, "`{number}'"),
            Self::Equals => f.write_str("`='"),
            Self::PlusEquals => f.write_str("`+='"),
            Self::Comma => f.write_str("`,'"),
            Self::Open => f.write_str("`['"),
            Self::Close => f.write_str("`]'"),
            Self::Semicolon => f.write_str("`;'"),
            Self::Newline => f.write_str("the end of the line"),
            Self::End => f.write_str("the end of the file"),
        }
    }
}

#[derive(Debug)]
pub struct Lexer<'a> {
    bytes: &'a [u8],
    position: usize,
    at: At,
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, at: At { line: 1, column: 1 } }
    }

    /// The next token and where it starts.
    pub fn next(&mut self) -> Result<(Token, At), SyntaxError> {
        self.skip_blanks();
        let at = self.at;
        let Some(byte) = self.bump() else { return Ok((Token::End, at)) };
        let token = match byte {
            b'\n' => Token::Newline,
            b'=' => Token::Equals,
            b',' => Token::Comma,
            b'[' => Token::Open,
            b']' => Token::Close,
            b';' => Token::Semicolon,
            b'+' if self.peek() == Some(b'=') => {
                self.bump();
                Token::PlusEquals
            }
            b'\'' | b'"' => Token::Text(self.string(byte, at)?),
            b'0'..=b'9' => Token::Number(self.number(byte, at)?),
            b'-' if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                let first = self.bump().unwrap_or(b'0');
                Token::Number(-self.number(first, at)?)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let mut word = String::from(char::from(byte));
                while let Some(next) = self.peek().filter(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.')) {
                    word.push(char::from(next));
                    self.bump();
                }
                Token::Word(word)
            }
            other => {
                let shown = other.escape_ascii();
                return Err(SyntaxError::new(
                    at,
                    format!("`{shown}' is not part of any value; expressions are not computed"),
                ));
            }
        };
        Ok((token, at))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        if byte == b'\n' {
            self.at = At { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(byte)
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => {
                    self.bump();
                }
                b'#' => {
                    while self.peek().is_some_and(|c| c != b'\n') {
                        self.bump();
                    }
                }
                _ => return,
            }
        }
    }

    /// Decimal, or hexadecimal with `0x`, as xl reads them.
    fn number(&mut self, first: u8, at: At) -> Result<i64, SyntaxError> {
        let mut digits = String::from(char::from(first));
        while let Some(next) = self.peek().filter(u8::is_ascii_alphanumeric) {
            digits.push(char::from(next));
            self.bump();
        }
        let number = match digits.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        number.map_err(|_| SyntaxError::new(at, format!("`{digits}' is not a number")))
    }

    fn string(&mut self, quote: u8, at: At) -> Result<String, SyntaxError> {
        let mut bytes = Vec::new();
        loop {
            let here = self.at;
            match self.bump() {
                None | Some(b'\n') => return Err(SyntaxError::new(at, "this string is not closed on its line")),
                Some(b'\\') => bytes.push(self.escape(here)?),
                Some(0) => return Err(SyntaxError::new(here, "a NUL byte in a string")),
                Some(byte) if byte == quote => break,
                Some(byte) => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| SyntaxError::new(at, "this string is not UTF-8"))
    }

    fn escape(&mut self, at: At) -> Result<u8, SyntaxError> {
        let byte = match self.bump() {
            Some(byte @ (b'\\' | b'\'' | b'"')) => byte,
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(b'x') => self.digits(2, 2, 16).unwrap_or(0),
            Some(first @ b'0'..=b'7') => {
                let more = self.digits_from(u32::from(first - b'0'), 0, 2, 8);
                more.unwrap_or(0)
            }
            _ => {
                return Err(SyntaxError::new(
                    at,
                    "an escape other than \\\\ \\' \\\" \\a \\b \\f \\n \\r \\t \\v \\xHH \\OOO",
                ));
            }
        };
        // Beyond ASCII an escape would be half a character; 0 is an escape without its digits.
        if byte == 0 || byte > 0x7f {
            return Err(SyntaxError::new(at, "a numeric escape that is not an ASCII character"));
        }
        Ok(byte)
    }

    fn digits(&mut self, fewest: usize, most: usize, radix: u32) -> Option<u8> {
        self.digits_from(0, fewest, most, radix)
    }

    fn digits_from(&mut self, start: u32, fewest: usize, most: usize, radix: u32) -> Option<u8> {
        let mut value = start;
        let mut count = 0;
        while count < most
            && let Some(digit) = self.peek().and_then(|c| char::from(c).to_digit(radix))
        {
            value = value * radix + digit;
            count += 1;
            self.bump();
        }
        if count < fewest { None } else { u8::try_from(value).ok() }
    }
}
