//! Lines as LVM2 writes them: bare on disk, indented and with comments in files for people.

use std::fmt::{Display, Write};

use super::Value;

/// Where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Into a metadata area: no indentation, no comments.
    Disk,
    /// Into a backup or archive file.
    File,
}

/// The column LVM2 lines its comments up in.
const COMMENT_COLUMN: usize = 40;
const TAB: usize = 8;
/// LVM2 indents no deeper.
const MAX_INDENT: usize = 5;

/// A text being written.
#[derive(Debug)]
pub struct Sheet {
    out: String,
    depth: usize,
    style: Style,
}

impl Sheet {
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { out: String::new(), depth: 0, style }
    }

    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }

    pub fn blank(&mut self) {
        self.out.push('\n');
    }

    pub fn line(&mut self, text: impl Display) {
        self.indent();
        self.push(text);
        self.out.push('\n');
    }

    /// A line with a comment that only a file for people gets.
    pub fn noted(&mut self, text: impl Display, comment: impl Display) {
        self.indent();
        let start = self.out.len();
        self.push(text);
        if self.style == Style::File {
            let mut column = self.depth.min(MAX_INDENT) * TAB + (self.out.len() - start);
            loop {
                self.out.push('\t');
                column = (column / TAB + 1) * TAB;
                if column >= COMMENT_COLUMN {
                    break;
                }
            }
            self.push(format_args!("# {comment}"));
        }
        self.out.push('\n');
    }

    /// A line about a number of sectors, noted with the size in words.
    pub fn sized(&mut self, text: impl Display, sectors: u64) {
        match self.style {
            Style::Disk => self.line(text),
            Style::File => self.noted(text, size_in_words(sectors)),
        }
    }

    pub fn open(&mut self, name: &str) {
        self.line(format_args!("{name} {{"));
        self.depth += 1;
    }

    pub fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("}");
    }

    /// A list over several lines, `per_line` members on each.
    pub fn table(&mut self, name: &str, cells: &[Value<'_>], per_line: usize) {
        self.line(format_args!("{name} = ["));
        self.depth += 1;
        let rows = cells.chunks(per_line.max(1));
        let last = rows.len();
        for (index, row) in rows.enumerate() {
            let row = row.iter().map(shown).collect::<Vec<_>>().join(", ");
            self.line(format_args!("{row}{}", if index + 1 < last { "," } else { "" }));
        }
        self.depth -= 1;
        self.line("]");
    }

    fn indent(&mut self) {
        if self.style == Style::File {
            self.out.extend(std::iter::repeat_n('\t', self.depth.min(MAX_INDENT)));
        }
    }

    fn push(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{text}");
    }
}

/// A value as LVM2 writes it.
pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Float(text) => text.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}

/// A string between quotes, with the two escapes LVM2 knows.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn size_in_words(sectors: u64) -> String {
    const UNITS: [&str; 6] = ["Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Petabytes", "Exabytes"];
    #[allow(clippy::cast_precision_loss)] // a comment for people, six digits
    let mut size = sectors as f64 / 2.0;
    let mut unit = 0;
    while size > 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{} {}", six_digits(size), UNITS[unit])
}

/// Six significant digits without trailing zeros, as C's `%g` shows such a number.
fn six_digits(number: f64) -> String {
    let whole = format!("{number:.0}").len();
    let text = format!("{number:.*}", 6usize.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Seconds since 1970 as `Sun Nov 22 15:50:09 2026`, or for logical volumes as
/// `2026-11-22 15:50:09 +0000`. Always UTC: these are comments nobody parses.
#[must_use]
pub fn timestamp(seconds: u64, iso: bool) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Far beyond any clock; keeps hostile numbers from walking centuries.
    let seconds = seconds.min(253_402_300_799);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    // Days to year, month, day with the year beginning in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    if iso {
        return format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000");
    }
    let name = |names: &[&'static str], index: u64| usize::try_from(index).ok().and_then(|at| names.get(at).copied());
    format!(
        "{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}",
        name(&DAYS, days % 7).unwrap_or_default(),
        name(&MONTHS, month - 1).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_ctime_writes_them() {
        assert_eq!(timestamp(1_795_362_609, false), "Sun Nov 22 15:50:09 2026");
        assert_eq!(timestamp(1_795_362_609, true), "2026-11-22 15:50:09 +0000");
        assert_eq!(timestamp(951_782_400, true), "2000-02-29 00:00:00 +0000");
        assert_eq!(timestamp(0, false), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn sizes_are_noted_in_the_largest_unit_that_keeps_them_above_one() {
        assert_eq!(size_in_words(8192), "4 Megabytes");
        assert_eq!(size_in_words(128), "64 Kilobytes");
        assert_eq!(size_in_words(2048), "1024 Kilobytes");
        assert_eq!(size_in_words(0), "0 Kilobytes");
        assert_eq!(size_in_words(20_971_520 + 8192), "10.0039 Gigabytes");
    }
}
