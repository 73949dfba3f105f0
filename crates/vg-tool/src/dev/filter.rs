//! lvm.conf's `filter` and `global_filter`: patterns in order, `a` accepts and `r` rejects, the
//! first that matches any name of a device decides for that name; a device is taken when a name
//! is accepted, or when no name is rejected.

use regex_lite::Regex;

use crate::conf::Conf;
use crate::stop::{Context, Result, Stop};

/// One list of patterns.
#[derive(Debug, Default)]
struct Patterns(Vec<(bool, Regex)>);

/// Both lists; a device must pass each.
#[derive(Debug, Default)]
pub struct Filter {
    lists: Vec<Patterns>,
    /// `--devices`: nothing else, whatever the lists say.
    only: Vec<String>,
}

impl Filter {
    /// Reads the lists.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new(conf: &Conf, only: Vec<String>) -> Result<Self> {
        let mut lists = Vec::new();
        for key in ["global_filter", "filter"] {
            if let Some(patterns) = conf.list("devices", key) {
                lists.push(Patterns(patterns.into_iter().map(pattern).collect::<Result<_>>()?));
            }
        }
        Ok(Self { lists, only })
    }

    /// Whether every device passes, so that nobody needs to know its other names.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lists.is_empty() && self.only.is_empty()
    }

    /// Whether a device of these names passes.
    #[must_use]
    pub fn accepts(&self, names: &[&str]) -> bool {
        if !self.only.is_empty() {
            return names.iter().any(|name| self.only.iter().any(|only| only == name));
        }
        self.lists.iter().all(|list| list.accepts(names))
    }
}

impl Patterns {
    fn accepts(&self, names: &[&str]) -> bool {
        let mut rejected = false;
        for name in names {
            match self.0.iter().find(|(_, regex)| regex.is_match(name)) {
                Some((true, _)) => return true,
                Some((false, _)) => rejected = true,
                None => {}
            }
        }
        !rejected
    }
}

/// `a|/dev/etherd/.*|`: a letter and a pattern between two of any character, or brackets.
fn pattern(text: &str) -> Result<(bool, Regex)> {
    let wrong = || Stop::failed(format_args!("Invalid filter pattern \"{text}\" in lvm.conf."));
    let mut chars = text.chars();
    let accept = match chars.next() {
        Some('a') => true,
        Some('r') => false,
        _ => return Err(wrong()),
    };
    let close = match chars.next().ok_or_else(wrong)? {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    };
    let regex = chars.as_str().strip_suffix(close).ok_or_else(wrong)?;
    Ok((accept, Regex::new(regex).at(format_args!("filter pattern \"{text}\""))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::new(&Conf::from_text(text), Vec::new()).unwrap()
    }

    #[test]
    fn the_first_pattern_that_matches_a_name_decides() {
        let filter = filter(r#"devices { filter = [ "a|/dev/etherd/.*|", "a/^\/dev\/md3$/", "r|.*|" ] }"#);
        assert!(filter.accepts(&["/dev/etherd/e0.1"]));
        assert!(filter.accepts(&["/dev/md3"]));
        assert!(!filter.accepts(&["/dev/md33"]));
        assert!(filter.accepts(&["/dev/disk/by-id/x", "/dev/md3"]), "one accepted name is enough");
    }

    #[test]
    fn what_nothing_matches_is_accepted() {
        assert!(filter(r#"devices { filter = "r|/dev/cdrom|" }"#).accepts(&["/dev/sda"]));
        assert!(filter("").is_open());
    }

    #[test]
    fn both_lists_must_accept() {
        let filter = filter(r#"devices { filter = [ "a|loop|" ] global_filter = [ "r|loop1|" ] }"#);
        assert!(filter.accepts(&["/dev/loop0"]));
        assert!(!filter.accepts(&["/dev/loop1"]));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for text in ["x|a|", "a", "a|b", "a|(|"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
