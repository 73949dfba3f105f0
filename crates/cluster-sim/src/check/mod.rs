//! What must hold in every history, one function for each promise. The letters are those of the
//! usual catalogue: M membership, C consensus, F fencing, L locks.

pub mod consensus;
pub mod fencing;
pub mod keys;
pub mod locks;
pub mod membership;
pub mod queues;
pub mod replay;
pub mod sum;
pub mod values;

pub use consensus::Consensus;
pub use fencing::Fencing;
pub use keys::Keys;
pub use locks::{Held, Storage};
pub use membership::Membership;
pub use replay::{Replay, Truth};
pub use values::Values;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The function that found it.
    pub invariant: &'static str,
    pub what: String,
}

/// What a check says.
pub type Verdict = Result<(), Violation>;

/// `Err` with the text of `what` unless `holds`.
pub(crate) fn must(invariant: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Check {
    pub violation: Option<Violation>,
    pub consensus: Consensus,
    pub fencing: Fencing,
    pub membership: Membership,
    pub storage: Storage,
    pub replay: Replay,
    pub values: Values,
    pub keys: Keys,
}

impl Check {
    /// Keeps the first violation.
    pub fn that(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
    }
}
