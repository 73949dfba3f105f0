//! Status words. LVM2 has two lists: an unknown word in `status` makes a group unreadable, one in
//! `flags` may be ignored by older programs.

/// The words that are set, in the order LVM2 writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags(Vec<&'static str>);

pub const VG_STATUS: &[&str] = &["EXPORTED", "RESIZEABLE", "PVMOVE", "READ", "WRITE", "CLUSTERED", "SHARED"];
pub const VG_FLAGS: &[&str] = &["WRITE_LOCKED", "NOAUTOACTIVATE"];
pub const PV_STATUS: &[&str] = &["ALLOCATABLE", "EXPORTED", "MISSING"];
pub const PV_FLAGS: &[&str] = &["MISSING"];
pub const LV_STATUS: &[&str] =
    &["READ", "WRITE", "FIXED_MINOR", "VISIBLE", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY"];
pub const LV_FLAGS: &[&str] = &["WRITE_LOCKED", "ACTIVATION_SKIP", "NOAUTOACTIVATE", "ERROR_WHEN_FULL", "CACHE_VOL"];

impl Flags {
    /// Those of `words` that `known` has, in the order they are given.
    #[must_use]
    pub fn of(known: &[&'static str], words: &[&str]) -> Self {
        let mut flags = Self::default();
        for word in words {
            flags.read(known, word);
        }
        flags
    }

    /// Adds a word of a text; answers whether it is known. The order of the text is kept.
    pub(super) fn read(&mut self, known: &[&'static str], word: &str) -> bool {
        let Some(word) = known.iter().find(|name| **name == word) else { return false };
        if !self.has(word) {
            self.0.push(word);
        }
        true
    }

    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// Sets or clears a word of `known`, where LVM2 would write it.
    pub fn set(&mut self, known: &[&'static str], word: &str, on: bool) {
        self.0.retain(|name| *name != word);
        if on && let Some(rank) = known.iter().position(|name| *name == word) {
            let rank_of = |name: &&str| known.iter().position(|known| known == name);
            let at = self.0.iter().position(|name| rank_of(name) > Some(rank)).unwrap_or(self.0.len());
            self.0.insert(at, known[rank]);
        }
    }

    #[must_use]
    pub fn words(&self) -> &[&'static str] {
        &self.0
    }
}
