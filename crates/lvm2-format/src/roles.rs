//! What a logical volume is to the others of its group: LVM2 writes no such flag, it follows from
//! who refers to whom.

use std::collections::{HashMap, HashSet};

use crate::vg::{Lv, Mapping, Vg};

/// The part a volume plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its own.
    Plain,
    /// A mirror's leg, a raid's data.
    Image,
    MirrorLog,
    RaidMeta,
    PoolData,
    PoolMeta,
    /// Has snapshots.
    Origin,
    /// A snapshot's store, under the snapshot's name.
    Snapshot,
    /// The hidden volume that ties a store to its origin.
    Tie,
    /// Spare metadata of thin pools.
    Spare,
    Pvmove,
    /// Below another volume in a way this library does not know.
    Component,
}

/// The roles of all volumes of a group.
#[derive(Debug)]
pub struct Roles<'a> {
    roles: HashMap<&'a str, Role>,
    origins: HashMap<&'a str, &'a str>,
}

impl<'a> Roles<'a> {
    #[must_use]
    pub fn of(vg: &'a Vg) -> Self {
        let mut roles = HashMap::new();
        let mut origins = HashMap::new();
        let names: HashSet<&str> = vg.lvs.iter().map(|lv| lv.name.as_str()).collect();
        let known = |name: &str| names.contains(name);
        for lv in &vg.lvs {
            if lv.status.has("PVMOVE") {
                roles.insert(lv.name.as_str(), Role::Pvmove);
            }
            if lv.name.ends_with("_pmspare") {
                roles.insert(lv.name.as_str(), Role::Spare);
            }
            for segment in &lv.segments {
                let Mapping::Other(keys) = &segment.mapping else {
                    continue;
                };
                let name = |key: &str| keys.value(key).and_then(|value| value.as_text());
                let list = |key: &str| {
                    let cells = keys.value(key).map(|value| value.as_list()).unwrap_or_default();
                    cells.iter().filter_map(|cell| cell.as_text()).filter(|name| known(name)).collect::<Vec<_>>()
                };
                match segment.kind() {
                    "mirror" if !lv.status.has("PVMOVE") => {
                        roles.extend(list("mirrors").into_iter().map(|leg| (leg, Role::Image)));
                        roles.extend(name("mirror_log").map(|log| (log, Role::MirrorLog)));
                    }
                    "snapshot" => {
                        roles.insert(lv.name.as_str(), Role::Tie);
                        let store = name("cow_store").or(name("merging_store"));
                        if let (Some(origin), Some(store)) = (name("origin"), store) {
                            roles.insert(origin, Role::Origin);
                            roles.insert(store, Role::Snapshot);
                            origins.insert(store, origin);
                        }
                    }
                    "thin-pool" => {
                        roles.extend(name("metadata").map(|meta| (meta, Role::PoolMeta)));
                        roles.extend(name("pool").map(|data| (data, Role::PoolData)));
                    }
                    "thin" => {
                        origins.extend(name("origin").map(|origin| (lv.name.as_str(), origin)));
                    }
                    kind if kind.starts_with("raid") => {
                        for part in list("raids").into_iter().chain(list("raid0_lvs")) {
                            let role = if part.contains("_rmeta_") { Role::RaidMeta } else { Role::Image };
                            roles.insert(part, role);
                        }
                    }
                    // A type nobody told us about: whatever it names is not for direct use.
                    _ => {
                        for node in &keys.0 {
                            let crate::text::Content::Value(value) = &node.content else { continue };
                            let named = value.as_list().iter().filter_map(|cell| cell.as_text());
                            roles.extend(named.filter(|name| known(name)).map(|name| (name, Role::Component)));
                        }
                    }
                }
            }
        }
        Self { roles, origins }
    }

    #[must_use]
    pub fn role(&self, lv: &Lv) -> Role {
        self.roles.get(lv.name.as_str()).copied().unwrap_or(Role::Plain)
    }

    /// Whether people see it without asking for everything.
    #[must_use]
    pub fn is_visible(&self, lv: &Lv) -> bool {
        match self.role(lv) {
            Role::Snapshot => true,
            Role::Tie => false,
            _ => lv.status.has("VISIBLE"),
        }
    }

    /// The volume this one is a snapshot of.
    #[must_use]
    pub fn origin(&self, lv: &Lv) -> Option<&'a str> {
        self.origins.get(lv.name.as_str()).copied()
    }
}
