//! Editing the mask list of Coraid's vblade over the wire.
//!
//! vblade (seen with release 25) counts entries where it means bytes, six to an entry, when it
//! looks through its list for the address of an edit. With n entries it looks at the first
//! ceil(n/6) of them, an add that finds nothing there writes behind those, over whatever is there,
//! and n grows by one; a delete moves n - 6 - 6i bytes down to the place of entry i, and n shrinks
//! by one. When that length is negative, as it is for every list of two to five hosts, vblade
//! ends with SIGABRT and takes the storage of all hosts along; when it is no multiple of six, it
//! leaves addresses of nobody and everybody.
//!
//! So a victim is not deleted but overwritten, which works for the place behind those that are
//! looked at; adding entries of nobody makes that place wander down the list. The first place is
//! never behind: it is deleted when the list is twelve long, or another multiple of six, where
//! whole entries are moved. What an edit does is computed before it is sent, all of it goes in one
//! message, between whose directives vblade serves nobody, and the list is read back afterwards.
//! The list only grows that way: its 32 places are enough for a dozen fencings, and a
//! restarted vblade has the list of its command line again.

use nines_proto::aoe::mask::{Directive, Verb};
use nines_proto::mac::Mac;

/// What vblade leaves in places it skips: nobody sends from there.
pub const NOBODY: Mac = Mac([0; 6]);

/// Whether frames can come from that address: no group's, not [`NOBODY`].
#[must_use]
pub fn is_host(mac: Mac) -> bool {
    mac.0[0] & 1 == 0 && mac != NOBODY
}

/// The most entries.
const MOST: usize = 32;

/// The list as vblade will have it.
#[derive(Debug, Clone)]
struct List {
    /// All places; those behind the length are taken for empty, which reading back shows.
    places: [Mac; MOST],
    length: usize,
}

impl List {
    fn of(list: &[Mac]) -> Option<Self> {
        let mut places = [NOBODY; MOST];
        places.get_mut(..list.len())?.copy_from_slice(list);
        Some(Self { places, length: list.len() })
    }

    fn entries(&self) -> &[Mac] {
        &self.places[..self.length]
    }

    /// How many places an edit looks at, which is where an add writes.
    fn looked_at(&self) -> usize {
        self.length.div_ceil(6)
    }

    fn finds(&self, mac: Mac) -> bool {
        self.places[..self.looked_at()].contains(&mac)
    }

    /// An address that is not found already.
    fn add(&mut self, mac: Mac) {
        self.places[self.looked_at()] = mac;
        self.length += 1;
    }

    /// The first entry of a list whose length is a multiple of six, twelve or more.
    fn delete_first(&mut self) {
        self.places.copy_within(1..self.length / 6, 0);
        self.length -= 1;
    }

    fn has(&self, mac: Mac) -> bool {
        self.entries().contains(&mac)
    }
}

/// The directives of one message after which none of `remove` is on the list, and everybody else
/// who was, and all of `add`, are. `None` when there is not enough room.
#[must_use]
pub fn plan(list: &[Mac], remove: &[Mac], add: &[Mac]) -> Option<Vec<Directive>> {
    let mut wanted: Vec<Mac> = Vec::new();
    for mac in list.iter().chain(add) {
        if !remove.contains(mac) && is_host(*mac) && !wanted.contains(mac) {
            wanted.push(*mac);
        }
    }
    let mut list = List::of(list)?;
    let mut directives = Vec::new();
    // Each add takes one of 32 places, each delete gives one back for the next.
    for _ in 0..4 * MOST {
        let removed = !list.entries().iter().any(|mac| remove.contains(mac));
        if removed && wanted.iter().all(|mac| list.has(*mac)) {
            return Some(directives);
        }
        let first = list.places[0];
        let whole = list.length >= 12 && list.length.is_multiple_of(6);
        // The last entry is lost, and the first becomes what the second is.
        let last = list.places[list.length.saturating_sub(1)];
        let harmless = !wanted.contains(&last) || list.entries()[..list.length - 1].contains(&last);
        if remove.contains(&first) && whole && harmless {
            list.delete_first();
            directives.push(Directive { verb: Verb::Delete, mac: first });
            continue;
        }
        if list.length >= MOST {
            return None;
        }
        let mac = next(&list, &wanted)?;
        list.add(mac);
        directives.push(Directive { verb: Verb::Add, mac });
    }
    None
}

/// What to write to the place behind those that are looked at.
fn next(list: &List, wanted: &[Mac]) -> Option<Mac> {
    let place = list.looked_at();
    let there = list.places[place];
    let elsewhere = |mac: Mac| list.entries().iter().enumerate().any(|(at, entry)| at != place && *entry == mac);
    if place < list.length && wanted.contains(&there) && !elsewhere(there) {
        return Some(there);
    }
    let missing = wanted.iter().find(|mac| !list.has(**mac));
    // Somebody wanted, for the first place to become when it is deleted; else nobody. A group's
    // address, which no frame comes from, does where that of nobody is found already.
    let again = wanted.iter().find(|mac| !list.finds(**mac));
    let nobody = (0..MOST).filter_map(|n| u8::try_from(n).ok()).map(|n| Mac([1, 0, 0, 0, 0, n]));
    let nobody = std::iter::once(NOBODY).chain(nobody).find(|mac| !list.finds(*mac));
    missing.or(again).copied().or(nobody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, n])
    }

    /// vblade's list as bytes, edited as it does it; `None` where it aborts.
    fn carried_out(list: &[Mac], directives: &[Directive]) -> Option<Vec<Mac>> {
        let mut bytes = [0_u8; MOST * 6];
        let mut n = list.len();
        for (at, mac) in list.iter().enumerate() {
            bytes[at * 6..at * 6 + 6].copy_from_slice(&mac.0);
        }
        for directive in directives {
            let mut at = 0;
            while at < n && bytes[at..at + 6] != directive.mac.0 {
                at += 6;
            }
            match directive.verb {
                Verb::Add if at < n => {}
                Verb::Add => {
                    assert!(n < MOST);
                    bytes[at..at + 6].copy_from_slice(&directive.mac.0);
                    n += 1;
                }
                _ if at >= n => {}
                _ => {
                    let length = n.checked_sub(at + 6)?;
                    bytes.copy_within(at + 6..at + 6 + length, at);
                    n -= 1;
                }
            }
        }
        Some(bytes.chunks(6).take(n).map(|mac| Mac(mac.try_into().unwrap())).collect())
    }

    fn holds(list: &[Mac], remove: &[Mac], add: &[Mac], directives: &[Directive]) {
        let after = carried_out(list, directives).expect("vblade survives");
        for mac in list.iter().chain(add).filter(|mac| **mac != NOBODY) {
            assert_eq!(after.contains(mac), !remove.contains(mac), "{mac}: {list:?} became {after:?}");
        }
        let stranger = |mac: &&Mac| is_host(**mac) && !list.contains(mac) && !add.contains(mac);
        assert_eq!(after.iter().find(stranger), None);
    }

    #[test]
    fn each_host_of_a_cluster_can_be_denied_and_admitted_again() {
        for hosts in 2..=6 {
            let list: Vec<Mac> = (1..=hosts).map(host).collect();
            for victim in &list {
                let directives = plan(&list, &[*victim], &[]).unwrap_or_else(|| panic!("{victim} of {hosts}"));
                holds(&list, &[*victim], &[], &directives);
                let after = carried_out(&list, &directives).unwrap();
                if let Some(directives) = plan(&after, &[], &[*victim]) {
                    holds(&after, &[], &[*victim], &directives);
                } else {
                    assert!(after.len() > 20, "{after:?}");
                }
            }
        }
    }

    #[test]
    fn a_plain_delete_would_end_vblade() {
        let list: Vec<Mac> = (1..=3).map(host).collect();
        assert_eq!(carried_out(&list, &[Directive { verb: Verb::Delete, mac: host(1) }]), None);
    }

    proptest! {
        #[test]
        fn a_plan_does_what_it_should_and_never_ends_vblade(
            list in prop::collection::vec((0..40_u8).prop_map(|n| if n < 3 { NOBODY } else { host(n) }), 1..=MOST),
            remove in prop::collection::vec((3..40_u8).prop_map(host), 0..4),
            add in prop::collection::vec((3..40_u8).prop_map(host), 0..4),
        ) {
            let add: Vec<Mac> = add.into_iter().filter(|mac| !remove.contains(mac)).collect();
            if let Some(directives) = plan(&list, &remove, &add) {
                prop_assert!(directives.len() <= 4 * MOST);
                holds(&list, &remove, &add, &directives);
            }
        }
    }
}
