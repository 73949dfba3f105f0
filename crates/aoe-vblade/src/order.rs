//! Which requests may run at the same time. Those that overlap run in the order they arrived,
//! unless both only read; everything else runs at once.
//!
//! An initiator repeats a request under a new tag when no answer came in time, and ignores the
//! answer to the old one: were the two writes not kept in order with what the initiator sends
//! next, a slow first copy could land on top of newer data.

use std::ops::Range;

/// What a request does to its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looks at it.
    Read,
    /// Changes it.
    Write,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    request: u32,
    first: u64,
    /// One past the last sector.
    end: u64,
    access: Access,
    /// Whose it is.
    client: u16,
    /// Earlier entries that have to be done first.
    behind: u32,
}

impl Entry {
    fn conflicts(&self, other: &Self) -> bool {
        let both_read = self.access == Access::Read && other.access == Access::Read;
        !both_read && self.first < other.end && other.first < self.end
    }
}

/// What is known of a request that has been added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// It may run now; otherwise [`Order::done`] tells when.
    pub runs: bool,
    /// This client has the same request under way or waiting: its answer was late or lost.
    pub repeats: bool,
}

/// The requests of one export that are under way or wait, in order of arrival.
#[derive(Debug)]
pub struct Order {
    entries: Vec<Entry>,
}

impl Order {
    /// Room for `most` requests; no memory is taken later.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { entries: Vec::with_capacity(most) }
    }

    /// How many are under way or wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a request.
    pub fn add(&mut self, request: u32, sectors: &Range<u64>, access: Access, client: u16) -> Admission {
        let Range { start: first, end } = *sectors;
        let mut new = Entry { request, first, end, access, client, behind: 0 };
        let mut repeats = false;
        for entry in &self.entries {
            new.behind += u32::from(entry.conflicts(&new));
            repeats |= (entry.first, entry.end, entry.access, entry.client) == (first, end, access, client);
        }
        self.entries.push(new);
        Admission { runs: new.behind == 0, repeats }
    }

    /// A request is done, or given up. Those that may run now are told to `free`, in order.
    pub fn done(&mut self, request: u32, mut free: impl FnMut(u32)) {
        let Some(at) = self.entries.iter().position(|entry| entry.request == request) else { return };
        let gone = self.entries.remove(at);
        for entry in &mut self.entries[at..] {
            if entry.conflicts(&gone) {
                entry.behind -= 1;
                if entry.behind == 0 {
                    free(entry.request);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Read, Write};
    use proptest::prelude::*;

    fn extent(first: u64, sectors: u8) -> Range<u64> {
        first..first + u64::from(sectors)
    }

    fn runs(order: &mut Order, request: u32, sectors: &Range<u64>, access: Access, client: u16) -> bool {
        order.add(request, sectors, access, client).runs
    }

    fn done(order: &mut Order, request: u32) -> Vec<u32> {
        let mut free = Vec::new();
        order.done(request, |request| free.push(request));
        free
    }

    #[test]
    fn a_repeated_write_waits_for_the_first_and_the_next_write_for_both() {
        let mut order = Order::new(8);
        assert!(runs(&mut order, 1, &extent(8, 8), Write, 0));
        assert!(!runs(&mut order, 2, &extent(8, 8), Write, 0));
        assert!(!runs(&mut order, 3, &extent(15, 1), Write, 0));
        assert!(runs(&mut order, 4, &extent(16, 8), Write, 0), "beside it");
        assert_eq!(done(&mut order, 1), [2]);
        assert_eq!(done(&mut order, 2), [3]);
        assert!(done(&mut order, 3).is_empty());
        assert!(done(&mut order, 4).is_empty());
        assert!(order.is_empty());
    }

    #[test]
    fn reads_share_and_a_write_waits_for_all_of_them() {
        let mut order = Order::new(8);
        assert!(runs(&mut order, 1, &extent(0, 4), Read, 0));
        assert!(runs(&mut order, 2, &extent(2, 4), Read, 0));
        assert!(!runs(&mut order, 3, &extent(3, 1), Write, 0));
        assert!(!runs(&mut order, 4, &extent(0, 4), Read, 0), "what was written before it is what it reads");
        assert!(done(&mut order, 1).is_empty());
        assert_eq!(done(&mut order, 2), [3]);
        assert_eq!(done(&mut order, 3), [4]);
    }

    #[test]
    fn the_same_request_of_the_same_client_is_a_repetition() {
        let mut order = Order::new(8);
        let mut repeats = |request, sectors, access, client| order.add(request, &sectors, access, client).repeats;
        assert!(!repeats(1, extent(8, 8), Write, 3));
        assert!(!repeats(2, extent(8, 8), Write, 4));
        assert!(!repeats(3, extent(8, 8), Read, 3));
        assert!(!repeats(4, extent(8, 7), Write, 3));
        assert!(repeats(5, extent(8, 8), Write, 3));
        for request in 1..=5 {
            done(&mut order, request);
        }
        assert!(!order.add(6, &extent(8, 8), Write, 3).repeats);
    }

    proptest! {
        /// Against the definition: a request runs once every earlier one it conflicts with is done.
        #[test]
        fn requests_run_as_soon_as_they_may_and_no_sooner(
            requests in proptest::collection::vec((0_u64..20, 1_u8..6, any::<bool>()), 1..60),
            choices in proptest::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            let all: Vec<Entry> = requests
                .iter()
                .zip(0..)
                .map(|((first, sectors, write), request)| {
                    let Range { start: first, end } = extent(*first, *sectors);
                    Entry { request, first, end, access: if *write { Write } else { Read }, client: 0, behind: 0 }
                })
                .collect();
            let mut order = Order::new(all.len());
            let (mut running, mut gone) = (Vec::new(), vec![false; all.len()]);
            for entry in &all {
                let sectors = entry.first..entry.end;
                if order.add(entry.request, &sectors, entry.access, 0).runs {
                    running.push(entry.request);
                }
            }
            for choice in choices {
                if running.is_empty() {
                    break;
                }
                let request = running.remove(choice.index(running.len()));
                gone[request as usize] = true;
                order.done(request, |free| running.push(free));
                for (number, entry) in all.iter().enumerate().filter(|(number, _)| !gone[*number]) {
                    let may = all[..number].iter().enumerate().all(|(at, earlier)| gone[at] || !earlier.conflicts(entry));
                    prop_assert_eq!(may, running.contains(&entry.request));
                }
            }
            prop_assert!(running.is_empty() && (order.is_empty() || gone.iter().any(|gone| !gone)));
        }
    }
}
