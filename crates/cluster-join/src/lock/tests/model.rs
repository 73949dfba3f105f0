//! The table beside a second one, written from the rules alone and as simply as can be: lists
//! that are searched from the front, and a compatibility matrix that is typed in.

#![allow(clippy::cast_possible_truncation)] // small numbers out of a generator

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::lock::grant::Asked;

/// NL CR CW PR PW EX, both ways.
const TOGETHER: [&str; 6] = ["YYYYYY", "YYYYY-", "YYY---", "YY-Y--", "YY----", "Y-----"];

fn together(one: Mode, other: Mode) -> bool {
    TOGETHER[one as usize].as_bytes()[other as usize] == b'Y'
}

/// Who holds `from` and goes to `to` takes nothing from anybody.
fn gives_up(from: Mode, to: Mode) -> bool {
    from != to
        && (0..6).all(|other| {
            TOGETHER[from as usize].as_bytes()[other] == b'-' || TOGETHER[to as usize].as_bytes()[other] == b'Y'
        })
}

fn writer(mode: Mode) -> bool {
    mode == Mode::Pw || mode == Mode::Ex
}

#[derive(Debug, Clone, PartialEq)]
struct Has {
    owner: Owner,
    mode: Mode,
    /// The call that can still be taken back, and what was there before it.
    call: u64,
    before: Option<Mode>,
}

#[derive(Debug, Clone, PartialEq)]
struct Wants {
    owner: Owner,
    mode: Mode,
    call: u64,
}

#[derive(Debug, Default)]
struct Place {
    has: Vec<Has>,
    converts: Vec<Wants>,
    waits: Vec<Wants>,
    value: Option<Block>,
}

/// A call's number and whether it was granted, with the value block it was told, or why not.
type Answers = Vec<(u64, Result<Option<Block>, ErrorKind>)>;

#[derive(Debug, Default)]
struct Model {
    places: BTreeMap<String, Place>,
}

impl Place {
    fn fits(&self, owner: &Owner, mode: Mode) -> bool {
        self.has.iter().filter(|has| has.owner != *owner).all(|has| together(has.mode, mode))
    }

    fn mine(&self, owner: &Owner) -> Option<usize> {
        self.has.iter().position(|has| has.owner == *owner)
    }

    fn serve(&mut self, answers: &mut Answers) {
        while let Some(first) = self.converts.first().cloned() {
            if !self.fits(&first.owner, first.mode) {
                return;
            }
            self.converts.remove(0);
            let at = self.mine(&first.owner).unwrap();
            let has = &mut self.has[at];
            (has.before, has.mode, has.call) = (Some(has.mode), first.mode, first.call);
            answers.push((first.call, Ok(self.value.clone())));
        }
        while let Some(first) = self.waits.first().cloned() {
            if !self.fits(&first.owner, first.mode) {
                return;
            }
            self.waits.remove(0);
            self.has.push(Has { owner: first.owner, mode: first.mode, call: first.call, before: None });
            answers.push((first.call, Ok(self.value.clone())));
        }
    }

    fn end(&mut self, owner: &Owner, died: bool, answers: &mut Answers) {
        if let Some(at) = self.mine(owner) {
            let has = self.has.remove(at);
            if let Some((_, valid)) = &mut self.value
                && died
                && writer(has.mode)
            {
                *valid = false;
            }
        }
        for queue in [&mut self.converts, &mut self.waits] {
            for wants in queue.iter().filter(|wants| wants.owner == *owner) {
                answers.push((wants.call, Err(ErrorKind::NotHeld)));
            }
            queue.retain(|wants| wants.owner != *owner);
        }
    }
}

impl Model {
    fn lock(&mut self, name: &str, owner: &Owner, mode: Mode, now: bool, call: u64, answers: &mut Answers) {
        let place = self.places.entry(name.into()).or_default();
        if let Some(at) = place.mine(owner) {
            let has = &mut place.has[at];
            if has.mode != mode {
                return answers.push((call, Err(ErrorKind::Invalid)));
            }
            (has.call, has.before) = (0, None);
            return answers.push((call, Ok(place.value.clone())));
        }
        if place.waits.iter().any(|wants| wants.owner == *owner) {
            return answers.push((call, Err(ErrorKind::Busy)));
        }
        if mode == Mode::Nl || place.converts.is_empty() && place.waits.is_empty() && place.fits(owner, mode) {
            place.has.push(Has { owner: owner.clone(), mode, call, before: None });
            return answers.push((call, Ok(place.value.clone())));
        }
        if now {
            return answers.push((call, Err(ErrorKind::Busy)));
        }
        place.waits.push(Wants { owner: owner.clone(), mode, call });
    }

    #[allow(clippy::too_many_arguments)] // what a caller says
    fn convert(
        &mut self,
        name: &str,
        owner: &Owner,
        mode: Mode,
        now: bool,
        value: Option<&str>,
        call: u64,
        answers: &mut Answers,
    ) {
        let place = self.places.entry(name.into()).or_default();
        let Some(at) = place.mine(owner) else { return answers.push((call, Err(ErrorKind::NotHeld))) };
        let held = place.has[at].mode;
        if held == mode {
            (place.has[at].call, place.has[at].before) = (0, None);
        }
        if place.converts.iter().any(|wants| wants.owner == *owner) {
            return answers.push((call, Err(ErrorKind::Busy)));
        }
        let easy = held == mode || gives_up(held, mode);
        if let Some(value) = value {
            if !writer(held) || !easy {
                return answers.push((call, Err(ErrorKind::Invalid)));
            }
            place.value = Some((value.into(), true));
        }
        if held == mode {
            return answers.push((call, Ok(place.value.clone())));
        }
        if easy || place.converts.is_empty() && place.fits(owner, mode) {
            let has = &mut place.has[at];
            (has.before, has.mode, has.call) = (Some(held), mode, call);
            answers.push((call, Ok(place.value.clone())));
            return place.serve(answers);
        }
        if now {
            return answers.push((call, Err(ErrorKind::Busy)));
        }
        // It would stand behind one that waits for it.
        if place.converts.iter().any(|ahead| !together(ahead.mode, held)) {
            return answers.push((call, Err(ErrorKind::Deadlock)));
        }
        place.converts.push(Wants { owner: owner.clone(), mode, call });
    }

    fn unlock(
        &mut self,
        name: &str,
        owner: &Owner,
        value: Option<&str>,
        answers: &mut Answers,
    ) -> Result<(), ErrorKind> {
        let place = self.places.get_mut(name).ok_or(ErrorKind::NotHeld)?;
        let at = place.mine(owner).ok_or(ErrorKind::NotHeld)?;
        if let Some(value) = value {
            if !writer(place.has[at].mode) {
                return Err(ErrorKind::Invalid);
            }
            place.value = Some((value.into(), true));
        }
        place.end(owner, false, answers);
        place.serve(answers);
        Ok(())
    }

    fn withdraw(&mut self, name: &str, node: u64, call: u64, answers: &mut Answers) {
        let Some(place) = self.places.get_mut(name) else { return };
        place.converts.retain(|wants| (wants.owner.node, wants.call) != (node, call));
        let waited = place.waits.len();
        place.waits.retain(|wants| (wants.owner.node, wants.call) != (node, call));
        if place.waits.len() == waited
            && let Some(at) = place.has.iter().position(|has| (has.owner.node, has.call) == (node, call))
        {
            let has = &mut place.has[at];
            match has.before {
                None => {
                    let owner = has.owner.clone();
                    place.end(&owner, false, answers);
                }
                Some(before) if gives_up(has.mode, before) => {
                    (has.before, has.mode, has.call) = (Some(has.mode), before, 0);
                }
                Some(_) => {}
            }
        }
        place.serve(answers);
    }

    fn over(&mut self, gone: impl Fn(&Owner) -> bool, answers: &mut Answers) {
        for place in self.places.values_mut() {
            let all = place.has.iter().map(|has| &has.owner).chain(place.waits.iter().map(|wants| &wants.owner));
            let mut owners: Vec<Owner> = all.filter(|owner| gone(owner)).cloned().collect();
            owners.sort();
            for owner in owners {
                place.end(&owner, true, answers);
                place.serve(answers);
            }
        }
    }

    fn stop_waiting(&mut self, node: u64, answers: &mut Answers) {
        for place in self.places.values_mut() {
            for queue in [&mut place.converts, &mut place.waits] {
                for wants in queue.iter().filter(|wants| wants.owner.node == node) {
                    answers.push((wants.call, Err(ErrorKind::Inquorate)));
                }
                queue.retain(|wants| wants.owner.node != node);
            }
            place.serve(answers);
        }
    }

    fn returned(&mut self, node: u64, rebooted: bool, answers: &mut Answers) {
        self.stop_waiting(node, answers);
        self.over(|owner| owner.node == node && (rebooted || owner.connection.is_some()), answers);
        for has in self.places.values_mut().flat_map(|place| &mut place.has).filter(|has| has.owner.node == node) {
            has.call = 0;
        }
    }
}

#[derive(Debug, Clone)]
enum Do {
    Lock(u8, Owner, Mode, bool),
    Convert(u8, Owner, Mode, bool, Option<u8>),
    Unlock(u8, Owner, Option<u8>),
    /// Take back the call so many calls ago.
    Withdraw(usize),
    Close(u64, u64),
    Returned(u64, bool),
    Lost(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Do>> {
    let owner = || {
        let session = prop_oneof![Just("a"), Just("b")];
        prop_oneof![
            6 => (1..4u64, 1..4u64).prop_map(|(node, number)| Owner::connection(node, number)),
            1 => (1..4u64).prop_map(Owner::host),
            1 => (1..4u64, session).prop_map(|(node, name)| Owner::session(node, name)),
        ]
    };
    let mode = || prop::sample::select(&Mode::ALL[..]);
    let value = || prop_oneof![3 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let deed = prop_oneof![
        10 => (0..2u8, owner(), mode(), prop::bool::weighted(0.2)).prop_map(|(name, owner, mode, now)| Do::Lock(name, owner, mode, now)),
        10 => (0..2u8, owner(), mode(), prop::bool::weighted(0.2), value()).prop_map(|(name, owner, mode, now, value)| Do::Convert(name, owner, mode, now, value)),
        8 => (0..2u8, owner(), value()).prop_map(|(name, owner, value)| Do::Unlock(name, owner, value)),
        3 => (0..20usize).prop_map(Do::Withdraw),
        2 => (1..4u64, 1..4u64).prop_map(|(node, number)| Do::Close(node, number)),
        1 => (1..4u64, any::<bool>()).prop_map(|(node, rebooted)| Do::Returned(node, rebooted)),
        1 => (1..4u64).prop_map(Do::Lost),
    ];
    prop::collection::vec(deed, 1..120)
}

/// What must be so whatever happened before.
fn check(table: &Table) {
    let mut count = 0;
    let mut owned: BTreeMap<Owner, BTreeSet<String>> = BTreeMap::new();
    for (name, resource) in &table.resources {
        for (at, one) in resource.granted.iter().enumerate() {
            assert!(resource.granted[at + 1..].iter().all(|other| together(one.mode, other.mode)), "{resource:?}");
        }
        // Nobody waits who could be served.
        if let Some(next) =
            resource.converting.front().or(resource.waiting.front().filter(|_| resource.converting.is_empty()))
        {
            let kept = |grant: &&Grant| grant.owner != next.owner && !together(grant.mode, next.mode);
            assert!(resource.granted.iter().any(|grant| kept(&grant)), "{next:?} waits for nobody in {resource:?}");
        }
        for wait in &resource.converting {
            assert!(resource.granted.iter().any(|grant| grant.owner == wait.owner), "{wait:?} holds nothing");
        }
        for owner in
            resource.granted.iter().map(|grant| &grant.owner).chain(resource.waiting.iter().map(|wait| &wait.owner))
        {
            count += 1;
            assert!(owned.entry(owner.clone()).or_default().insert(name.clone()), "{owner:?} is twice in {resource:?}");
        }
        assert!(!resource.granted.is_empty() || !resource.waiting.is_empty(), "{name} is nobody's");
    }
    assert_eq!((table.count, &table.owned), (count, &owned));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_table_decides_as_the_rules_say(deeds in deeds()) {
        let (mut table, mut model) = (Table::default(), Model::default());
        let mut calls: Vec<(String, u64)> = Vec::new();
        for deed in deeds {
            let highest = table.generation();
            let grants = table.resources.values().flat_map(|resource| &resource.granted);
            let known: BTreeSet<u64> = grants.map(|grant| grant.generation).collect();
            let (mut decided, mut answers) = (Vec::new(), Vec::new());
            let seq = calls.len() as u64 + 1;
            let name = |number: u8| format!("r{number}");
            let asked = |calls: &mut Vec<(String, u64)>, name: &str, owner: &Owner| calls.push((name.to_owned(), owner.node));
            match deed {
                Do::Lock(number, owner, mode, now) => {
                    let name = &name(number);
                    asked(&mut calls, name, &owner);
                    let lock = Asked { resource: name, owner: &owner, mode, now_or_never: now, note: "", seq, time: 1, value: None };
                    table.lock(lock, &mut decided);
                    model.lock(name, &owner, mode, now, seq, &mut answers);
                }
                Do::Convert(number, owner, mode, now, value) => {
                    let (name, value) = (&name(number), value.map(|value| value.to_string()));
                    asked(&mut calls, name, &owner);
                    let lock = Asked { resource: name, owner: &owner, mode, now_or_never: now, note: "", seq, time: 1, value: value.as_deref() };
                    table.convert(lock, &mut decided);
                    model.convert(name, &owner, mode, now, value.as_deref(), seq, &mut answers);
                }
                Do::Unlock(number, owner, value) => {
                    let (name, value) = (&name(number), value.map(|value| value.to_string()));
                    let result = table.unlock(name, &owner, value.as_deref(), 1, &mut decided);
                    let wanted = model.unlock(name, &owner, value.as_deref(), &mut answers);
                    prop_assert_eq!(result.map(drop).map_err(|refusal| refusal.kind), wanted);
                }
                Do::Withdraw(ago) => {
                    let Some(at) = calls.len().checked_sub(ago + 1) else { continue };
                    let (name, node) = calls[at].clone();
                    table.withdraw(&name, CallId { node, seq: at as u64 + 1 }, 1, &mut decided);
                    model.withdraw(&name, node, at as u64 + 1, &mut answers);
                }
                Do::Close(node, number) => {
                    let owner = Owner::connection(node, number);
                    table.close(&owner, 1, &mut decided);
                    model.over(|other| *other == owner, &mut answers);
                }
                Do::Returned(node, rebooted) => {
                    table.returned(node, rebooted, 1, &mut decided);
                    model.returned(node, rebooted, &mut answers);
                }
                Do::Lost(node) => {
                    table.stop_waiting(node, 1, &mut decided);
                    model.stop_waiting(node, &mut answers);
                }
            }
            model.places.retain(|_, place| !place.has.is_empty() || !place.waits.is_empty());
            check(&table);
            // A grant is newer than all before it; one that is only told again keeps its number.
            for decided in &decided {
                if let Ok(Value::Granted { generation, .. }) = &decided.result {
                    prop_assert!(*generation > highest || known.contains(generation), "{} after {}", generation, highest);
                }
            }
            let mut told: Answers = decided.into_iter().map(|decided| {
                (decided.call.seq, match decided.result {
                    Ok(Value::Granted { value, .. }) => Ok(value),
                    Ok(other) => panic!("{other:?}"),
                    Err(refusal) => Err(refusal.kind),
                })
            }).collect();
            // What a node's end frees may be served in any order of resources, in its order in each.
            let order = |answer: &(u64, Result<Option<Block>, ErrorKind>)| calls[answer.0 as usize - 1].0.clone();
            let refused = |answers: &mut Answers| {
                let (mut refused, granted): (Answers, Answers) = answers.drain(..).partition(|answer| answer.1.is_err());
                refused.sort_by_key(|answer| answer.0);
                (refused, granted)
            };
            let ((told_no, mut told_yes), (no, mut yes)) = (refused(&mut told), refused(&mut answers));
            told_yes.sort_by_key(order);
            yes.sort_by_key(order);
            prop_assert_eq!(told_no, no);
            prop_assert_eq!(told_yes, yes);
            let held: BTreeMap<&str, Vec<(&Owner, Mode)>> = table.resources.iter().map(|(name, resource)| {
                let mut held: Vec<_> = resource.granted.iter().map(|grant| (&grant.owner, grant.mode)).collect();
                held.sort();
                (name.as_str(), held)
            }).collect();
            let wanted: BTreeMap<&str, Vec<(&Owner, Mode)>> = model.places.iter().map(|(name, place)| {
                let mut held: Vec<_> = place.has.iter().map(|has| (&has.owner, has.mode)).collect();
                held.sort();
                (name.as_str(), held)
            }).collect();
            prop_assert_eq!(held, wanted);
        }
    }
}
