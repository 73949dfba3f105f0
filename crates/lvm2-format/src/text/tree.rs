//! Tokens to a tree of sections and values, in the order of the text.

use std::borrow::Cow;

use super::lex::{Lexer, Token, clip};
use super::{MAX_DEPTH, TextError};

/// What stands right of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    /// As written.
    Float(Cow<'a, str>),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
}

/// A key with a section or a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    pub key: Cow<'a, str>,
    pub content: Content<'a>,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    Section(Section<'a>),
    Value(Value<'a>),
}

/// Nodes in the order of the text. Names may repeat; the first counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section<'a>(pub Vec<Node<'a>>);

/// Reads a whole text.
///
/// # Errors
/// The line and what is wrong there.
pub fn parse(text: &str) -> Result<Section<'_>, TextError> {
    let mut lexer = Lexer::new(text);
    let mut nodes = Vec::new();
    while lexer.peek().is_some() {
        nodes.push(node(&mut lexer, 0)?);
    }
    Ok(Section(nodes))
}

fn node<'a>(lexer: &mut Lexer<'a>, depth: usize) -> Result<Node<'a>, TextError> {
    if depth > MAX_DEPTH {
        return Err(lexer.error(format!("sections more than {MAX_DEPTH} deep")));
    }
    let key = lexer.key()?;
    if lexer.take(b'=') {
        let value = value(lexer)?;
        return Ok(Node { key, content: Content::Value(value) });
    }
    if !lexer.take(b'{') {
        return Err(lexer.error(format!("`{}' is followed by neither `{{' nor `='", clip(&key))));
    }
    let mut nodes = Vec::new();
    while !lexer.take(b'}') {
        if lexer.peek().is_none() {
            return Err(lexer.error(format!("section `{}' without its end", clip(&key))));
        }
        nodes.push(node(lexer, depth + 1)?);
    }
    Ok(Node { key, content: Content::Section(Section(nodes)) })
}

fn value<'a>(lexer: &mut Lexer<'a>) -> Result<Value<'a>, TextError> {
    let token = lexer.value()?;
    match token {
        Some(Token::Open) => {}
        Some(token) => return scalar(token).ok_or_else(|| lexer.error("a value is missing")),
        None => return Err(lexer.error("a value is missing")),
    }
    let mut list = Vec::new();
    let mut after_comma = true;
    loop {
        match lexer.value()? {
            Some(Token::Close) => return Ok(Value::List(list)),
            Some(Token::Comma) if !after_comma => after_comma = true,
            Some(token) => {
                list.push(scalar(token).ok_or_else(|| lexer.error("a list inside a list, or a comma too many"))?);
                after_comma = false;
            }
            None => return Err(lexer.error("a list without its end")),
        }
    }
}

fn scalar(token: Token<'_>) -> Option<Value<'_>> {
    match token {
        Token::Int(number) => Some(Value::Int(number)),
        Token::Float(text) => Some(Value::Float(Cow::Borrowed(text))),
        Token::Text(text) => Some(Value::Text(text)),
        Token::Open | Token::Close | Token::Comma => None,
    }
}

impl<'a> Section<'a> {
    /// The first node of that name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Content<'a>> {
        self.0.iter().find(|node| node.key == key).map(|node| &node.content)
    }

    /// A value, under the key itself or, as lvm.conf may have it, under the path `a/b`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value<'a>> {
        match self.get(key) {
            Some(Content::Value(value)) => Some(value),
            _ => None,
        }
    }

    #[must_use]
    pub fn section(&self, key: &str) -> Option<&Section<'a>> {
        match self.get(key) {
            Some(Content::Section(section)) => Some(section),
            _ => None,
        }
    }

    #[must_use]
    pub fn into_owned(self) -> Section<'static> {
        Section(self.0.into_iter().map(Node::into_owned).collect())
    }
}

impl<'a> Node<'a> {
    #[must_use]
    pub fn into_owned(self) -> Node<'static> {
        Node {
            key: Cow::Owned(self.key.into_owned()),
            content: match self.content {
                Content::Section(section) => Content::Section(section.into_owned()),
                Content::Value(value) => Content::Value(value.into_owned()),
            },
        }
    }

    /// A node made by a program.
    #[must_use]
    pub fn new(key: impl Into<Cow<'a, str>>, value: Value<'a>) -> Self {
        Self { key: key.into(), content: Content::Value(value) }
    }
}

impl Value<'_> {
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Int(number) => Value::Int(number),
            Value::Float(text) => Value::Float(Cow::Owned(text.into_owned())),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::List(list) => Value::List(list.into_iter().map(Value::into_owned).collect()),
        }
    }

    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members of a list; a single value counts as a list of one.
    #[must_use]
    pub fn as_list(&self) -> &[Self] {
        match self {
            Value::List(list) => list,
            single => std::slice::from_ref(single),
        }
    }
}
