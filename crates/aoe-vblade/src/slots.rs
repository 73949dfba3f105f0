//! Things with numbers that stay theirs while others come and go.

use std::ops::{Index, IndexMut};

/// A list with holes, which are filled first.
#[derive(Debug)]
pub struct Slots<T>(Vec<Option<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Adds one and returns its number.
    pub fn add(&mut self, one: T) -> usize {
        if let Some(hole) = self.0.iter().position(Option::is_none) {
            self.0[hole] = Some(one);
            return hole;
        }
        self.0.push(Some(one));
        self.0.len() - 1
    }

    /// Takes one out; its number will be another's.
    pub fn remove(&mut self, number: usize) -> Option<T> {
        self.0.get_mut(number)?.take()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All numbers are below this.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.0.len()
    }

    /// Each with its number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.0.iter().enumerate().filter_map(|(number, one)| Some((number, one.as_ref()?)))
    }

    /// Each with its number, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.0.iter_mut().enumerate().filter_map(|(number, one)| Some((number, one.as_mut()?)))
    }

    /// One that may be gone.
    #[must_use]
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.0.get_mut(number)?.as_mut()
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        self.0[number].as_ref().expect("a slot in use")
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        self.0[number].as_mut().expect("a slot in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_holes_are_filled() {
        let mut slots = Slots::default();
        assert_eq!(['a', 'b', 'c'].map(|one| slots.add(one)), [0, 1, 2]);
        assert_eq!(slots.remove(1), Some('b'));
        assert_eq!((slots.remove(1), slots.remove(9), slots.len()), (None, None, 2));
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(0, &'a'), (2, &'c')]);
        assert_eq!((slots[2], slots.add('d'), slots.add('e')), ('c', 1, 3));
    }
}
