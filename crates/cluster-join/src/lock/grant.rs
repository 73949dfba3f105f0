//! Taking, converting and giving back.

use std::collections::BTreeSet;

use nines_proto::ctl::{ErrorKind, Mode, Value};

use super::{CallId, Decided, Grant, MAX_LOCKS, Owner, Refusal, Table, Wait};

/// A lock, or another mode of one, that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub resource: &'a str,
    pub owner: &'a Owner,
    pub mode: Mode,
    /// Refuse rather than wait.
    pub now_or_never: bool,
    pub note: &'a str,
    pub seq: u64,
    /// Seconds since 1970 at the asking node.
    pub time: u64,
    /// The resource's new value block, of a holder that converts.
    pub value: Option<&'a str>,
}

/// How a lock ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its holder gave it back, or never knew of it.
    Given,
    /// Its holder is no more, and might have been about to write the value block.
    Died,
}

/// Whether a holder in this mode writes the value block.
fn writes(mode: Mode) -> bool {
    mode >= Mode::Pw
}

impl Table {
    /// Grants a lock, queues the request, or refuses it.
    pub fn lock(&mut self, asked: Asked<'_>, decided: &mut Vec<Decided>) {
        let call = CallId { node: asked.owner.node, seq: asked.seq };
        if let Some(result) = self.try_lock(asked) {
            decided.push(Decided { call, result });
        }
    }

    /// The answer, or `None` when the request waits.
    fn try_lock(&mut self, asked: Asked<'_>) -> Option<Result<Value, Refusal>> {
        let Asked { resource: name, owner, mode, .. } = asked;
        let full = self.count >= MAX_LOCKS;
        let resource = self.resources.entry(name.to_owned()).or_default();
        if let Some(grant) = resource.granted_to(owner) {
            if let Some(offer) = grant.offer {
                // Whoever relied on it now would go on when the other host accepts.
                let message = format!("{name}: offered to another host, as {}: retract that first", offer.number);
                let mut refusal = Refusal::new(ErrorKind::Busy, message);
                refusal.holders.push(grant.holder());
                return Some(Err(refusal));
            }
            if grant.mode == mode {
                // It has been told to a second caller: the first one's call can no longer take it back.
                (grant.seq, grant.before) = (0, None);
                let generation = grant.generation;
                return Some(Ok(self.told(name, generation)));
            }
            let message = format!("{name}: held in {} already: convert it to {mode}", grant.mode);
            return Some(Err(Refusal::new(ErrorKind::Invalid, message)));
        }
        if let Some(wait) = resource.waiting.iter().find(|wait| wait.owner == *owner) {
            let mut refusal = Refusal::new(ErrorKind::Busy, format!("{name}: the same owner waits for it already"));
            refusal.holders.push(wait.holder());
            return Some(Err(refusal));
        }
        let free = resource.converting.is_empty() && resource.waiting.is_empty() && resource.admits(owner, mode);
        // A null lock conflicts with nothing and passes every queue.
        let grantable = free || mode == Mode::Nl;
        let refusal = if full {
            Some(Refusal::new(
                ErrorKind::Busy,
                format!("{name}: the cluster has {MAX_LOCKS} locks, the most there can be"),
            ))
        } else if !grantable && asked.now_or_never {
            let holders = resource.in_the_way(owner, mode);
            Some(Refusal { kind: ErrorKind::Busy, message: format!("{name}: in use"), holders })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.drop_if_empty(name);
            return Some(Err(refusal));
        }
        if !grantable {
            resource.waiting.push_back(Wait {
                owner: owner.clone(),
                mode,
                since: asked.time,
                note: asked.note.into(),
                seq: asked.seq,
            });
            self.remember(owner, name);
            return None;
        }
        self.remember(owner, name);
        let generation = self.next_generation();
        let grant = Grant {
            owner: owner.clone(),
            mode,
            generation,
            since: asked.time,
            note: asked.note.into(),
            seq: asked.seq,
            before: None,
            offer: None,
            accepted: None,
        };
        self.resources.entry(name.to_owned()).or_default().granted.push(grant);
        Some(Ok(self.told(name, generation)))
    }

    /// Changes the mode of a lock that is held. A note is kept from the lock.
    pub fn convert(&mut self, asked: Asked<'_>, decided: &mut Vec<Decided>) {
        let call = CallId { node: asked.owner.node, seq: asked.seq };
        if let Some(result) = self.try_convert(asked) {
            decided.push(Decided { call, result });
        }
        self.serve(asked.resource, asked.time, decided);
    }

    fn try_convert(&mut self, asked: Asked<'_>) -> Option<Result<Value, Refusal>> {
        let Asked { resource: name, owner, mode, .. } = asked;
        let not_held = || Some(Err(Refusal::new(ErrorKind::NotHeld, format!("{name}: not held by the caller"))));
        let Some(resource) = self.resources.get_mut(name) else { return not_held() };
        let Some(grant) = resource.granted_to(owner) else { return not_held() };
        let (held, note, generation) = (grant.mode, grant.note.clone(), grant.generation);
        if held == mode {
            (grant.seq, grant.before) = (0, None);
        }
        if resource.converting.iter().any(|wait| wait.owner == *owner) {
            return Some(Err(Refusal::new(ErrorKind::Busy, format!("{name}: a conversion of it is under way"))));
        }
        let down = held.is_down_conversion_to(mode);
        if let Some(value) = asked.value {
            if !writes(held) || !(held == mode || down) {
                let message = format!("{name}: a value block is written in PW or EX, not from {held} to {mode}");
                return Some(Err(Refusal::new(ErrorKind::Invalid, message)));
            }
            resource.value = Some((value.to_owned(), true));
        }
        if held == mode {
            return Some(Ok(self.told(name, generation)));
        }
        let free = resource.converting.is_empty() && resource.admits(owner, mode);
        if down || free {
            let generation = self.convert_grant(name, owner, mode, asked.seq);
            return Some(Ok(self.told(name, generation)));
        }
        let holders = resource.in_the_way(owner, mode);
        if asked.now_or_never {
            return Some(Err(Refusal { kind: ErrorKind::Busy, message: format!("{name}: in use"), holders }));
        }
        // Whoever converts already cannot go on before we give way, and we would wait behind.
        if let Some(ahead) = resource.converting.iter().find(|wait| !wait.mode.compatible(held)) {
            let message = format!("{name}: another holder converts to {} and waits for this one", ahead.mode);
            return Some(Err(Refusal { kind: ErrorKind::Deadlock, message, holders: vec![ahead.holder()] }));
        }
        resource.converting.push_back(Wait { owner: owner.clone(), mode, since: asked.time, note, seq: asked.seq });
        None
    }

    fn convert_grant(&mut self, name: &str, owner: &Owner, mode: Mode, seq: u64) -> u64 {
        let generation = self.next_generation();
        if let Some(grant) = self.resources.get_mut(name).and_then(|resource| resource.granted_to(owner)) {
            grant.before = Some(grant.mode);
            (grant.mode, grant.generation, grant.seq) = (mode, generation, seq);
        }
        generation
    }

    /// Gives a lock back, from PW or EX with a new value block.
    ///
    /// # Errors
    /// It is not held by `owner`, or not in a mode that writes the value block.
    pub fn unlock(
        &mut self,
        name: &str,
        owner: &Owner,
        value: Option<&str>,
        time: u64,
        decided: &mut Vec<Decided>,
    ) -> Result<Value, Refusal> {
        let Some(held) = self.held(name, owner) else {
            return Err(Refusal::new(ErrorKind::NotHeld, format!("{name}: not held by the caller")));
        };
        if let Some(value) = value {
            if !writes(held) {
                let message = format!("{name}: a value block is written in PW or EX, and this is held in {held}");
                return Err(Refusal::new(ErrorKind::Invalid, message));
            }
            if let Some(resource) = self.resources.get_mut(name) {
                resource.value = Some((value.to_owned(), true));
            }
        }
        self.release(name, owner, End::Given, decided);
        self.serve(name, time, decided);
        Ok(Value::Done {})
    }

    /// Takes back the call `call`: whatever it still waits for or was given, as if it had never
    /// been made. What cannot be undone safely, giving up rights, stays.
    pub fn withdraw(&mut self, name: &str, call: CallId, time: u64, decided: &mut Vec<Decided>) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        let made = |wait: &Wait| wait.owner.node == call.node && wait.seq == call.seq;
        resource.converting.retain(|wait| !made(wait));
        if let Some(at) = resource.waiting.iter().position(made) {
            if let Some(wait) = resource.waiting.remove(at) {
                self.forget(&wait.owner, name);
            }
        } else if let Some(grant) =
            resource.granted.iter_mut().find(|grant| grant.owner.node == call.node && grant.seq == call.seq)
        {
            let owner = grant.owner.clone();
            match grant.before {
                None => self.release(name, &owner, End::Given, decided),
                Some(before) if grant.mode.is_down_conversion_to(before) => {
                    self.convert_grant(name, &owner, before, 0);
                }
                Some(_) => {}
            }
        }
        self.serve(name, time, decided);
    }

    /// Frees everything a closed connection held or waited for.
    pub fn close(&mut self, owner: &Owner, time: u64, decided: &mut Vec<Decided>) {
        for name in self.owned.get(owner).cloned().unwrap_or_default() {
            self.release(&name, owner, End::Died, decided);
            self.serve(&name, time, decided);
        }
    }

    /// A node came back: what its former connections held is free, what they waited for is
    /// withdrawn and, where it `rebooted`, its sticky locks are free as well.
    pub fn returned(&mut self, node: u64, rebooted: bool, time: u64, decided: &mut Vec<Decided>) {
        // All of it goes before anyone is served: who is must not be told a value block that one of
        // these locks might have been about to change.
        let mut touched = self.leave_queues(node, decided);
        let over = |owner: &Owner| owner.connection.is_some() || rebooted;
        let owners: Vec<Owner> =
            self.owners(node).map(|(owner, _)| owner).filter(|owner| over(owner)).cloned().collect();
        for owner in owners {
            for name in self.owned.get(&owner).cloned().unwrap_or_default() {
                self.release(&name, &owner, End::Died, decided);
                touched.insert(name);
            }
        }
        for name in touched {
            self.serve(&name, time, decided);
        }
        // The numbers of the former incarnation's calls mean nothing to the new one.
        for grant in self.resources.values_mut().flat_map(|resource| &mut resource.granted) {
            if grant.owner.node == node {
                grant.seq = 0;
            }
        }
    }

    /// Takes a node out of every queue; what it holds, it keeps. A node that is not there must not
    /// be given anything.
    pub fn stop_waiting(&mut self, node: u64, time: u64, decided: &mut Vec<Decided>) {
        for name in self.leave_queues(node, decided) {
            self.serve(&name, time, decided);
        }
    }

    /// The same without serving who waited behind it: the resources this concerns.
    fn leave_queues(&mut self, node: u64, decided: &mut Vec<Decided>) -> BTreeSet<String> {
        let names: BTreeSet<String> = self
            .resources
            .iter()
            .filter(|(_, resource)| {
                resource.converting.iter().chain(&resource.waiting).any(|wait| wait.owner.node == node)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            let Some(resource) = self.resources.get_mut(name) else { continue };
            let mut gone = Vec::new();
            for queue in [&mut resource.converting, &mut resource.waiting] {
                gone.extend(queue.iter().filter(|wait| wait.owner.node == node).map(|wait| wait.seq));
            }
            resource.converting.retain(|wait| wait.owner.node != node);
            let left: Vec<Owner> =
                resource.waiting.iter().map(|wait| &wait.owner).filter(|owner| owner.node == node).cloned().collect();
            resource.waiting.retain(|wait| wait.owner.node != node);
            for owner in left {
                self.forget(&owner, name);
            }
            for seq in gone {
                let message = format!("{name}: this host was out of the cluster while it waited");
                let result = Err(Refusal::new(ErrorKind::Inquorate, message));
                decided.push(Decided { call: CallId { node, seq }, result });
            }
        }
        names
    }

    /// Removes `owner` from the resource: its lock, its conversion, its place in the queue.
    pub(super) fn release(&mut self, name: &str, owner: &Owner, end: End, decided: &mut Vec<Decided>) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        if end == End::Died
            && resource.granted_to(owner).is_some_and(|grant| writes(grant.mode))
            && let Some((_, valid)) = &mut resource.value
        {
            *valid = false;
        }
        let mut refused = Vec::new();
        let before = resource.granted.len() + resource.waiting.len();
        resource.granted.retain(|grant| grant.owner != *owner);
        for queue in [&mut resource.converting, &mut resource.waiting] {
            refused.extend(queue.iter().filter(|wait| wait.owner == *owner).map(|wait| wait.seq));
            queue.retain(|wait| wait.owner != *owner);
        }
        if before > resource.granted.len() + resource.waiting.len() {
            self.forget(owner, name);
        }
        for seq in refused {
            let refusal = Refusal::new(ErrorKind::NotHeld, format!("{name}: given back while the call waited"));
            decided.push(Decided { call: CallId { node: owner.node, seq }, result: Err(refusal) });
        }
    }

    /// Grants what has become possible, and drops the resource when nobody is left on it.
    pub(super) fn serve(&mut self, name: &str, time: u64, decided: &mut Vec<Decided>) {
        while let Some(resource) = self.resources.get_mut(name) {
            let (call, generation) = if let Some(next) = resource.converting.front() {
                if !resource.admits(&next.owner, next.mode) {
                    break;
                }
                let Some(next) = resource.converting.pop_front() else { break };
                let generation = self.convert_grant(name, &next.owner, next.mode, next.seq);
                (CallId { node: next.owner.node, seq: next.seq }, generation)
            } else {
                let Some(next) = resource.waiting.front() else { break };
                if !resource.admits(&next.owner, next.mode) {
                    break;
                }
                let Some(next) = resource.waiting.pop_front() else { break };
                let call = CallId { node: next.owner.node, seq: next.seq };
                self.generation += 1;
                resource.granted.push(Grant {
                    owner: next.owner,
                    mode: next.mode,
                    generation: self.generation,
                    since: time,
                    note: next.note,
                    seq: next.seq,
                    before: None,
                    offer: None,
                    accepted: None,
                });
                (call, self.generation)
            };
            decided.push(Decided { call, result: Ok(self.told(name, generation)) });
        }
        self.drop_if_empty(name);
    }

    fn drop_if_empty(&mut self, name: &str) {
        let empty = |resource: &super::Resource| {
            resource.granted.is_empty() && resource.converting.is_empty() && resource.waiting.is_empty()
        };
        if self.resources.get(name).is_some_and(empty) {
            self.resources.remove(name);
        }
    }
}
