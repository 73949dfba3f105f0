//! The audit log: what was decided, by whom and why. A record is made by the same committed
//! command that has the effect, so there is no effect without its record.

use std::collections::VecDeque;

use nines_proto::ctl::AuditRecord;
use serde::{Deserialize, Serialize};

/// Records that are kept.
pub const MAX_RECORDS: usize = 2048;
/// Longest text in a record, in bytes; longer ones are cut.
const MAX_TEXT: usize = 512;

/// The newest records and how many there ever were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    records: VecDeque<AuditRecord>,
    last: u64,
}

impl Audit {
    /// Adds a record.
    pub fn record(&mut self, time: u64, kind: &str, subject: &str, who: &str, why: &str) {
        self.last += 1;
        let (subject, who, why) = (cut(subject), cut(who), cut(why));
        self.records.push_back(AuditRecord { number: self.last, time, kind: kind.to_owned(), subject, who, why });
        if self.records.len() > MAX_RECORDS {
            self.records.pop_front();
        }
    }

    /// The records behind number `after` that are still kept, oldest first.
    pub fn after(&self, after: u64) -> impl Iterator<Item = &AuditRecord> {
        let kept = self.records.len() as u64;
        let skip = after.saturating_sub(self.last - kept).min(kept);
        self.records.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// The number of the newest record, 0 before there is one.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

fn cut(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = (0..=MAX_TEXT.min(text.len())).rev().find(|length| text.is_char_boundary(*length)).unwrap_or_default();
    text[..length].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_records_go_and_numbers_stay() {
        let mut audit = Audit::default();
        assert_eq!(audit.after(0).count(), 0);
        for number in 1..=MAX_RECORDS as u64 + 10 {
            audit.record(number, "joined", "n1", "leader n1", &"ü".repeat(400));
        }
        assert_eq!(audit.after(0).next().map(|record| record.number), Some(11));
        assert_eq!(audit.after(0).count(), MAX_RECORDS);
        let last = audit.last();
        assert_eq!(audit.after(last - 1).map(|record| record.number).collect::<Vec<_>>(), [last]);
        assert_eq!(audit.after(last).count() + audit.after(last + 5).count(), 0);
        assert!(audit.after(0).all(|record| record.why.len() <= MAX_TEXT));
    }
}
