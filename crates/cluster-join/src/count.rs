//! What this daemon refused or gave up since it started, by cause.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. There are no others, so that nobody can make the list grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Sessions that did not open: the other side has another key,
    Key,
    /// is of another cluster,
    Cluster,
    /// is no node of this one, or not the one it should be,
    Node,
    /// sends what is no greeting,
    Malformed,
    /// plays a recorded greeting again,
    Replayed,
    /// says nothing, or not all of it,
    Silent,
    /// or was one too many of those.
    Crowd,
    /// Sessions ended for a record that was altered, replayed, reordered or left out.
    Record,
    /// Messages of a node that no node sends.
    Message,
    /// Messages to a node that waits for too many already.
    Dropped,
    /// Clients that sent a line without end, did not read, or were too many.
    HungUp,
}

const NAMES: [(Cause, &str); 11] = [
    (Cause::Key, "refused-key"),
    (Cause::Cluster, "refused-cluster"),
    (Cause::Node, "refused-node"),
    (Cause::Malformed, "refused-malformed"),
    (Cause::Replayed, "refused-replayed"),
    (Cause::Silent, "refused-silent"),
    (Cause::Crowd, "refused-crowd"),
    (Cause::Record, "records-refused"),
    (Cause::Message, "messages-malformed"),
    (Cause::Dropped, "messages-dropped"),
    (Cause::HungUp, "clients-hung-up"),
];

/// One number for each [`Cause`].
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    pub fn add(&self, cause: Cause) {
        self.0[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, for [`nines_proto::ctl::Status::counters`].
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, u64> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        NAMES.iter().zip(counts).map(|((_, name), count)| ((*name).to_owned(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_counts_under_its_own_name() {
        for (index, (cause, name)) in NAMES.iter().enumerate() {
            assert_eq!(*cause as usize, index);
            let counters = Counters::default();
            counters.add(*cause);
            let list = counters.list();
            assert_eq!((list.len(), list[*name], list.values().sum::<u64>()), (NAMES.len(), 1, 1));
        }
    }
}
