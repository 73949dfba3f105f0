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

    /// Whether a request could run now.
    #[must_use]
    pub fn is_free(&self, sectors: &Range<u64>, access: Access) -> bool {
        let new = entry(0, sectors, access);
        !self.entries.iter().any(|entry| entry.conflicts(&new))
    }

    /// Whether this client has the same request under way or waiting: its answer was late or lost.
    #[must_use]
    pub fn repeats(&self, sectors: &Range<u64>, access: Access, client: u16) -> bool {
        let same = |entry: &Entry| entry.first == sectors.start && entry.end == sectors.end && entry.access == access;
        self.entries.iter().any(|entry| entry.client == client && same(entry))
    }

    /// Adds a request. True when it may run now; otherwise [`done`](Self::done) tells when.
    #[must_use]
    pub fn add(&mut self, request: u32, sectors: &Range<u64>, access: Access, client: u16) -> bool {
        let mut new = Entry { client, ..entry(request, sectors, access) };
        for entry in &self.entries {
            new.behind += u32::from(entry.conflicts(&new));
        }
        self.entries.push(new);
        new.behind == 0
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

fn entry(request: u32, sectors: &Range<u64>, access: Access) -> Entry {
    Entry { request, first: sectors.start, end: sectors.end, access, client: 0, behind: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Read, Write};
    use proptest::prelude::*;

    fn extent(first: u64, sectors: u8) -> Range<u64> {
        first..first + u64::from(sectors)
    }

    fn done(order: &mut Order, request: u32) -> Vec<u32> {
        let mut free = Vec::new();
        order.done(request, |request| free.push(request));
        free
    }

    #[test]
    fn a_repeated_write_waits_for_the_first_and_the_next_write_for_both() {
        let mut order = Order::new(8);
        assert!(order.add(1, &extent(8, 8), Write, 0));
        assert!(!order.add(2, &extent(8, 8), Write, 0));
        assert!(!order.add(3, &extent(15, 1), Write, 0));
        assert!(order.add(4, &extent(16, 8), Write, 0), "beside it");
        assert_eq!(done(&mut order, 1), [2]);
        assert_eq!(done(&mut order, 2), [3]);
        assert!(done(&mut order, 3).is_empty());
        assert!(done(&mut order, 4).is_empty());
        assert!(order.is_empty());
    }

    #[test]
    fn reads_share_and_a_write_waits_for_all_of_them() {
        let mut order = Order::new(8);
        assert!(order.add(1, &extent(0, 4), Read, 0));
        assert!(order.add(2, &extent(2, 4), Read, 0));
        assert!(!order.is_free(&extent(3, 1), Write));
        assert!(!order.add(3, &extent(3, 1), Write, 0));
        assert!(!order.add(4, &extent(0, 4), Read, 0), "what was written before it is what it reads");
        assert!(order.is_free(&extent(5, 1), Read));
        assert!(done(&mut order, 1).is_empty());
        assert_eq!(done(&mut order, 2), [3]);
        assert_eq!(done(&mut order, 3), [4]);
    }

    #[test]
    fn the_same_request_of_the_same_client_is_a_repetition() {
        let mut order = Order::new(8);
        assert!(order.add(1, &extent(8, 8), Write, 3));
        assert!(order.repeats(&extent(8, 8), Write, 3));
        for (other, access, client) in [(extent(8, 8), Write, 4), (extent(8, 8), Read, 3), (extent(8, 7), Write, 3)] {
            assert!(!order.repeats(&other, access, client));
        }
        done(&mut order, 1);
        assert!(!order.repeats(&extent(8, 8), Write, 3));
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
                .map(|((first, sectors, write), number)| entry(number, &extent(*first, *sectors), if *write { Write } else { Read }))
                .collect();
            let mut order = Order::new(all.len());
            let (mut running, mut gone) = (Vec::new(), vec![false; all.len()]);
            for entry in &all {
                let sectors = entry.first..entry.end;
                let free = order.is_free(&sectors, entry.access);
                let runs = order.add(entry.request, &sectors, entry.access, 0);
                prop_assert_eq!(free, runs);
                if runs {
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
