//! The domain file's syntax: xm's and xl's assignments, as text to values and back.
//!
//! `key = value` and `key += value`, one a line or several with `;` between them. A value is a
//! string in either quotes with C's escapes, a number, or a list in brackets, inside which lines
//! may break and the last comma may trail. `#` starts a comment. Python beyond that, which xm
//! would have run, is an error that says where. xen-domain.cfg(5) is the specification.

mod lexer;
#[cfg(test)]
mod tests;

use std::fmt;

use lexer::{Lexer, Token};

/// Longest file read, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Deepest nesting of lists; xl's own deepest key (`vnuma`) needs two.
const MAX_DEPTH: usize = 8;

/// A place in a file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub line: usize,
    pub column: usize,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {cause}", at.line, at.column)]
pub struct SyntaxError {
    pub at: At,
    pub cause: String,
}

impl SyntaxError {
    pub fn new(at: At, cause: impl Into<String>) -> Self {
        Self { at, cause: cause.into() }
    }
}

/// What stands right of the `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
    List(Vec<Item>),
}

/// An element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub value: Value,
    pub at: At,
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub key: String,
    pub value: Value,
    pub at: At,
    pub value_at: At,
}

/// Reads a whole file. A key given twice keeps its last value, and `+=` adds to the one before,
/// so every key is in the answer once, in the order of first appearance.
///
/// # Errors
/// The first place that is not an assignment.
pub fn parse(bytes: &[u8]) -> Result<Vec<Assignment>, SyntaxError> {
    if bytes.len() > MAX_FILE {
        return Err(SyntaxError::new(At { line: 1, column: 1 }, "a domain file of more than 1 MiB"));
    }
    let mut lexer = Lexer::new(bytes);
    let mut assignments: Vec<Assignment> = Vec::new();
    loop {
        let (token, at) = lexer.next()?;
        let key = match token {
            Token::End => return Ok(assignments),
            Token::Newline | Token::Semicolon => continue,
            Token::Word(key) => key,
            other => return Err(SyntaxError::new(at, format!("{other} where a line starts with a key"))),
        };
        let (operator, operator_at) = lexer.next()?;
        let adds = match operator {
            Token::Equals => false,
            Token::PlusEquals => true,
            other => {
                return Err(SyntaxError::new(operator_at, format!("{other} after `{key}', where `=' belongs")));
            }
        };
        let (token, value_at) = lexer.next()?;
        let value = value(&mut lexer, token, value_at, 0)?;
        match lexer.next()? {
            (Token::Newline | Token::Semicolon | Token::End, _) => {}
            (other, at) => {
                let cause = format!("{other} after the value of `{key}'; expressions are not computed");
                return Err(SyntaxError::new(at, cause));
            }
        }
        let assignment = Assignment { key, value, at, value_at };
        match assignments.iter_mut().find(|earlier| earlier.key == assignment.key) {
            Some(earlier) if adds => add(earlier, assignment)?,
            Some(earlier) => *earlier = assignment,
            None => assignments.push(assignment),
        }
    }
}

fn value(lexer: &mut Lexer, token: Token, at: At, depth: usize) -> Result<Value, SyntaxError> {
    match token {
        Token::Text(text) => Ok(Value::Text(text)),
        Token::Number(number) => Ok(Value::Number(number)),
        Token::Open if depth == MAX_DEPTH => Err(SyntaxError::new(at, "lists nested more than 8 deep")),
        Token::Open => list(lexer, at, depth + 1),
        other => Err(SyntaxError::new(at, format!("{other} where a string, a number or a list belongs"))),
    }
}

/// The rest of a list whose `[` stands at `opened`.
fn list(lexer: &mut Lexer, opened: At, depth: usize) -> Result<Value, SyntaxError> {
    let mut items = Vec::new();
    let mut separated = true;
    loop {
        match lexer.next()? {
            (Token::Newline, _) => {}
            (Token::Close, _) => return Ok(Value::List(items)),
            (Token::End, _) => return Err(SyntaxError::new(opened, "this list is never closed")),
            (Token::Comma, _) if !separated => separated = true,
            (token, at) if separated && token != Token::Comma => {
                items.push(Item { value: value(lexer, token, at, depth)?, at });
                separated = false;
            }
            (token, at) => {
                return Err(SyntaxError::new(
                    at,
                    format!("{token} in a list, where {} belongs", {
                        if separated { "a value" } else { "`,' or `]'" }
                    }),
                ));
            }
        }
    }
}

fn add(earlier: &mut Assignment, later: Assignment) -> Result<(), SyntaxError> {
    match (&mut earlier.value, later.value) {
        (Value::List(items), Value::List(more)) => items.extend(more),
        (Value::Text(text), Value::Text(more)) => text.push_str(&more),
        _ => {
            let cause = format!("`{}' can be added to only by a value of its own kind", later.key);
            return Err(SyntaxError::new(later.at, cause));
        }
    }
    Ok(())
}

/// The value as xl reads it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_quoted(f, text),
            // xl's numbers have no sign; its strings stand for numbers everywhere.
            Self::Number(number) if *number < 0 => write!(f, "\"{number}\""),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(items) => {
                f.write_str("[ ")?;
                for item in items {
                    write!(f, "{}, ", item.value)?;
                }
                f.write_str("]")
            }
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
