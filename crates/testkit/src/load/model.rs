//! What reads may find while writes to the same sectors are under way.
//!
//! Frames arrive in the order they are sent, and a target carries out overlapping requests in
//! order of arrival. So a read finds the newest write sent before it that was not lost on the
//! wire. Which ones were lost nobody knows at first; a read that finds an older write says so
//! about all between, and an answer to one of those proves the target wrong.

use std::collections::HashMap;

/// A way in which the target was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A read found what no write before it can have left there.
    Data,
    /// A write was answered after a read behind it had not found it.
    Order,
}

/// One sending of a write.
#[derive(Debug, Clone, Copy)]
struct Sending {
    first: u64,
    sectors: u8,
    write: u64,
    /// A read behind it did not find it.
    missed: bool,
}

/// What one sector of a read may be: each sending's number and the write it is of, the newest
/// last. Number 0 is what was there for certain.
type Candidates = Vec<(u64, u64)>;

/// A read's expectations, made when it is sent.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    first: u64,
    sectors: Vec<Candidates>,
}

/// The disk as it is known to be, and the writes under way.
#[derive(Debug)]
pub struct Model {
    /// The last write of each sector that is known to be carried out; 0 for none.
    certain: Vec<u64>,
    /// Later sendings that were not answered, in order.
    open: HashMap<u64, Candidates>,
    sendings: HashMap<u64, Sending>,
    last: u64,
}

impl Model {
    /// A disk nothing is known of.
    #[must_use]
    pub fn new(sectors: usize) -> Self {
        Self { certain: vec![0; sectors], open: HashMap::new(), sendings: HashMap::new(), last: 0 }
    }

    /// A write is sent, or sent again; returns the sending's number.
    pub fn sends(&mut self, first: u64, sectors: u8, write: u64) -> u64 {
        self.last += 1;
        self.sendings.insert(self.last, Sending { first, sectors, write, missed: false });
        for sector in first..first + u64::from(sectors) {
            self.open.entry(sector).or_default().push((self.last, write));
        }
        self.last
    }

    /// A sending is answered: it was carried out.
    ///
    /// # Errors
    /// It cannot have been, when it should.
    pub fn answered(&mut self, number: u64) -> Result<(), Wrong> {
        let Some(Sending { first, sectors, write, missed }) = self.sendings.remove(&number) else { return Ok(()) };
        for sector in first..first + u64::from(sectors) {
            let Some(open) = self.open.get_mut(&sector) else { continue };
            // What came before it is gone, and so is it from what is uncertain.
            let Some(at) = open.iter().position(|(other, _)| *other == number) else { continue };
            open.drain(..=at);
            if open.is_empty() {
                self.open.remove(&sector);
            }
            self.certain[index(sector)] = write;
        }
        if missed { Err(Wrong::Order) } else { Ok(()) }
    }

    /// A read is sent.
    #[must_use]
    pub fn expects(&self, first: u64, sectors: u8) -> Expected {
        let candidates = |sector| {
            let mut candidates = vec![(0, self.certain[index(sector)])];
            candidates.extend(self.open.get(&sector).into_iter().flatten());
            candidates
        };
        Expected { first, sectors: (first..first + u64::from(sectors)).map(candidates).collect() }
    }

    /// A read has found these writes, 0 standing for none of this run.
    ///
    /// # Errors
    /// One of them is not what the read had to find.
    pub fn found(&mut self, expected: &Expected, writes: impl Iterator<Item = Option<u64>>) -> Result<(), Wrong> {
        for (candidates, found) in expected.sectors.iter().zip(writes) {
            let at = candidates.iter().rposition(|(_, write)| Some(*write) == found).ok_or(Wrong::Data)?;
            for (newer, _) in &candidates[at + 1..] {
                // Answered already, it was not lost.
                self.sendings.get_mut(newer).ok_or(Wrong::Data)?.missed = true;
            }
        }
        Ok(())
    }

    /// Whether something is known of any of these sectors.
    #[must_use]
    pub fn knows(&self, first: u64, sectors: u8) -> bool {
        (first..first + u64::from(sectors)).any(|sector| self.certain[index(sector)] != 0)
    }
}

impl Expected {
    /// Where the read begins.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }
}

fn index(sector: u64) -> usize {
    usize::try_from(sector).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(model: &mut Model, expected: &Expected, write: u64) -> Result<(), Wrong> {
        model.found(expected, [Some(write)].into_iter())
    }

    #[test]
    fn a_read_finds_the_write_before_it_and_none_older() {
        let mut model = Model::new(8);
        let before = model.expects(3, 1);
        let first = model.sends(3, 1, 10);
        let second = model.sends(2, 2, 11);
        let between = model.expects(3, 1);
        assert_eq!(model.answered(first), Ok(()));
        assert_eq!(model.answered(second), Ok(()));
        assert_eq!(found(&mut model, &before, 10), Err(Wrong::Data), "not written yet");
        assert_eq!(found(&mut model, &before, 0), Ok(()));
        assert_eq!(found(&mut model, &between, 11), Ok(()));
        assert_eq!(found(&mut model, &between, 10), Err(Wrong::Data), "the second one was answered");
        let after = model.expects(3, 1);
        assert_eq!(found(&mut model, &after, 11), Ok(()));
        assert_eq!(found(&mut model, &after, 10), Err(Wrong::Data));
        assert_eq!(model.found(&after, [None].into_iter()), Err(Wrong::Data), "torn");
        assert!(model.knows(0, 3) && !model.knows(0, 2));
    }

    #[test]
    fn a_lost_write_may_be_missed_and_then_not_be_answered() {
        let mut model = Model::new(8);
        let first = model.sends(0, 1, 10);
        assert_eq!(model.answered(first), Ok(()));
        let lost = model.sends(0, 1, 11);
        let read = model.expects(0, 1);
        assert_eq!(found(&mut model, &read, 10), Ok(()), "it may have been lost");
        let again = model.sends(0, 1, 11);
        let read = model.expects(0, 1);
        assert_eq!(found(&mut model, &read, 11), Ok(()));
        assert_eq!(model.answered(again), Ok(()));
        assert_eq!(model.answered(lost), Err(Wrong::Order), "it was there and the read did not find it");
    }

    #[test]
    fn an_older_write_that_lands_late_shows() {
        let mut model = Model::new(8);
        let (first, again) = (model.sends(0, 2, 10), model.sends(0, 2, 10));
        assert_eq!(model.answered(again), Ok(()));
        let newer = model.sends(1, 1, 11);
        assert_eq!(model.answered(newer), Ok(()));
        let read = model.expects(0, 2);
        assert_eq!(model.answered(first), Ok(()), "its answer was only slow");
        assert_eq!(model.found(&read, [Some(10), Some(11)].into_iter()), Ok(()));
        assert_eq!(model.found(&read, [Some(10), Some(10)].into_iter()), Err(Wrong::Data));
    }
}
