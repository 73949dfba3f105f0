//! One exported disk: what it answers, its store, and the requests that are under way there.

use std::io;
use std::time::{Duration, Instant};

use nines_cli::log;

use crate::ata::{Extent, Failure};
use crate::commit::Commit;
use crate::order::Order;
use crate::stats::Counters;
use crate::store::Store;
use crate::target::Target;

/// An export.
#[derive(Debug)]
pub struct Export {
    /// What it answers.
    pub target: Target,
    /// The disk behind it.
    pub store: Store,
    /// The interfaces it is served on, by number.
    pub wires: Vec<usize>,
    /// Requests that are under way or wait for others.
    pub order: Order,
    /// Writes that are done and not yet durable.
    pub commit: Commit,
    /// What it has done so far.
    pub counters: Counters,
    last_complaint: Option<Instant>,
}

impl Export {
    /// An export on these interfaces, with room for `most` requests.
    #[must_use]
    pub fn new(target: Target, store: Store, wires: Vec<usize>, most: usize) -> Self {
        let (order, commit) = (Order::new(most), Commit::new(most));
        Self { target, store, wires, order, commit, counters: Counters::default(), last_complaint: None }
    }

    /// Counts a failure of the medium, and logs at most one a second.
    pub fn complain(&mut self, what: &str, extent: Option<Extent>, error: &io::Error) -> Failure {
        self.counters.disk_errors += 1;
        if self.last_complaint.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.last_complaint = Some(Instant::now());
            let (address, errors) = (self.target.address(), self.counters.disk_errors);
            let place = extent.map_or(String::new(), |at| format!(" of {} sectors at {}", at.sectors, at.first));
            log(format_args!("{address}: {what}{place}: {error} ({errors} errors so far)"));
        }
        if what == "read" { Failure::UNREADABLE } else { Failure::FAULT }
    }
}
