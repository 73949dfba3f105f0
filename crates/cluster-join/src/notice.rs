//! Log lines that repeat are written once in a while, not each time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same text about the same thing again only after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// Most things that are remembered.
const MAX: usize = 64;

/// What was said last about each thing.
#[derive(Debug, Default)]
pub struct Notices(Mutex<BTreeMap<String, (String, Instant)>>);

impl Notices {
    /// Logs `text` about `what`, unless that was said lately.
    pub fn say(&self, what: &str, text: &str) {
        self.say_of(what, what, text);
    }

    /// As [`Self::say`], where several things go by one name: `key` tells them apart.
    pub fn say_of(&self, key: &str, what: &str, text: &str) {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get(key) {
            Some((last, at)) if last == text && now.duration_since(*at) < AGAIN => return,
            // Texts that alternate, as those of many strangers do, are no more welcome.
            Some((_, at)) if now.duration_since(*at) < Duration::from_secs(1) => return,
            None if said.len() >= MAX => return,
            _ => {}
        }
        said.insert(key.to_owned(), (text.to_owned(), now));
        nines_cli::log(format_args!("{what}: {text}"));
    }

    /// All is well with `key`: the next complaint is news.
    pub fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
