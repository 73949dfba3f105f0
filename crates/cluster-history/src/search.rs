//! Looks for an order of operations that agrees with time and with a model, in the way of Wing and
//! Gong with Lowe's memory of configurations: an operation takes effect at one moment between its
//! call and its answer; one without an answer at any later moment, or never.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// Configurations after which the search gives up.
const MOST: usize = 3_000_000;

/// What is possible.
pub trait Model {
    type What: Clone + Debug;
    type State: Clone + Eq + Hash + Debug;

    /// Before the first operation.
    fn start() -> Self::State;
    /// Somewhere in the middle of a history of which nothing is known.
    fn anything() -> Self::State;
    /// The state behind `what`, if it can happen in `state`.
    fn apply(state: &Self::State, what: &Self::What) -> Option<Self::State>;
    /// Operations with a rank take effect in its order.
    fn rank(what: &Self::What) -> Option<u64>;
}

/// An operation, as the search needs it.
#[derive(Debug, Clone)]
pub struct Op<W> {
    /// Its place in the history.
    pub id: usize,
    pub called: u64,
    pub returned: Option<u64>,
    /// Where it can happen, whatever could follow without it can follow it.
    pub soon: bool,
    pub what: W,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<S> {
    Order,
    /// There is none even for what had happened up to the answer of the operation `at` (its place
    /// in the list); `state` is one of the states that came that far.
    None {
        at: usize,
        state: S,
    },
    GaveUp,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    op: usize,
    is_return: bool,
    next: usize,
    prev: usize,
}

/// Calls and answers in the order of time, those of operations that were given a place taken out.
struct Events {
    entries: Vec<Entry>,
    /// Of each operation: its call's entry and its answer's.
    places: Vec<(usize, Option<usize>)>,
    returns: usize,
}

/// The entry before the first and behind the last.
const HEAD: usize = 0;

impl Events {
    fn new<W>(ops: &[Op<W>]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * ops.len());
        for (number, op) in ops.iter().enumerate() {
            times.push((op.called, false, number));
            times.extend(op.returned.map(|returned| (returned, true, number)));
        }
        // Of one moment: calls come before answers, so that the two may overlap.
        times.sort_unstable();
        let mut places = vec![(HEAD, None); ops.len()];
        let mut entries = vec![Entry { op: usize::MAX, is_return: true, next: HEAD, prev: times.len() }];
        for (_, is_return, op) in times {
            let at = entries.len();
            entries.push(Entry { op, is_return, next: HEAD, prev: at - 1 });
            entries[at - 1].next = at;
            if is_return { places[op].1 = Some(at) } else { places[op].0 = at }
        }
        let returns = ops.iter().filter(|op| op.returned.is_some()).count();
        Self { entries, places, returns }
    }

    fn remove(&mut self, at: usize) {
        let Entry { next, prev, .. } = self.entries[at];
        self.entries[prev].next = next;
        self.entries[next].prev = prev;
    }

    fn restore(&mut self, at: usize) {
        let Entry { next, prev, .. } = self.entries[at];
        self.entries[prev].next = at;
        self.entries[next].prev = at;
    }

    fn take(&mut self, op: usize) {
        let (call, answer) = self.places[op];
        self.remove(call);
        if let Some(answer) = answer {
            self.remove(answer);
            self.returns -= 1;
        }
    }

    fn put_back(&mut self, op: usize) {
        let (call, answer) = self.places[op];
        if let Some(answer) = answer {
            self.restore(answer);
            self.returns += 1;
        }
        self.restore(call);
    }
}

/// A name of a set of operations: the exclusive or of its members' numbers, 128 bits at random.
fn number(op: usize) -> u128 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let seed = (op as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mix(seed)) << 64 | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// Looks for an order of `ops` that begins in `start`.
pub fn search<M: Model>(ops: &[Op<M::What>], start: M::State) -> Found<M::State> {
    let mut events = Events::new(ops);
    let mut ranked: Vec<(u64, usize)> =
        ops.iter().enumerate().filter_map(|(number, op)| Some((M::rank(&op.what)?, number))).collect();
    ranked.sort_unstable();
    let mut next_ranked = 0;
    // First those that must have a place; those that need not only when nothing else goes on.
    let optional = |op: usize| ops[op].returned.is_none() && M::rank(&ops[op].what).is_none();
    let mut seen: HashSet<(u128, M::State)> = HashSet::new();
    let mut taken: Vec<(usize, M::State, bool)> = Vec::new();
    let (mut set, mut state) = (0u128, start);
    let mut furthest: Option<(usize, M::State)> = None;
    let mut late = false;
    let mut at = events.entries[HEAD].next;
    while events.returns > 0 {
        let entry = events.entries[at];
        if !entry.is_return {
            let what = &ops[entry.op].what;
            let its_turn = M::rank(what).is_none() || ranked.get(next_ranked).is_some_and(|(_, op)| *op == entry.op);
            if its_turn
                && optional(entry.op) == late
                && let Some(next) = M::apply(&state, what)
                && seen.insert((set ^ number(entry.op), next.clone()))
            {
                if seen.len() > MOST {
                    return Found::GaveUp;
                }
                events.take(entry.op);
                set ^= number(entry.op);
                next_ranked += usize::from(M::rank(what).is_some());
                let soon = ops[entry.op].soon || next == state;
                taken.push((entry.op, std::mem::replace(&mut state, next), soon));
                (late, at) = (false, events.entries[HEAD].next);
            } else {
                at = entry.next;
            }
            continue;
        }
        if !late {
            (late, at) = (true, events.entries[HEAD].next);
            continue;
        }
        // `at` is the first answer whose operation has no place.
        if furthest.as_ref().is_none_or(|(most, _)| at > *most) {
            furthest = Some((at, state.clone()));
        }
        loop {
            let Some((op, before, soon)) = taken.pop() else {
                return match furthest {
                    Some((at, state)) => Found::None { at: events.entries[at].op, state },
                    None => Found::Order,
                };
            };
            state = before;
            set ^= number(op);
            events.put_back(op);
            next_ranked -= usize::from(M::rank(&ops[op].what).is_some());
            // Without it nothing more would have been possible.
            if !soon {
                (late, at) = (optional(op), events.entries[events.places[op].0].next);
                break;
            }
        }
    }
    Found::Order
}
