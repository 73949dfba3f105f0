//! Programs that take locks for sessions by name, as `clvm-lock take` does: what runs under such a
//! lock goes on without the connection over which it was taken, and without the daemon. What they
//! do is drawn apart, so that a history without them stays the same.

use cluster_join::engine::{Caller, Event};
use nines_proto::ctl::{Answer, Call, ErrorKind, Mode, Outcome, Request, Value};

use crate::check::{Held, must};
use crate::clients::both;
use crate::world::World;

/// Most connections of one host at once that take, convert and drop.
const TAKERS: usize = 2;
/// Few, so that everybody meets everybody.
const NAMES: [&str; 2] = ["s1", "s2"];
const RESOURCES: u64 = 3;

/// A session's name and a resource.
pub type Key = (String, String);

/// One call about a session's lock, over a connection of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    pub key: Key,
    does: Takes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Taking(Mode),
    /// From a mode, where that is certain, to another.
    Converting(Option<Mode>, Mode),
    Dropping,
    Done,
}

/// What runs on a host under a session's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What it keeps to: less than the lock allows while that is not certain.
    mode: Mode,
    certain: bool,
    /// Its number at the storage.
    pub number: u64,
}

impl World {
    /// Somebody on the host takes, converts or drops a session's lock.
    pub(crate) fn session_acts(&mut self, id: u64) {
        if !self.asking.one_in(4) || self.host(id).daemon.is_none() || self.host(id).leaving {
            return;
        }
        let count = self.host(id).takers.len();
        if count > 0 && self.asking.one_in(6) {
            let at = self.asking.index(count);
            if let Some(connection) = self.host(id).takers.keys().nth(at).copied() {
                self.taker_ends(id, connection);
            }
        }
        let key = (self.asking.pick(&NAMES).to_owned(), format!("r{}", self.asking.below(RESOURCES)));
        let host = self.host(id);
        if host.takers.len() >= TAKERS || host.takers.values().any(|taker| taker.key == key) {
            return;
        }
        let mode = host.taken.get(&key).map(|taken| taken.mode);
        match (mode, self.asking.below(3)) {
            (None, _) => {
                let mode = self.asking.pick(&[Mode::Ex, Mode::Ex, Mode::Pr, Mode::Pw, Mode::Cr, Mode::Nl]);
                self.take(id, key, mode);
            }
            (Some(mode), 0) => self.take(id, key, mode),
            (Some(_), 1) => self.convert_session(id, key),
            (Some(_), _) => self.drop_session(id, key),
        }
    }

    fn taker(&mut self, id: u64, key: Key, does: Takes, request: Request) {
        let host = self.host(id);
        // It may just have ended, over something else that was done there.
        if host.daemon.is_none() {
            return;
        }
        let connection = host.next_connection;
        host.next_connection += 1;
        host.takers.insert(connection, Taker { key, does });
        self.trace.note(self.time, || format!("n{id} taker {connection} asks: {request:?}"));
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(id, Event::Call { caller, call: Call { id: 1, request } });
    }

    fn take(&mut self, id: u64, key: Key, mode: Mode) {
        let wait_ms = self.asking.pick(&[None, Some(0), Some(1500)]);
        let (session, resource) = key.clone();
        let (session, note) = (Some(session), String::new());
        let request = Request::Lock { resource, mode, wait_ms, sticky: true, session, note };
        self.taker(id, key, Takes::Taking(mode), request);
    }

    fn convert_session(&mut self, id: u64, key: Key) {
        let to = self.asking.pick(&Mode::ALL);
        let wait_ms = self.asking.pick(&[None, Some(0), Some(300)]);
        let Some(taken) = self.host(id).taken.get_mut(&key) else { return };
        let from = taken.certain.then_some(taken.mode);
        // What the new mode does not allow is given up before asking.
        (taken.mode, taken.certain) = (both(taken.mode, to), false);
        let (number, mode) = (taken.number, taken.mode);
        self.check.storage.weaken(number, mode);
        let (session, resource) = key.clone();
        let session = Some(session);
        let request = Request::Convert { resource, mode: to, wait_ms, sticky: true, session, value: None };
        self.taker(id, key, Takes::Converting(from, to), request);
    }

    fn drop_session(&mut self, id: u64, key: Key) {
        if let Some(taken) = self.host(id).taken.remove(&key) {
            self.check.storage.gone(taken.number);
        }
        let (session, resource) = key.clone();
        let request = Request::Unlock { resource, sticky: true, session: Some(session), value: None };
        self.taker(id, key, Takes::Dropping, request);
    }

    pub(crate) fn taker_ends(&mut self, id: u64, connection: u64) {
        if self.host(id).takers.remove(&connection).is_some() {
            self.trace.note(self.time, || format!("n{id} taker {connection} ends"));
            self.step(id, Event::Closed { connection });
        }
    }

    pub(crate) fn taker_answered(&mut self, id: u64, connection: u64, answer: Answer) {
        self.trace.note(self.time, || format!("n{id} taker {connection} is told {:?}", answer.outcome));
        let Some(taker) = self.host(id).takers.get_mut(&connection) else { return };
        let does = std::mem::replace(&mut taker.does, Takes::Done);
        let key = taker.key.clone();
        let taken = self.host(id).taken.get(&key).cloned();
        match (does, answer.outcome, taken) {
            (Takes::Taking(mode), Outcome::Ok(Value::Granted { generation, .. }), None) => {
                self.counts.one("session grants");
                let held = Held { node: id, resource: key.1.clone(), mode, generation };
                if let Some(number) = self.told(held, true) {
                    self.host(id).taken.insert(key, Taken { mode, certain: true, number });
                }
            }
            (
                Takes::Taking(mode) | Takes::Converting(_, mode),
                Outcome::Ok(Value::Granted { generation, .. }),
                Some(Taken { number, .. }),
            ) => {
                let verdict = self.check.storage.converted(number, mode, generation);
                self.check.that(verdict);
                self.host(id).taken.insert(key, Taken { mode, certain: true, number });
            }
            (Takes::Converting(Some(from), to), Outcome::Error(failure), Some(Taken { number, .. }))
                if !from.is_down_conversion_to(to)
                    && !matches!(failure.kind, ErrorKind::Stopping | ErrorKind::Gone) =>
            {
                let verdict = self.check.storage.restored(number, from);
                self.check.that(verdict);
                self.host(id).taken.insert(key, Taken { mode: from, certain: true, number });
            }
            (Takes::Taking(_) | Takes::Converting(..), Outcome::Error(_), _) | (Takes::Dropping, _, _) => {}
            (does, outcome, taken) => {
                let what = || format!("n{id} taker {connection} was told {outcome:?} while {does:?}, {taken:?}");
                self.check.that(must("l5_answers_fit", false, what));
            }
        }
        self.hang_up_soon(id, connection);
    }

    /// While faults are over: every session's lock is given back, also one that nobody knows of.
    pub(crate) fn sessions_end(&mut self) {
        let in_log = |world: &Self| -> Vec<(u64, Key)> {
            let Some((_, engine)) = world.newest() else { return Vec::new() };
            let granted = engine.state().locks.list().flat_map(|(resource, granted, _)| {
                let resource = resource.to_owned();
                granted
                    .into_iter()
                    .filter_map(move |holder| Some((holder.owner.node, (holder.owner.session?, resource.clone()))))
            });
            granted.collect()
        };
        let mut over = in_log(self);
        for host in &self.hosts {
            over.extend(host.taken.keys().map(|key| (host.id, key.clone())));
        }
        over.sort_unstable();
        over.dedup();
        for (id, key) in over {
            let host = self.host(id);
            if host.daemon.is_some() && !host.takers.values().any(|taker| taker.key == key) {
                self.drop_session(id, key);
            }
        }
    }
}
