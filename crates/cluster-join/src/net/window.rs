//! Which messages of a node came before, over its other link.
//!
//! A message goes over every link there is, under one number. The first copy counts; since each
//! link keeps its order, so do the first copies as long as the links come and go between them.

/// How far behind the newest a message may be and still be told from a copy: more than wait for
/// one link and fit in its socket's buffers.
const WIDTH: u64 = 8192;
const WORDS: usize = (WIDTH / 64) as usize;

/// The numbers seen of one run of a node's daemon.
#[derive(Debug)]
pub struct Window {
    run: u64,
    newest: u64,
    seen: Box<[u64; WORDS]>,
}

impl Default for Window {
    fn default() -> Self {
        Self { run: 0, newest: 0, seen: Box::new([0; WORDS]) }
    }
}

impl Window {
    /// Notes message `number` of the run `run`; false when it was noted before, or is too old to
    /// tell.
    pub fn fresh(&mut self, run: u64, number: u64) -> bool {
        if run != self.run {
            *self = Self { run, ..Self::default() };
        }
        if number > self.newest {
            if number - self.newest >= WIDTH {
                self.seen.fill(0);
            } else {
                for between in self.newest + 1..=number {
                    self.mark(between, false);
                }
            }
            self.newest = number;
        } else if self.newest - number >= WIDTH || self.marked(number) {
            return false;
        }
        self.mark(number, true);
        true
    }

    fn place(number: u64) -> (usize, u64) {
        // Below WORDS, which fits.
        let word = usize::try_from(number % WIDTH / 64).unwrap_or_default();
        (word, 1 << (number % 64))
    }

    fn marked(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    fn mark(&mut self, number: u64, on: bool) {
        let (word, bit) = Self::place(number);
        if on {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    #[test]
    fn the_second_copy_of_a_message_is_none_and_a_late_one_is_taken_once() {
        let mut window = Window::default();
        assert!([1, 2, 5].into_iter().all(|number| window.fresh(7, number)));
        assert!([1, 2, 5].into_iter().all(|number| !window.fresh(7, number)));
        assert!(window.fresh(7, 3) && !window.fresh(7, 3) && window.fresh(7, 4));
        // Far ahead, and what is then too old to tell.
        assert!(window.fresh(7, 5 + 3 * WIDTH) && !window.fresh(7, 6) && window.fresh(7, 6 + 2 * WIDTH));
        assert!(window.fresh(7, u64::MAX) && !window.fresh(7, u64::MAX));
    }

    #[test]
    fn a_daemon_that_started_again_counts_from_one() {
        let mut window = Window::default();
        assert!(window.fresh(7, 1000) && window.fresh(8, 1) && !window.fresh(8, 1) && window.fresh(8, 2));
    }

    proptest! {
        #[test]
        fn within_its_width_it_is_a_set(steps in prop::collection::vec((0u64..200, 0u64..3), 0..400)) {
            let (mut window, mut seen, mut base) = (Window::default(), BTreeSet::new(), 1);
            for (offset, advance) in steps {
                base += advance * 40;
                prop_assert_eq!(window.fresh(1, base + offset), seen.insert(base + offset));
            }
        }
    }
}
