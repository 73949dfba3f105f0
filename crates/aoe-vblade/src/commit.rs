//! Group commit: the writes that are done while the disk is busy with one flush become durable
//! together by the next.
//!
//! One flush is under way at a time. It covers the writes that were done before it began, so
//! only those are answered when it ends.

/// The writes of one export that are done and not yet durable.
#[derive(Debug)]
pub struct Commit {
    /// Done since the flush under way began.
    waiting: Vec<u32>,
    /// Covered by the flush under way.
    covered: Vec<u32>,
    flushing: bool,
}

impl Commit {
    /// Room for `most` requests; no memory is taken later.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { waiting: Vec::with_capacity(most), covered: Vec::with_capacity(most), flushing: false }
    }

    /// A write is done, or a client asks for a flush. True when it is the first that the flush
    /// under way, if any, does not cover: a flush may be due.
    pub fn add(&mut self, request: u32) -> bool {
        self.waiting.push(request);
        self.waiting.len() == 1
    }

    /// How many wait for a flush, under way or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.covered.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a flush is to be started now, which it then has to be.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        if self.flushing || self.waiting.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.waiting, &mut self.covered);
        self.flushing = true;
        true
    }

    /// The flush is over, well or not: `told` gets each request it covered.
    pub fn end(&mut self, told: impl FnMut(u32)) {
        self.flushing = false;
        self.covered.drain(..).for_each(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(commit: &mut Commit) -> Vec<u32> {
        let mut told = Vec::new();
        commit.end(|request| told.push(request));
        told
    }

    #[test]
    fn a_flush_covers_what_was_done_before_it_began_and_nothing_else() {
        let mut commit = Commit::new(8);
        assert!(!commit.begin(), "nothing to flush");
        assert!(commit.add(1));
        assert!(!commit.add(2));
        assert!(commit.begin());
        assert!(commit.add(3));
        assert!(!commit.begin(), "one at a time");
        assert_eq!(commit.len(), 3);
        assert_eq!(ended(&mut commit), [1, 2]);
        assert!(commit.begin());
        assert_eq!(ended(&mut commit), [3]);
        assert!(commit.is_empty() && !commit.begin());
    }
}
