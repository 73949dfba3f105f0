//! One key of the key space: a register with compare-and-set.
//!
//! Revisions tell the order of the changes that were answered. A change that was not answered
//! still has a known revision if anybody saw its value, since no two clients write the same one.

use std::collections::BTreeMap;

use nines_proto::ctl::ErrorKind;

use crate::record::{Answered, Asked, History};
use crate::search::{Model, Op};

/// What happens to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `revision` is absent when nobody knows it.
    Put {
        value: String,
        if_revision: Option<u64>,
        revision: Option<u64>,
    },
    Delete {
        if_revision: Option<u64>,
        revision: Option<u64>,
    },
    /// It was told that the revision is another one.
    Changed {
        if_revision: Option<u64>,
    },
    /// It was told that there is no such key.
    Missing,
    Get {
        entry: Option<(String, u64)>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    Anything,
    Absent,
    Value(String, u64),
    /// A value that nobody saw, of a revision that nobody knows.
    Unseen(String),
}

impl State {
    /// Whether a change on that condition happens.
    fn meets(&self, if_revision: Option<u64>) -> bool {
        match (if_revision, self) {
            (None, _) | (_, Self::Anything) | (Some(0), Self::Absent) => true,
            (Some(wanted), Self::Value(_, revision)) => wanted == *revision,
            (Some(_), Self::Absent | Self::Unseen(_)) => false,
        }
    }

    fn exists(&self) -> bool {
        *self != Self::Absent
    }
}

/// The model.
#[derive(Debug)]
pub struct Registers;

impl Model for Registers {
    type What = What;
    type State = State;

    fn start() -> State {
        State::Absent
    }

    fn anything() -> State {
        State::Anything
    }

    fn apply(state: &State, what: &What) -> Option<State> {
        match what {
            What::Put { value, if_revision, revision } => match (state.meets(*if_revision), revision) {
                (true, Some(revision)) => Some(State::Value(value.clone(), *revision)),
                (true, None) => Some(State::Unseen(value.clone())),
                // An answered change did happen; another may have been refused unheard.
                (false, Some(_)) => None,
                (false, None) => Some(state.clone()),
            },
            What::Delete { if_revision, revision } => match (state.meets(*if_revision) && state.exists(), revision) {
                (true, _) => Some(State::Absent),
                (false, Some(_)) => None,
                (false, None) => Some(state.clone()),
            },
            What::Changed { if_revision } => {
                (*state == State::Anything || !state.meets(*if_revision)).then(|| state.clone())
            }
            What::Missing => matches!(state, State::Anything | State::Absent).then_some(State::Absent),
            What::Get { entry } => {
                let seen = match entry {
                    None => State::Absent,
                    Some((value, revision)) => State::Value(value.clone(), *revision),
                };
                (*state == State::Anything || *state == seen).then_some(seen)
            }
        }
    }

    fn rank(what: &What) -> Option<u64> {
        match what {
            What::Put { revision, .. } | What::Delete { revision, .. } => *revision,
            _ => None,
        }
    }
}

/// The operations on each key, in the form the search needs.
#[must_use]
pub fn by_key(history: &History) -> BTreeMap<String, Vec<Op<What>>> {
    let mut seen: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for operation in &history.operations {
        if let (Asked::Get { key }, Some((_, Answered::Seen { entry: Some((value, revision)), .. }))) =
            (&operation.asked, &operation.answered)
        {
            seen.insert((key, value), *revision);
        }
    }
    let mut keys: BTreeMap<String, Vec<Op<What>>> = BTreeMap::new();
    for (id, operation) in history.operations.iter().enumerate() {
        let answer = operation.answered.as_ref().map(|(_, answered)| answered);
        let heard = operation.answered.as_ref().map(|(at, _)| *at);
        let (key, returned, what) = match (&operation.asked, answer) {
            // It did nothing.
            (_, Some(Answered::Refused(ErrorKind::Invalid | ErrorKind::Denied))) => continue,
            (
                Asked::Put { key, if_revision, .. } | Asked::Delete { key, if_revision },
                Some(Answered::Refused(ErrorKind::Changed)),
            ) => (key, heard, What::Changed { if_revision: *if_revision }),
            (Asked::Delete { key, .. }, Some(Answered::Refused(ErrorKind::Unknown))) => (key, heard, What::Missing),
            (Asked::Put { key, value, if_revision }, Some(Answered::Wrote { revision })) => {
                let (value, if_revision) = (value.clone(), *if_revision);
                (key, heard, What::Put { value, if_revision, revision: Some(*revision) })
            }
            // No answer, or one that does not say that it will not happen.
            (Asked::Put { key, value, if_revision }, _) => {
                let revision = seen.get(&(key.as_str(), value.as_str())).copied();
                let (value, if_revision) = (value.clone(), *if_revision);
                (key, None, What::Put { value, if_revision, revision })
            }
            (Asked::Delete { key, if_revision }, Some(Answered::Wrote { revision })) => {
                (key, heard, What::Delete { if_revision: *if_revision, revision: Some(*revision) })
            }
            (Asked::Delete { key, if_revision }, _) => {
                (key, None, What::Delete { if_revision: *if_revision, revision: None })
            }
            (Asked::Get { key }, Some(Answered::Seen { entry, .. })) => {
                (key, heard, What::Get { entry: entry.clone() })
            }
            _ => continue,
        };
        keys.entry(key.clone()).or_default().push(Op { id, called: operation.called, returned, soon: false, what });
    }
    keys
}
