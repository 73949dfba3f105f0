//! One resource of the lock table: who may hold it together, and in which order it was granted.
//!
//! Generations tell the order of grants, so what is searched for is the place of everything else
//! between them. A refusal is taken for no effect, though the daemon may have granted and taken
//! back behind the caller's back: that shows only in others being refused, and such refusals are
//! not held against anybody ([`Limbo`]).

use std::collections::BTreeMap;

use nines_proto::ctl::{ErrorKind, Mode};

use crate::record::{Answered, Asked, History};
use crate::search::{Model, Op};

/// A session of a client, numbered through the history.
pub type Owner = u32;

/// What happens to a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Grant {
        owner: Owner,
        mode: Mode,
        generation: u64,
    },
    Convert {
        owner: Owner,
        mode: Mode,
        generation: u64,
    },
    /// A conversion to a weaker mode whose answer was not heard.
    Weaken {
        owner: Owner,
        mode: Mode,
    },
    Release {
        owner: Owner,
    },
    /// It was told that it holds nothing.
    HoldsNothing {
        owner: Owner,
    },
    /// It was told that others are in the way.
    Busy {
        owner: Owner,
        mode: Mode,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Those who are not in `holders` may hold something.
    anything: bool,
    generation: u64,
    holders: BTreeMap<Owner, (Mode, u64)>,
}

impl State {
    /// Who holds it, for people.
    pub fn holders(&self) -> impl Iterator<Item = (Owner, Mode, u64)> {
        self.holders.iter().map(|(owner, (mode, generation))| (*owner, *mode, *generation))
    }

    fn admits(&self, owner: Owner, mode: Mode) -> bool {
        self.holders.iter().all(|(holder, (held, _))| *holder == owner || held.compatible(mode))
    }
}

/// The model.
#[derive(Debug)]
pub struct Locks;

impl Model for Locks {
    type What = What;
    type State = State;

    fn start() -> State {
        State { anything: false, generation: 0, holders: BTreeMap::new() }
    }

    fn anything() -> State {
        State { anything: true, ..Self::start() }
    }

    fn apply(state: &State, what: &What) -> Option<State> {
        let mut next = state.clone();
        match *what {
            What::Grant { owner, mode, generation } => {
                if state.holders.contains_key(&owner) || !state.admits(owner, mode) || generation <= state.generation {
                    return None;
                }
                next.generation = generation;
                next.holders.insert(owner, (mode, generation));
            }
            What::Convert { owner, mode, generation } => {
                let held = state.holders.get(&owner);
                let known = held.is_some() || state.anything;
                if !known || !state.admits(owner, mode) || generation <= state.generation {
                    return None;
                }
                next.generation = generation;
                next.holders.insert(owner, (mode, generation));
            }
            What::Weaken { owner, mode } => {
                if let Some((held, _)) = next.holders.get_mut(&owner)
                    && held.is_down_conversion_to(mode)
                {
                    *held = mode;
                }
            }
            What::Release { owner } => {
                next.holders.remove(&owner);
            }
            What::HoldsNothing { owner } => {
                if state.holders.contains_key(&owner) {
                    return None;
                }
            }
            What::Busy { owner, mode } => {
                if state.admits(owner, mode) && !state.anything {
                    return None;
                }
            }
        }
        Some(next)
    }

    fn rank(what: &What) -> Option<u64> {
        match what {
            What::Grant { generation, .. } | What::Convert { generation, .. } => Some(*generation),
            _ => None,
        }
    }
}

/// From when to when a session may have been in others' way without a trace in the history:
/// waiting, granted and taken back, or holding until its end was noticed.
#[derive(Debug, Clone, Copy)]
struct Limbo {
    owner: Owner,
    from: u64,
    until: u64,
}

/// The operations on each resource, in the form the search needs.
#[must_use]
pub fn by_resource(history: &History) -> BTreeMap<String, Vec<Op<What>>> {
    let mut resources: BTreeMap<String, (Vec<Op<What>>, Vec<Limbo>)> = BTreeMap::new();
    let mut rest = history.operations.as_slice();
    let mut owner: Owner = 0;
    while let Some(first) = rest.first() {
        let same = |operation: &&crate::record::Operation| {
            operation.client == first.client && operation.session == first.session
        };
        let count = rest.iter().take_while(same).count();
        let begin = history.operations.len() - rest.len();
        session(history, begin..begin + count, owner, &mut resources);
        rest = &rest[count..];
        owner += 1;
    }
    resources
        .into_iter()
        .map(|(name, (mut ops, limbos))| {
            ops.retain(|op| justified_by_holders_alone(op, &limbos));
            wait_for_the_refused(&mut ops);
            (name, ops)
        })
        .collect()
}

/// Which session each [`Owner`] is: its client's place and its number.
#[must_use]
pub fn owners(history: &History) -> Vec<(usize, u64)> {
    let mut owners: Vec<(usize, u64)> =
        history.operations.iter().map(|operation| (operation.client, operation.session)).collect();
    owners.dedup();
    owners
}

fn justified_by_holders_alone(op: &Op<What>, limbos: &[Limbo]) -> bool {
    let (What::Busy { owner, .. }, Some(returned)) = (&op.what, op.returned) else { return true };
    !limbos.iter().any(|limbo| limbo.owner != *owner && limbo.from <= returned && limbo.until >= op.called)
}

/// Giving up rights does no harm to anybody but those whose refusal it would leave unexplained.
fn wait_for_the_refused(ops: &mut [Op<What>]) {
    let mut refused: Vec<(u64, u64)> = Vec::new();
    for op in ops.iter() {
        if let (What::Busy { .. }, Some(returned)) = (&op.what, op.returned) {
            refused.push((op.called, returned));
        }
    }
    refused.sort_unstable();
    // Refused calls are short, and no longer than the longest.
    let longest = refused.iter().map(|(called, returned)| returned - called).max().unwrap_or_default();
    for op in ops {
        let gives_up = matches!(op.what, What::Release { .. } | What::Weaken { .. } | What::Convert { .. });
        let until = op.returned.unwrap_or(u64::MAX);
        let first = refused.partition_point(|(called, _)| called + longest < op.called);
        let near = refused[first..].iter().take_while(|(called, _)| *called <= until);
        op.soon = !(gives_up && near.into_iter().any(|(_, returned)| *returned >= op.called));
    }
}

/// Takes apart what one session did.
fn session(
    history: &History,
    range: std::ops::Range<usize>,
    owner: Owner,
    resources: &mut BTreeMap<String, (Vec<Op<What>>, Vec<Limbo>)>,
) {
    let operations = &history.operations[range.clone()];
    let mut held: BTreeMap<&str, Mode> = BTreeMap::new();
    // A connection's calls take effect in their order, so a later one that did ends what went before.
    let next_effect = |after: usize| {
        let later = operations[after + 1..].iter().filter_map(|operation| operation.answered.as_ref());
        let effects = later.filter(|(_, answered)| matches!(answered, Answered::Granted { .. } | Answered::Done));
        effects.map(|(at, _)| *at).next().unwrap_or(u64::MAX)
    };
    let mut end = None;
    for (place, operation) in operations.iter().enumerate() {
        let id = range.start + place;
        let returned = operation.answered.as_ref().map(|(at, _)| *at);
        end = Some((id, returned.unwrap_or(operation.called)));
        let resource = match &operation.asked {
            Asked::Lock { resource, .. } | Asked::Convert { resource, .. } | Asked::Unlock { resource } => resource,
            _ => continue,
        };
        let (ops, limbos) = resources.entry(resource.clone()).or_default();
        let op = |what| Op { id, called: operation.called, returned, soon: true, what };
        let limbo = |until| Limbo { owner, from: operation.called, until };
        match (&operation.asked, operation.answered.as_ref().map(|(_, answered)| answered)) {
            (Asked::Lock { mode, wait, .. }, Some(Answered::Granted { generation })) => {
                ops.push(op(What::Grant { owner, mode: *mode, generation: *generation }));
                held.insert(resource, *mode);
                limbos.extend(wait.then(|| limbo(returned.unwrap_or(u64::MAX))));
            }
            (Asked::Lock { mode, wait: false, .. }, Some(Answered::Refused(ErrorKind::Busy))) => {
                ops.push(op(What::Busy { owner, mode: *mode }));
            }
            (Asked::Convert { mode, wait, .. }, Some(Answered::Granted { generation })) => {
                ops.push(op(What::Convert { owner, mode: *mode, generation: *generation }));
                held.insert(resource, *mode);
                limbos.extend(wait.then(|| limbo(returned.unwrap_or(u64::MAX))));
            }
            (Asked::Lock { .. } | Asked::Convert { .. }, Some(_)) => limbos.push(limbo(next_effect(place))),
            (Asked::Convert { mode, .. }, None) => {
                if held.get(resource.as_str()).is_some_and(|held| held.is_down_conversion_to(*mode)) {
                    ops.push(op(What::Weaken { owner, mode: *mode }));
                }
                limbos.push(limbo(u64::MAX));
            }
            (Asked::Lock { .. }, None) => limbos.push(limbo(u64::MAX)),
            (Asked::Unlock { .. }, Some(Answered::Done)) => {
                ops.push(op(What::Release { owner }));
                held.remove(resource.as_str());
            }
            (Asked::Unlock { .. }, Some(Answered::Refused(ErrorKind::NotHeld))) => {
                ops.push(op(What::HoldsNothing { owner }));
            }
            // Whatever else it was told, or nothing: it may happen all the same.
            (Asked::Unlock { .. }, _) => {
                ops.push(Op { returned: None, ..op(What::Release { owner }) });
                limbos.push(limbo(u64::MAX));
            }
            _ => {}
        }
    }
    // What it still holds goes some time after it closed, or after it was last heard of.
    let Some((id, last)) = end else { return };
    let closed = operations.iter().find(|operation| operation.asked == Asked::Close);
    let called = closed.map_or(last, |operation| operation.called);
    for resource in held.into_keys() {
        let (ops, limbos) = resources.entry(resource.to_owned()).or_default();
        ops.push(Op { id, called, returned: None, soon: true, what: What::Release { owner } });
        limbos.push(Limbo { owner, from: called, until: u64::MAX });
    }
}
