//! What a mask list has to look like, and which edit takes it there. No I/O.
//!
//! A list says who is served; an empty one serves everybody. So the last entry is never deleted,
//! and an empty list is refused: there is no edit that denies one host and nobody else.

use nines_proto::aoe::mask::{Directive, Verb};
use nines_proto::mac::Mac;

use crate::vblade;

/// What is wanted of every target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// None of these addresses is served.
    Deny(Vec<Mac>),
    /// All of them are.
    Admit(Vec<Mac>),
    /// Its list is known.
    Look,
}

/// What a list comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is as it should be.
    Reached,
    /// One message with these.
    Edit(Vec<Directive>),
    /// It cannot be brought there.
    Refuse(String),
}

/// Whether the target is Coraid's vblade, by the firmware version of its config answers: 4000h and
/// its release. Its lists need edits of their own.
#[must_use]
pub fn is_vblade(firmware: u16) -> bool {
    firmware >> 8 == 0x40
}

impl Goal {
    /// The next step with a target that answered with this list.
    #[must_use]
    pub fn step(&self, list: &[Mac], firmware: u16) -> Step {
        match self {
            Self::Look => Step::Reached,
            Self::Deny(victims) => {
                let listed = victims.iter().any(|victim| list.contains(victim));
                if list.is_empty() {
                    Step::Refuse(
                        "its mask list is empty, so it serves everybody: start it with -m and all hosts".into(),
                    )
                } else if !listed {
                    Step::Reached
                } else if list.iter().all(|mac| victims.contains(mac) || !vblade::is_host(*mac)) {
                    Step::Refuse("no other host is on its mask list, and an empty list serves everybody".into())
                } else {
                    edit(list, firmware, victims, &[], Verb::Delete)
                }
            }
            // Adding to an empty list would lock out all the others.
            Self::Admit(hosts) if list.is_empty() || hosts.iter().all(|host| list.contains(host)) => Step::Reached,
            Self::Admit(hosts) => edit(list, firmware, &[], hosts, Verb::Add),
        }
    }
}

fn edit(list: &[Mac], firmware: u16, remove: &[Mac], add: &[Mac], verb: Verb) -> Step {
    if is_vblade(firmware) {
        let planned = vblade::plan(list, remove, add);
        let full = || Step::Refuse("vblade's mask list has no room left for the edit: restart that vblade".into());
        return planned.map_or_else(full, Step::Edit);
    }
    let macs = remove.iter().chain(add);
    let needed = macs.filter(|mac| list.contains(mac) == (verb == Verb::Delete));
    Step::Edit(needed.map(|mac| Directive { verb, mac: *mac }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const C: Mac = Mac([2, 0, 0, 0, 0, 3]);

    #[test]
    fn a_listed_victim_is_deleted_and_an_absent_one_is_denied_already() {
        let deny = Goal::Deny(vec![B, C]);
        let delete = Directive { verb: Verb::Delete, mac: B };
        assert_eq!(deny.step(&[A, B], 1), Step::Edit(vec![delete]));
        assert_eq!(deny.step(&[A], 1), Step::Reached);
    }

    #[test]
    fn a_list_is_never_emptied_and_an_empty_one_denies_nobody() {
        assert!(matches!(Goal::Deny(vec![A]).step(&[], 1), Step::Refuse(_)));
        assert!(matches!(Goal::Deny(vec![A, B]).step(&[A, B], 1), Step::Refuse(_)));
        assert!(matches!(Goal::Deny(vec![A]).step(&[A, vblade::NOBODY], 0x4019), Step::Refuse(_)));
        assert_eq!(Goal::Admit(vec![A]).step(&[], 1), Step::Reached);
    }

    #[test]
    fn a_host_is_added_once() {
        let add = Directive { verb: Verb::Add, mac: B };
        assert_eq!(Goal::Admit(vec![A, B]).step(&[A], 1), Step::Edit(vec![add]));
        assert_eq!(Goal::Admit(vec![A, B]).step(&[B, A], 1), Step::Reached);
    }
}
