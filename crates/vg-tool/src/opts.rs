//! Options as getopt_long reads them: mixed with arguments, `-aey` and `-a ey`, `--size=4m` and
//! `--size 4m`, long ones cut short as far as they stay unique.

use crate::stop::{Result, Stop};

/// An option a command knows.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    pub long: &'static str,
    pub short: Option<char>,
    /// What its value is called in the help; `None` for a switch.
    pub value: Option<&'static str>,
    pub help: &'static str,
}

/// What every command takes.
pub const COMMON: &[Opt] = &[
    opt("config", None, Some("TEXT"), "settings that override lvm.conf, as 'devices/filter=[\"r|.*|\"]'"),
    opt("devices", None, Some("PATH"), "use only these devices (may be repeated)"),
    opt("driverloaded", None, Some("y|n"), "n: do not use device-mapper, as if the kernel had none"),
    opt("nolocking", None, None, "take no file locks; reports only"),
    opt("quiet", Some('q'), None, "do not announce results"),
    opt("verbose", Some('v'), None, "say what is being done"),
    opt("yes", Some('y'), None, "answer every question with yes"),
    opt("help", Some('h'), None, "this text"),
    opt("version", None, None, "the version"),
];

/// A line of an option table.
#[must_use]
pub const fn opt(long: &'static str, short: Option<char>, value: Option<&'static str>, help: &'static str) -> Opt {
    Opt { long, short, value, help }
}

/// A command line, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    given: Vec<(&'static str, String)>,
    pub args: Vec<String>,
}

impl Options {
    #[must_use]
    pub fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == long)
    }

    #[must_use]
    pub fn count(&self, long: &str) -> usize {
        self.given.iter().filter(|(name, _)| *name == long).count()
    }

    /// The value given last.
    #[must_use]
    pub fn value(&self, long: &str) -> Option<&str> {
        self.given.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    pub fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// A value that is yes or no.
    ///
    /// # Errors
    /// It is neither.
    pub fn yes_no(&self, long: &str) -> Result<Option<bool>> {
        match self.value(long) {
            None => Ok(None),
            Some("y" | "Y" | "1") => Ok(Some(true)),
            Some("n" | "N" | "0") => Ok(Some(false)),
            Some(other) => Err(bad_value(long, other)),
        }
    }
}

/// A value an option does not take, in LVM2's words.
#[must_use]
pub fn bad_value(long: &str, value: &str) -> Stop {
    Stop::usage(format_args!("Invalid argument for --{long}: {value}\nError during parsing of command line."))
}

/// Takes a command line apart.
///
/// # Errors
/// An option nobody knows, or one without its value.
pub fn parse(command: &str, known: &[Opt], line: &[String]) -> Result<Options> {
    let known: Vec<&Opt> = known.iter().chain(COMMON).collect();
    // getopt prints its own line without indentation.
    let wrong = |what: String| Stop::usage(format_args!("{command}: {what}\nError during parsing of command line."));
    let mut options = Options::default();
    let mut words = line.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.args.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let opt = find_long(&known, name).map_err(&wrong)?;
            let value = match (opt.value, attached) {
                (None, Some(_)) => {
                    return Err(wrong(format!("option '--{}' doesn't allow an argument", opt.long)));
                }
                (None, None) => String::new(),
                (Some(_), Some(value)) => value,
                (Some(_), None) => words
                    .next()
                    .cloned()
                    .ok_or_else(|| wrong(format!("option '--{}' requires an argument", opt.long)))?,
            };
            options.given.push((opt.long, value));
        } else if let Some(shorts) = word.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
            let mut rest = shorts.chars();
            while let Some(c) = rest.next() {
                let opt = known
                    .iter()
                    .find(|opt| opt.short == Some(c))
                    .ok_or_else(|| wrong(format!("invalid option -- '{c}'")))?;
                if opt.value.is_none() {
                    options.given.push((opt.long, String::new()));
                    continue;
                }
                let attached = rest.as_str().to_owned();
                let value = if attached.is_empty() {
                    words.next().cloned().ok_or_else(|| wrong(format!("option requires an argument -- '{c}'")))?
                } else {
                    attached
                };
                options.given.push((opt.long, value));
                break;
            }
        } else {
            options.args.push(word.clone());
        }
    }
    Ok(options)
}

fn find_long<'a>(known: &[&'a Opt], name: &str) -> std::result::Result<&'a Opt, String> {
    if let Some(opt) = known.iter().find(|opt| opt.long == name) {
        return Ok(opt);
    }
    let close: Vec<&Opt> = known.iter().filter(|opt| opt.long.starts_with(name)).copied().collect();
    match close.as_slice() {
        [] => Err(format!("unrecognized option '--{name}'")),
        [opt] => Ok(opt),
        many => {
            let names: Vec<String> = many.iter().map(|opt| format!("'--{}'", opt.long)).collect();
            Err(format!("option '--{name}' is ambiguous; possibilities: {}", names.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Opt] = &[
        opt("activate", Some('a'), Some("y|n"), ""),
        opt("size", Some('L'), Some("SIZE"), ""),
        opt("zero", Some('Z'), Some("y|n"), ""),
        opt("zap", None, None, ""),
    ];

    fn parsed(line: &str) -> Result<Options> {
        parse("lvcreate", KNOWN, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn values_may_be_attached_or_follow() {
        for line in ["-aey vg", "-a ey vg", "--activate ey vg", "--activate=ey vg", "vg --act ey"] {
            let options = parsed(line).unwrap();
            assert_eq!((options.value("activate"), options.args.as_slice()), (Some("ey"), &["vg".to_owned()][..]));
        }
    }

    #[test]
    fn switches_may_share_a_dash() {
        let options = parsed("-qqvL4m").unwrap();
        assert_eq!((options.count("quiet"), options.count("verbose"), options.value("size")), (2, 1, Some("4m")));
    }

    #[test]
    fn what_is_wrong_is_said_in_getopts_words() {
        for (line, what) in [
            ("--foo", "unrecognized option '--foo'"),
            ("-Q", "invalid option -- 'Q'"),
            ("-L", "option requires an argument -- 'L'"),
            ("--size", "option '--size' requires an argument"),
            ("--z y", "option '--z' is ambiguous; possibilities: '--zero' '--zap'"),
            ("--zap=1", "option '--zap' doesn't allow an argument"),
        ] {
            let stop = parsed(line).unwrap_err();
            assert_eq!(stop.code, 3);
            assert_eq!(stop.message, format!("lvcreate: {what}\nError during parsing of command line."));
        }
    }

    #[test]
    fn everything_behind_two_dashes_is_an_argument() {
        assert_eq!(parsed("-- -L --size").unwrap().args, ["-L", "--size"]);
    }
}
