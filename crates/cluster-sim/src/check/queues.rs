//! Who is served when: conversions before new requests, each in the order in which they came.

use cluster_join::lock::{Holder, Owner};
use cluster_join::state::Op;
use nines_proto::ctl::Mode;

use super::replay::{Lock, Step};
use super::{Verdict, must};

/// A resource's holders and its two queues.
struct Queues<'a> {
    held: &'a [Holder],
    converting: Vec<&'a Holder>,
    waiting: Vec<&'a Holder>,
}

impl<'a> Queues<'a> {
    fn of(locks: &'a [Lock], resource: &str) -> Self {
        let found = locks.iter().find(|(name, _, _)| name == resource);
        let (held, waits) = found.map_or((&[][..], &[][..]), |(_, held, waits)| (held, waits));
        // Who waits and holds converts.
        let (converting, waiting) = waits.iter().partition(|wait| held.iter().any(|holder| holder.owner == wait.owner));
        Self { held, converting, waiting }
    }

    fn holder(&self, owner: &Owner) -> Option<&Holder> {
        self.held.iter().find(|holder| holder.owner == *owner)
    }

    /// Whether somebody keeps this one from what it waits for.
    fn blocked(&self, wait: &Holder) -> bool {
        self.held.iter().any(|holder| holder.owner != wait.owner && !holder.mode.compatible(wait.mode))
    }
}

/// Whether somebody of `queue` is still in `now` although he came before place `until`.
fn stays<'a>(queue: &'a [&Holder], until: usize, now: &[&Holder]) -> Option<&'a Holder> {
    queue[..until].iter().copied().find(|wait| now.iter().any(|other| other.owner == wait.owner))
}

/// L5: nobody is served before those who came first, and nobody changes places. A null lock passes
/// all, a lock that is handed over passes with it, and giving up rights never waits.
///
/// # Errors
/// Somebody overtook.
pub fn l5_in_turn(step: &Step<'_>) -> Verdict {
    let accepted = matches!(step.call(), Some((_, _, Op::Accept { .. })));
    for (resource, _, _) in step.before {
        let (before, after) = (Queues::of(step.before, resource), Queues::of(step.after, resource));
        let unfair = |one: &Holder, other: &Holder| {
            format!("{resource}: {one:?} came before {other:?}, and {:?} served the latter", step.command)
        };
        for (former, now) in [(&before.converting, &after.converting), (&before.waiting, &after.waiting)] {
            let place = |wait: &Holder| former.iter().position(|other| other.owner == wait.owner);
            let places: Vec<usize> = now.iter().map(|wait| place(wait).unwrap_or(usize::MAX)).collect();
            must("l5_in_turn", places.is_sorted(), || format!("{resource}: {former:?} waited, now {now:?} do"))?;
        }
        for holder in after.held {
            let (first, converts) = match before.holder(&holder.owner) {
                Some(former) if former.mode == holder.mode || former.mode.is_down_conversion_to(holder.mode) => {
                    continue;
                }
                Some(_) => (None, true),
                None if accepted || holder.mode == Mode::Nl => continue,
                None => (stays(&before.converting, before.converting.len(), &after.converting), false),
            };
            let (queue, now) =
                if converts { (&before.converting, &after.converting) } else { (&before.waiting, &after.waiting) };
            let until = queue.iter().position(|wait| wait.owner == holder.owner).unwrap_or(queue.len());
            let first = first.or_else(|| stays(queue, until, now));
            must("l5_in_turn", first.is_none(), || first.map(|first| unfair(first, holder)).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// L5: whoever is first waits for a holder, not for nothing.
///
/// # Errors
/// He could be served.
pub fn l5_nobody_forgotten(step: &Step<'_>) -> Verdict {
    for (resource, _, _) in step.after {
        let now = Queues::of(step.after, resource);
        let first = now.converting.first().or(now.waiting.first());
        must("l5_nobody_forgotten", first.is_none_or(|wait| now.blocked(wait)), || {
            format!("{resource}: nobody is in the way of {first:?} behind {:?}", step.command)
        })?;
    }
    Ok(())
}

/// L6: of two that convert the one behind never has what the one before waits for.
///
/// # Errors
/// Both wait for ever.
pub fn l6_no_deadlock(step: &Step<'_>) -> Verdict {
    for (resource, _, _) in step.after {
        let now = Queues::of(step.after, resource);
        for (at, first) in now.converting.iter().enumerate() {
            for second in &now.converting[at + 1..] {
                let free = now.holder(&second.owner).is_none_or(|held| held.mode.compatible(first.mode));
                must("l6_no_deadlock", free, || format!("{resource}: {first:?} and {second:?} wait for each other"))?;
            }
        }
    }
    Ok(())
}
