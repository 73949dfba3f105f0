//! A table of exports, `/etc/aoe.exports`: a line each, written as on the command line. Blank lines
//! and what follows a `#` at the start of a word are left out; a word with blanks stands in double
//! quotes.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

use super::{ExportOptions, Given, Wrong};

/// Longest table, in bytes: far beyond what one process serves.
const LONGEST: u64 = 1 << 20;
/// Exports one process serves at most.
pub const MOST: usize = 1024;

/// Reads a table.
///
/// # Errors
/// The first line that is wrong, by its number.
pub fn read(path: &Path) -> anyhow::Result<Vec<ExportOptions>> {
    let what = || path.display().to_string();
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).with_context(what)?;
    if text.len() as u64 > LONGEST {
        bail!("{}: over {LONGEST} bytes", what());
    }
    parse(&text).with_context(what)
}

fn parse(text: &str) -> anyhow::Result<Vec<ExportOptions>> {
    let mut exports: Vec<ExportOptions> = Vec::new();
    let mut lines: Vec<usize> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let export = words(line).and_then(|words| if words.is_empty() { Ok(None) } else { export(words).map(Some) });
        let Some(export) = export.with_context(|| format!("line {number}"))? else { continue };
        let known = exports.iter().position(|known| known.address == export.address);
        if let Some(first) = known.map(|at| lines[at]) {
            bail!("line {number}: {} is exported by line {first} already", export.address);
        }
        if exports.len() == MOST {
            bail!("line {number}: more than {MOST} exports; start another aoe-vblade for the rest");
        }
        exports.push(export);
        lines.push(number);
    }
    Ok(exports)
}

fn export(words: Vec<OsString>) -> anyhow::Result<ExportOptions> {
    let mut given = Given::default();
    let said = |Wrong(message): Wrong| {
        anyhow::Error::msg(message.unwrap_or_else(|| "not `shelf slot netif filename' and options".into()))
    };
    let other = given.take(words).map_err(said)?;
    if other.is_some() || given.config.is_some() || given.process != super::Process::default() {
        bail!("an option that concerns no single export");
    }
    given.export().map_err(said)
}

fn words(line: &str) -> anyhow::Result<Vec<OsString>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() && !rest.starts_with('#') {
        let word = if let Some(quoted) = rest.strip_prefix('"') {
            let (word, behind) = quoted.split_once('"').context("a quotation mark without its partner")?;
            if behind.starts_with(|next: char| !next.is_whitespace()) {
                bail!("a quotation mark within a word");
            }
            rest = behind;
            word
        } else {
            let (word, behind) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            if word.contains('"') {
                bail!("a quotation mark within a word");
            }
            rest = behind;
            word
        };
        words.push(word.into());
        rest = rest.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn a_line_is_an_export_written_as_on_the_command_line() {
        let text = "# shelf slot netif file\n\n7 3 eth1,eth2 /dev/md3 -b 16 -m 02:00:00:00:00:01\n  \t\n\
                    7 4 eth1 \"/srv/my disk\" -r # read only\n  8 0 eth1 /srv/a#b";
        let exports = parse(text).unwrap();
        let names: Vec<String> = exports.iter().map(|export| export.address.to_string()).collect();
        assert_eq!(names, ["e7.3", "e7.4", "e8.0"]);
        assert_eq!((exports[0].buffers, exports[0].mask.len(), exports[0].interfaces.len()), (16, 1, 2));
        assert_eq!(
            (exports[1].opening.path.as_os_str(), exports[1].opening.read_only),
            ("/srv/my disk".as_ref(), true)
        );
        assert_eq!(exports[2].opening.path.as_os_str(), "/srv/a#b");
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let table = [
            ("7 3 eth1", "line 1: not `shelf slot netif filename' and options"),
            ("\n7 x eth1 f", "line 2: slot `x': not a number from 0 to 254"),
            ("7 3 eth1 f\n7 3 eth2 g", "line 2: e7.3 is exported by line 1 already"),
            ("7 3 eth1 f --control /c", "line 1: an option that concerns no single export"),
            ("--help", "line 1: an option that concerns no single export"),
            ("7 3 eth1 f --config=x", "line 1: an option that concerns no single export"),
            ("7 3 eth1 \"f", "line 1: a quotation mark without its partner"),
            ("7 3 eth1 f\"g\"", "line 1: a quotation mark within a word"),
            ("7 3 eth1 \"f\"g", "line 1: a quotation mark within a word"),
            ("7 3 eth1 f -z", "line 1: invalid option -- 'z'"),
        ];
        for (text, message) in table {
            assert_eq!(refusal(text), message);
        }
    }

    #[test]
    fn a_table_has_a_bounded_number_of_lines() {
        let line = |number: usize| format!("{} {} eth1 f\n", number / 255, number % 255);
        let text: String = (0..=MOST).map(line).collect();
        let message = "line 1025: more than 1024 exports; start another aoe-vblade for the rest";
        assert_eq!(refusal(&text), message);
    }

    #[test]
    fn a_file_that_is_missing_or_endless_is_refused() {
        assert!(format!("{:#}", read(Path::new("/nonexistent")).unwrap_err()).starts_with("/nonexistent: "));
        let error = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert_eq!(error, "/dev/zero: over 1048576 bytes");
    }
}
