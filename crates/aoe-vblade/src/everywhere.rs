//! Who is denied every export of a table: those that a later table adds too.

use std::collections::{BTreeMap, BTreeSet};

use nines_proto::aoe::Address;
use nines_proto::mac::{BadMac, Mac};
use serde::{Deserialize, Serialize};

/// Hosts, each with the exports it has been admitted to again since; as text that people can read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Everywhere {
    denied: BTreeMap<String, BTreeSet<String>>,
}

impl Everywhere {
    /// No export named: from here on all of them deny this host, or none does because of this list.
    pub fn all(&mut self, mac: Mac, denied: bool) {
        if denied {
            self.denied.insert(mac.to_string(), BTreeSet::new());
        } else {
            self.denied.remove(&mac.to_string());
        }
    }

    /// One export, by its name such as `e7.3`, is an exception or is none any more.
    pub fn one(&mut self, export: &str, mac: Mac, denied: bool) {
        let Some(exceptions) = self.denied.get_mut(&mac.to_string()) else { return };
        if denied {
            exceptions.remove(export);
        } else {
            exceptions.insert(export.to_owned());
        }
    }

    /// Whom an export that is added denies.
    pub fn at(&self, export: Address) -> impl Iterator<Item = Mac> {
        let name = export.to_string();
        let here = self.denied.iter().filter(move |(_, exceptions)| !exceptions.contains(&name));
        here.filter_map(|(mac, _)| mac.parse().ok())
    }

    /// Sees that what was read names hosts, and has their names as they are written here.
    ///
    /// # Errors
    /// The first that is none.
    pub fn checked(self) -> Result<Self, BadMac> {
        let entry = |(mac, exceptions): (String, _)| Ok((mac.parse::<Mac>()?.to_string(), exceptions));
        Ok(Self { denied: self.denied.into_iter().map(entry).collect::<Result<_, BadMac>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nines_proto::aoe::{Shelf, Slot};

    const ONE: Address = Address { shelf: Shelf(7), slot: Slot(1) };
    const TWO: Address = Address { shelf: Shelf(7), slot: Slot(2) };
    const HOST: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);

    fn at(list: &Everywhere) -> [Vec<Mac>; 2] {
        [ONE, TWO].map(|address| list.at(address).collect())
    }

    #[test]
    fn a_host_that_is_admitted_to_one_export_stays_denied_at_the_others() {
        let mut list = Everywhere::default();
        list.one("e7.1", HOST, false);
        assert_eq!(at(&list), [vec![], vec![]]);
        list.all(HOST, true);
        assert_eq!(at(&list), [vec![HOST], vec![HOST]]);
        list.one("e7.1", HOST, false);
        assert_eq!(at(&list), [vec![], vec![HOST]]);
        list.one("e7.1", HOST, true);
        assert_eq!(at(&list), [vec![HOST], vec![HOST]]);
        list.one("e7.2", HOST, false);
        list.all(HOST, true);
        assert_eq!(at(&list), [vec![HOST], vec![HOST]], "denied once more, without exception");
        list.all(HOST, false);
        assert_eq!(at(&list), [vec![], vec![]]);
    }

    #[test]
    fn what_was_written_by_hand_is_read_as_if_it_had_been_kept() {
        let list: Everywhere = serde_json::from_str("{\"denied\":{\"02000000000A\":[\"e7.2\"]}}").unwrap();
        let mut list = list.checked().unwrap();
        assert_eq!(at(&list), [vec![HOST], vec![]]);
        list.all(HOST, false);
        assert_eq!(list, Everywhere::default());
        let bad: Everywhere = serde_json::from_str("{\"denied\":{\"xen3\":[]}}").unwrap();
        assert!(bad.checked().is_err());
    }
}
