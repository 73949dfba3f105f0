//! The audit log: what was decided, by whom and why.

use std::io::{self, Write};

use anyhow::{Context, bail};
use nines_cli::{Exit, clean};
use nines_proto::ctl::{AuditRecord, Client, utc};

/// Which records are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    /// Seconds since 1970.
    pub since: Option<u64>,
    pub kind: Option<String>,
    pub node: Option<String>,
}

impl Filter {
    fn takes(&self, record: &AuditRecord) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.kind.as_ref().is_none_or(|kind| record.kind == *kind)
            && self.node.as_ref().is_none_or(|node| record.subject == *node)
    }
}

/// Prints what there is, and with `follow` what comes.
pub fn run(client: &mut Client, filter: &Filter, follow: bool, json: bool) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    let (mut after, mut wait) = (0, false);
    loop {
        let records = client.log(after, wait, None)?;
        for record in records.iter().filter(|record| filter.takes(record)) {
            if json {
                writeln!(out, "{}", serde_json::to_string(record)?)?;
            } else {
                writeln!(out, "{}", line(record))?;
            }
        }
        out.flush()?;
        match records.iter().map(|record| record.number).max() {
            Some(last) if last > after => after = last,
            // All that there is has been told.
            _ if follow => wait = true,
            _ => return Ok(Exit::Ok),
        }
    }
}

/// When, number, kind, subject, who, why, separated by tabs.
pub fn line(record: &AuditRecord) -> String {
    let AuditRecord { number, time, kind, subject, who, why } = record;
    let cells = [kind, subject, who, why].map(|cell| if cell.is_empty() { "-".into() } else { clean(cell) });
    format!("{}\t{number}\t{}", utc(*time), cells.join("\t"))
}

/// `90s`, `15m`, `2h`, `3d` before `now`, or a date of UTC with as much of a time as one likes.
pub fn since(when: &str, now: u64) -> anyhow::Result<u64> {
    let wrong = || format!("--since {when}: 90s, 15m, 2h, 3d, or a date such as 2026-11-22 14:00 (UTC)");
    for (unit, seconds) in [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)] {
        if let Some(count) = when.strip_suffix(unit) {
            let count: u64 = count.parse().with_context(wrong)?;
            return Ok(now.saturating_sub(count.saturating_mul(seconds)));
        }
    }
    let (date, time) = when.trim().split_once([' ', 'T']).unwrap_or((when.trim(), ""));
    let numbers = |text: &str, by: char| -> Option<Vec<u64>> {
        text.split(by).map(|part| part.parse().ok().filter(|_| part.len() <= 4)).collect()
    };
    let (Some(date), Some(mut time)) =
        (numbers(date, '-'), if time.is_empty() { Some(Vec::new()) } else { numbers(time, ':') })
    else {
        bail!(wrong())
    };
    time.resize(time.len().max(3), 0);
    match (&date[..], &time[..]) {
        ([year @ 1970..=9999, month @ 1..=12, day @ 1..=31], [hour @ 0..=23, minute @ 0..=59, second @ 0..=60]) => {
            Ok(days(*year, *month, *day) * 86_400 + hour * 3600 + minute * 60 + second)
        }
        _ => bail!(wrong()),
    }
}

/// Days from 1970 to a day of the Gregorian calendar, years counted from March so that the leap
/// day is a year's last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = 365 * year + year / 4 - year / 100 + year / 400;
    (of_years + (153 * month + 2) / 5 + day).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read_as_they_are_written() {
        let now = 1_795_368_001;
        assert_eq!(since("90s", now).unwrap(), now - 90);
        assert_eq!(since("2h", now).unwrap(), now - 7200);
        assert_eq!(since("99999999999999999d", now).unwrap(), 0);
        assert_eq!(since("2026-11-22 17:20:01", now).unwrap(), now);
        assert_eq!(since("2026-11-22T17:20", now).unwrap(), now - 1);
        for seconds in [0, 951_782_400, 1_709_164_800, 1_795_305_600, 4_107_542_400] {
            assert_eq!(since(&utc(seconds)[..10], now).unwrap(), seconds);
        }
        for wrong in ["", "x", "2026", "2026-13-01", "2026-01-01 25:00", "-1h", "2026-01-01 10:00:00:00", "1969-01-01"]
        {
            assert!(since(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_takes_what_fits_in_every_way() {
        let record = AuditRecord {
            number: 7,
            time: 0,
            kind: "lost".into(),
            subject: "n2".into(),
            who: "leader n1".into(),
            why: "silent\nfor 1 s\x1b[2J".into(),
        };
        assert_eq!(line(&record), "1970-01-01 00:00:00 UTC\t7\tlost\tn2\tleader n1\tsilent\\nfor 1 s\\u{1b}[2J");
        assert!(Filter::default().takes(&record));
        assert!(!Filter { since: Some(1), ..Filter::default() }.takes(&record));
        assert!(!Filter { node: Some("n1".into()), kind: Some("lost".into()), since: None }.takes(&record));
    }
}
