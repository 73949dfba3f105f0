//! Command lines as getopt(3) takes them apart: clustered letters, options behind operands, `--`;
//! and the few long options the originals do not have.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;

use anyhow::Context;

/// What a program takes.
#[derive(Debug, Clone, Copy)]
pub struct Grammar<'a> {
    /// Letters, each followed by a colon when it takes an argument.
    pub letters: &'a str,
    /// Names without the dashes, each with a colon behind it when it takes an argument.
    pub names: &'a [&'a str],
}

/// One option with its argument, empty for those that take none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    /// The letter, or the name without its dashes.
    pub name: String,
    /// What came with it.
    pub value: OsString,
}

/// A command line taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// In the order given.
    pub options: Vec<Opt>,
    /// Everything else.
    pub operands: Vec<OsString>,
}

/// What is wrong with a command line, in getopt(3)'s words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No such letter.
    #[error("invalid option -- '{0}'")]
    Letter(char),
    /// The letter's argument is missing.
    #[error("option requires an argument -- '{0}'")]
    LetterAlone(char),
    /// No such name.
    #[error("unrecognized option '--{0}'")]
    Name(String),
    /// The name's argument is missing.
    #[error("option '--{0}' requires an argument")]
    NameAlone(String),
    /// The name takes none.
    #[error("option '--{0}' doesn't allow an argument")]
    NameWithArgument(String),
}

impl Grammar<'_> {
    /// Takes the arguments apart.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn parse(&self, arguments: &[OsString]) -> Result<Line, Wrong> {
        let mut line = Line::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_bytes() {
                b"--" => {
                    line.operands.extend(rest.cloned());
                    break;
                }
                [b'-', b'-', name @ ..] => line.options.push(self.named(name, &mut rest)?),
                [b'-', letters @ ..] if !letters.is_empty() => {
                    self.lettered(letters, &mut rest, &mut line.options)?;
                }
                _ => line.operands.push(argument.clone()),
            }
        }
        Ok(line)
    }

    fn named<'b>(&self, text: &[u8], rest: &mut impl Iterator<Item = &'b OsString>) -> Result<Opt, Wrong> {
        let (name, given) = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let takes = self.names.iter().find_map(|known| match known.strip_suffix(':') {
            Some(known) => (known == name).then_some(true),
            None => (*known == name).then_some(false),
        });
        let value = match (takes, given) {
            (None, _) => return Err(Wrong::Name(name)),
            (Some(false), Some(_)) => return Err(Wrong::NameWithArgument(name)),
            (Some(false), None) => OsString::new(),
            (Some(true), Some(value)) => OsStr::from_bytes(value).to_owned(),
            (Some(true), None) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(Wrong::NameAlone(name)),
            },
        };
        Ok(Opt { name, value })
    }

    fn lettered<'b>(
        &self,
        letters: &[u8],
        rest: &mut impl Iterator<Item = &'b OsString>,
        options: &mut Vec<Opt>,
    ) -> Result<(), Wrong> {
        for (at, letter) in letters.iter().enumerate() {
            let letter = char::from(*letter);
            let known = self.letters.find(letter).filter(|_| letter != ':');
            let known = known.ok_or(Wrong::Letter(letter))?;
            let name = letter.to_string();
            if !self.letters[known + 1..].starts_with(':') {
                options.push(Opt { name, value: OsString::new() });
                continue;
            }
            let value = match &letters[at + 1..] {
                [] => rest.next().ok_or(Wrong::LetterAlone(letter))?.clone(),
                glued => OsString::from_vec(glued.to_vec()),
            };
            options.push(Opt { name, value });
            break;
        }
        Ok(())
    }
}

/// A number within its bounds, decimal.
///
/// # Errors
/// Anything else, quoted.
pub fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(
    text: &OsStr,
    least: T,
    most: T,
) -> anyhow::Result<T> {
    let text = text.to_string_lossy();
    let number = text.parse().ok().filter(|number| (&least..=&most).contains(&number));
    number.with_context(|| format!("`{text}': not a number from {least} to {most}"))
}

/// A number in C's spelling: decimal, octal behind `0`, hexadecimal behind `0x`.
///
/// # Errors
/// Anything else, or more than `most`, quoted.
pub fn c_number(text: &OsStr, most: u16) -> anyhow::Result<u16> {
    let text = text.to_string_lossy();
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (&*text, 10),
    };
    // from_str_radix takes a sign as well.
    let number = u16::from_str_radix(digits, base).ok().filter(|number| *number <= most && !digits.starts_with('+'));
    number.with_context(|| format!("`{text}': not a number from 0 to {most}"))
}

/// Seconds, a fraction allowed, more than none and at most a day.
///
/// # Errors
/// Anything else, quoted.
pub fn seconds(text: &OsStr) -> anyhow::Result<std::time::Duration> {
    let text = text.to_string_lossy();
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=86400.0).contains(seconds));
    let seconds = seconds.with_context(|| format!("`{text}': not a number of seconds from 0.001 to 86400"))?;
    Ok(std::time::Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar<'_> = Grammar { letters: "vs:t:", names: &["json", "interface:"] };

    fn parse(words: &[&str]) -> Result<(Vec<String>, Vec<String>), Wrong> {
        let line = GRAMMAR.parse(&words.iter().map(OsString::from).collect::<Vec<_>>())?;
        let options = line.options.iter().map(|opt| format!("{}={}", opt.name, opt.value.to_string_lossy()));
        Ok((options.collect(), line.operands.iter().map(|word| word.to_string_lossy().into_owned()).collect()))
    }

    #[test]
    fn options_may_be_clustered_glued_and_behind_operands() {
        let (options, operands) = parse(&["7", "-vs5", "3", "-t", "-1", "--interface=a", "-", "--json"]).unwrap();
        assert_eq!(options, ["v=", "s=5", "t=-1", "interface=a", "json="]);
        assert_eq!(operands, ["7", "3", "-"]);
        assert_eq!(parse(&["--", "-v", "--json"]).unwrap().1, ["-v", "--json"]);
    }

    #[test]
    fn what_is_wrong_is_said_in_getopts_words() {
        for (words, wanted) in [
            (&["-x"][..], "invalid option -- 'x'"),
            (&["-:"], "invalid option -- ':'"),
            (&["-vs"], "option requires an argument -- 's'"),
            (&["--more"], "unrecognized option '--more'"),
            (&["--interface"], "option '--interface' requires an argument"),
            (&["--json=1"], "option '--json' doesn't allow an argument"),
        ] {
            assert_eq!(parse(words).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        assert_eq!(number(OsStr::new("7"), 0u16, 65534).unwrap(), 7);
        for bad in ["65535", "-1", "x", "", "7x", "0x7"] {
            let error = number(OsStr::new(bad), 0u16, 65534).unwrap_err().to_string();
            assert_eq!(error, format!("`{bad}': not a number from 0 to 65534"));
        }
        for (text, wanted) in [("0", 0), ("7", 7), ("0x1f", 31), ("017", 15), ("65535", 65535)] {
            assert_eq!(c_number(OsStr::new(text), u16::MAX).unwrap(), wanted, "{text}");
        }
        for bad in ["", "0x", "08", "+7", "0x+7", "256", "-1"] {
            assert!(c_number(OsStr::new(bad), 255).is_err(), "{bad}");
        }
        assert_eq!(seconds(OsStr::new("0.5")).unwrap().as_millis(), 500);
        for bad in ["0", "-1", "nan", "inf", "1e9", "x"] {
            assert!(seconds(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
