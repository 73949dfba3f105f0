//! The lock table: the VMS lock manager's modes and queues, as one value that changes only by
//! commands taken from the replicated log, so that every node computes the same grants.
//!
//! Each resource has three queues. `granted` holds what is in force, `converting` the holders
//! that asked for another mode, `waiting` those who hold nothing yet. Conversions are served
//! before new requests, each queue in its order, and a blocked head blocks those behind it.

mod grant;
mod offer;

pub use grant::Asked;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nines_proto::ctl::{ErrorKind, Mode, Value};
use serde::{Deserialize, Serialize};

/// Most locks held or waited for in the whole cluster.
pub const MAX_LOCKS: usize = 16_384;

/// Whom a lock belongs to: a connection of a node's present incarnation or, without one, the node
/// itself and its present boot (a sticky lock), which may have several sessions by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    pub node: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Owner {
    #[must_use]
    pub fn connection(node: u64, connection: u64) -> Self {
        Self { node, connection: Some(connection), session: None }
    }

    /// The node and its boot.
    #[must_use]
    pub fn host(node: u64) -> Self {
        Self { node, connection: None, session: None }
    }

    /// One of the node's sessions.
    #[must_use]
    pub fn session(node: u64, name: &str) -> Self {
        Self { node, connection: None, session: Some(name.to_owned()) }
    }
}

/// A resource's value block: 64 hexadecimal digits, and whether they are the last that anyone
/// wrote: not once a holder died that might have written.
pub type Block = (String, bool);

/// A call as its node numbered it; answers are matched by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId {
    pub node: u64,
    pub seq: u64,
}

/// What a command decided about a call, this one's or an earlier one's that had to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub call: CallId,
    pub result: Result<Value, Refusal>,
}

/// How a call ended, read from the state it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Is(Value),
    Isnt,
    Refused(ErrorKind),
    Waits,
}

/// Why not. `holders` are those in the way at this point of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: ErrorKind,
    pub message: String,
    pub holders: Vec<Holder>,
}

impl Refusal {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), holders: Vec::new() }
    }
}

/// Someone with a lock or a place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub owner: Owner,
    pub mode: Mode,
    /// 0 while waiting.
    pub generation: u64,
    pub since: u64,
    pub offered: Option<Offer>,
    pub note: String,
}

/// A sticky lock on its way to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub to: u64,
    pub number: u64,
}

/// A lock in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    owner: Owner,
    mode: Mode,
    generation: u64,
    since: u64,
    note: String,
    /// The call that brought it here, 0 once that call can no longer be withdrawn.
    seq: u64,
    /// The mode before that call, where it was a conversion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offer: Option<Offer>,
    /// The offer by which the lock came to its owner, so that accepting twice is accepting once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<u64>,
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wait {
    owner: Owner,
    mode: Mode,
    since: u64,
    note: String,
    seq: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Resource {
    granted: Vec<Grant>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    converting: VecDeque<Wait>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    waiting: VecDeque<Wait>,
    /// Lasts as long as anybody has the resource, in NL if need be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Block>,
}

/// All locks of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Table {
    resources: BTreeMap<String, Resource>,
    /// The last generation or offer number given out.
    generation: u64,
    /// Which resources each owner is in, so that a closing connection costs what it held.
    owned: BTreeMap<Owner, BTreeSet<String>>,
    count: usize,
}

/// A table as snapshots carry it.
#[derive(Serialize, Deserialize)]
struct Saved {
    resources: BTreeMap<String, Resource>,
    generation: u64,
}

impl From<Table> for Saved {
    fn from(table: Table) -> Self {
        Self { resources: table.resources, generation: table.generation }
    }
}

impl From<Saved> for Table {
    fn from(saved: Saved) -> Self {
        let mut table = Self { resources: saved.resources, generation: saved.generation, ..Self::default() };
        for (name, resource) in &table.resources {
            for owner in resource.owners() {
                table.owned.entry(owner).or_default().insert(name.clone());
            }
            table.count += resource.granted.len() + resource.waiting.len();
        }
        table
    }
}

impl Resource {
    fn owners(&self) -> impl Iterator<Item = Owner> {
        self.granted.iter().map(|grant| grant.owner.clone()).chain(self.waiting.iter().map(|wait| wait.owner.clone()))
    }

    /// Whether `owner` may have `mode` beside what the others hold.
    fn admits(&self, owner: &Owner, mode: Mode) -> bool {
        self.granted.iter().all(|grant| grant.owner == *owner || grant.mode.compatible(mode))
    }

    fn granted_to(&mut self, owner: &Owner) -> Option<&mut Grant> {
        self.granted.iter_mut().find(|grant| grant.owner == *owner)
    }

    /// Those who keep `owner` from `mode`: holders of a conflicting mode or, if there are none,
    /// everybody ahead in the queues.
    fn in_the_way(&self, owner: &Owner, mode: Mode) -> Vec<Holder> {
        let conflicting: Vec<Holder> = self
            .granted
            .iter()
            .filter(|grant| grant.owner != *owner && !grant.mode.compatible(mode))
            .map(Grant::holder)
            .collect();
        if !conflicting.is_empty() {
            return conflicting;
        }
        self.converting.iter().chain(&self.waiting).filter(|wait| wait.owner != *owner).map(Wait::holder).collect()
    }
}

impl Grant {
    fn holder(&self) -> Holder {
        Holder {
            owner: self.owner.clone(),
            mode: self.mode,
            generation: self.generation,
            since: self.since,
            offered: self.offer,
            note: self.note.clone(),
        }
    }
}

impl Wait {
    fn holder(&self) -> Holder {
        Holder {
            owner: self.owner.clone(),
            mode: self.mode,
            generation: 0,
            since: self.since,
            offered: None,
            note: self.note.clone(),
        }
    }
}

impl Table {
    /// Every resource with its holders and, in the order they will be served, its waiters.
    pub fn list(&self) -> impl Iterator<Item = (&str, Vec<Holder>, Vec<Holder>)> {
        self.resources.iter().map(|(name, resource)| {
            let waiting = resource.converting.iter().chain(&resource.waiting).map(Wait::holder).collect();
            (name.as_str(), resource.granted.iter().map(Grant::holder).collect(), waiting)
        })
    }

    /// Who keeps `owner` from having `resource` in `mode` now.
    #[must_use]
    pub fn in_the_way(&self, resource: &str, owner: &Owner, mode: Mode) -> Vec<Holder> {
        self.resources.get(resource).map(|resource| resource.in_the_way(owner, mode)).unwrap_or_default()
    }

    /// The mode in which `owner` holds `resource`.
    #[must_use]
    pub fn held(&self, resource: &str, owner: &Owner) -> Option<Mode> {
        self.grant(resource, owner).map(|grant| grant.mode)
    }

    fn grant(&self, resource: &str, owner: &Owner) -> Option<&Grant> {
        self.resources.get(resource)?.granted.iter().find(|grant| grant.owner == *owner)
    }

    /// What became of `owner`'s call `seq` for `resource` in `mode`.
    #[must_use]
    pub fn outcome(&self, resource: &str, owner: &Owner, mode: Mode, seq: u64) -> Outcome {
        if let Some(grant) = self.grant(resource, owner).filter(|grant| grant.mode == mode) {
            return Outcome::Is(self.told(resource, grant.generation));
        }
        let waits = |wait: &Wait| wait.owner == *owner && wait.seq == seq;
        match self.resources.get(resource) {
            Some(resource) if resource.converting.iter().chain(&resource.waiting).any(waits) => Outcome::Waits,
            _ => Outcome::Isnt,
        }
    }

    /// Whether `owner`'s lock is on offer to `to`.
    #[must_use]
    pub fn open_offer(&self, resource: &str, owner: &Owner, to: u64) -> Outcome {
        match self.grant(resource, owner).and_then(|grant| grant.offer) {
            Some(offer) if offer.to == to => Outcome::Is(Value::Offered { offer: offer.number }),
            _ => Outcome::Isnt,
        }
    }

    /// Whether `owner` has the lock by the offer `number`.
    #[must_use]
    pub fn accepted(&self, resource: &str, owner: &Owner, number: u64) -> Outcome {
        match self.grant(resource, owner) {
            Some(grant) if grant.accepted == Some(number) => Outcome::Is(self.told(resource, grant.generation)),
            _ => Outcome::Isnt,
        }
    }

    /// Whether `owner` holds or waits for anything.
    #[must_use]
    pub fn owns(&self, owner: &Owner) -> bool {
        self.owned.contains_key(owner)
    }

    /// Whether anybody of `node` holds or waits for anything.
    #[must_use]
    pub fn owns_any(&self, node: u64) -> bool {
        self.owners(node).next().is_some()
    }

    /// The last generation given out.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many locks and places in queues are `node`'s.
    #[must_use]
    pub fn owned_by(&self, node: u64) -> usize {
        self.owners(node).map(|(_, resources)| resources.len()).sum()
    }

    fn owners(&self, node: u64) -> impl Iterator<Item = (&Owner, &BTreeSet<String>)> {
        self.owned.range(Owner::host(node)..).take_while(move |(owner, _)| owner.node == node)
    }

    /// What the holder of `resource` is told.
    fn told(&self, resource: &str, generation: u64) -> Value {
        let value = self.resources.get(resource).and_then(|resource| resource.value.clone());
        Value::Granted { generation, value }
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn remember(&mut self, owner: &Owner, resource: &str) {
        self.owned.entry(owner.clone()).or_default().insert(resource.to_owned());
        self.count += 1;
    }

    fn forget(&mut self, owner: &Owner, resource: &str) {
        self.disown(owner, resource);
        self.count -= 1;
    }

    fn disown(&mut self, owner: &Owner, resource: &str) {
        if let Some(resources) = self.owned.get_mut(owner) {
            resources.remove(resource);
            if resources.is_empty() {
                self.owned.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
