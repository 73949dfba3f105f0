//! Programs on the hosts that keep what they know in the key space, and watch what others put
//! there. What they do is drawn apart, so that a history without them stays the same.

use cluster_join::engine::{Caller, Event};
use nines_proto::ctl::{Answer, Call, ErrorKind, KeyOwner, Outcome, Request, Value};

use crate::check::must;
use crate::world::World;

/// Most of one host at once.
const PROGRAMS: usize = 2;
/// Few, so that everybody meets everybody.
const KEYS: [&str; 4] = ["a/1", "a/2", "b/1", "b/2"];
/// What a host watches, by its number.
const WATCHED: [&str; 3] = ["", "a/", "b/"];

/// A program: one connection, over which it asks for one thing at a time, and watches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    calls: u64,
    asked: Option<Asked>,
    /// The call that watches, and the revision behind which.
    watches: Option<(u64, u64)>,
}

/// What it waits to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    call: u64,
    request: Request,
    /// The revision that somebody had heard of when it asked.
    since: u64,
}

impl World {
    /// A program on the host does something.
    pub(crate) fn program_acts(&mut self, id: u64) {
        if !self.asking.one_in(4) || self.host(id).daemon.is_none() || self.host(id).leaving {
            return;
        }
        if self.host(id).programs.len() < PROGRAMS && self.asking.one_in(2) {
            let host = self.host(id);
            let connection = host.next_connection;
            host.next_connection += 1;
            host.programs.insert(connection, Program::default());
        }
        let count = self.host(id).programs.len();
        if count == 0 {
            return;
        }
        let at = self.asking.index(count);
        let Some((connection, program)) = self.host(id).programs.iter().nth(at) else { return };
        let (connection, idle, watches) = (*connection, program.asked.is_none(), program.watches.is_some());
        if self.asking.one_in(12) {
            return self.program_ends(id, connection);
        }
        if !watches && self.asking.one_in(2) {
            let (prefix, after) = (Self::watched(id), self.host(id).watched);
            let Some(call) = self.next_call(id, connection) else { return };
            if let Some(program) = self.host(id).programs.get_mut(&connection) {
                program.watches = Some((call, after));
            }
            self.program_calls(id, connection, call, Request::Watch { prefix: prefix.into(), after });
        } else if idle {
            self.asks(id, connection);
        }
    }

    fn watched(id: u64) -> &'static str {
        WATCHED[usize::try_from(id).unwrap_or_default() % WATCHED.len()]
    }

    fn next_call(&mut self, id: u64, connection: u64) -> Option<u64> {
        let program = self.host(id).programs.get_mut(&connection)?;
        program.calls += 1;
        Some(program.calls)
    }

    fn asks(&mut self, id: u64, connection: u64) {
        let key = self.asking.pick(&KEYS).to_owned();
        let known = self.check.keys.revision_of(&key);
        let if_revision = match self.asking.below(4) {
            0 => Some(known),
            1 => Some(self.asking.below(known + 1)),
            _ => None,
        };
        let request = match self.asking.below(8) {
            0..=3 => {
                let owner =
                    self.asking.pick(&[KeyOwner::Cluster, KeyOwner::Cluster, KeyOwner::Connection, KeyOwner::Host]);
                let value = format!("v{}", self.number());
                Request::Put { key, value, if_revision, owner }
            }
            4 => Request::Delete { key, if_revision },
            5 => Request::Keys { prefix: Self::watched(self.time).into(), stale: self.asking.one_in(2) },
            _ => Request::Get { key, stale: self.asking.one_in(4) },
        };
        let since = self.check.keys.heard();
        let Some(call) = self.next_call(id, connection) else { return };
        if let Some(program) = self.host(id).programs.get_mut(&connection) {
            program.asked = Some(Asked { call, request: request.clone(), since });
        }
        self.counts.one("calls about keys");
        self.program_calls(id, connection, call, request);
    }

    fn program_calls(&mut self, id: u64, connection: u64, call: u64, request: Request) {
        self.trace.note(self.time, || format!("n{id} program {connection} asks: {request:?}"));
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(id, Event::Call { caller, call: Call { id: call, request } });
    }

    pub(crate) fn program_ends(&mut self, id: u64, connection: u64) {
        if self.host(id).programs.remove(&connection).is_some() {
            self.trace.note(self.time, || format!("n{id} program {connection} ends"));
            self.step(id, Event::Closed { connection });
        }
    }

    pub(crate) fn program_answered(&mut self, id: u64, connection: u64, answer: Answer) {
        self.trace.note(self.time, || format!("n{id} program {connection} is told {:?}", answer.outcome));
        let Some(program) = self.host(id).programs.get_mut(&connection) else { return };
        if let Some((_, after)) = program.watches.take_if(|(call, _)| *call == answer.id) {
            if let Outcome::Ok(Value::Events { revision, events }) = answer.outcome {
                let verdict = self.check.keys.c4_watched(Self::watched(id), after, revision, &events);
                self.check.that(verdict);
                self.counts.some("changes watched", events.len() as u64);
                let watched = &mut self.host(id).watched;
                *watched = revision.max(*watched);
            }
            return;
        }
        let Some(Asked { request, since, .. }) = program.asked.take_if(|asked| asked.call == answer.id) else {
            let what = || format!("n{id} program {connection} was told {answer:?}, which it did not ask");
            return self.check.that(must("l5_answers_fit", false, what));
        };
        let keys = &mut self.check.keys;
        let verdict = match (&request, answer.outcome) {
            (Request::Put { key, value, .. }, Outcome::Ok(Value::Revision { revision })) => {
                keys.c4_changed(key, Some(value), revision, since)
            }
            (Request::Delete { key, .. }, Outcome::Ok(Value::Revision { revision })) => {
                keys.c4_changed(key, None, revision, since)
            }
            (Request::Get { key, stale }, Outcome::Ok(Value::Key { revision, entry })) => {
                keys.c4_read(key, entry.as_ref(), revision, (!stale).then_some(since))
            }
            (Request::Keys { prefix, stale }, Outcome::Ok(Value::Keys { revision, entries })) => {
                keys.c4_listed(prefix, &entries, revision, (!stale).then_some(since))
            }
            // What became of it is not known to a daemon that ends, or that was away for too long.
            (_, Outcome::Error(failure)) if matches!(failure.kind, ErrorKind::Stopping | ErrorKind::Gone) => Ok(()),
            (Request::Put { value, .. }, Outcome::Error(_)) => keys.c4_refused(value),
            (_, Outcome::Error(_)) => Ok(()),
            (request, outcome) => must("l5_answers_fit", false, || format!("{request:?} was answered {outcome:?}")),
        };
        self.check.that(verdict);
    }

    /// While faults are over: programs hear what they asked for, and end; true when what was theirs
    /// is gone.
    pub(crate) fn programs_end(&mut self) -> bool {
        for id in self.ids() {
            let over = |(connection, program): (&u64, &Program)| program.asked.is_none().then_some(*connection);
            for connection in self.host(id).programs.iter().filter_map(over).collect::<Vec<_>>() {
                self.program_ends(id, connection);
            }
        }
        let verdict = self.check.keys.c4_refused_stay_out();
        self.check.that(verdict);
        let gone = self.hosts.iter().all(|host| host.programs.is_empty());
        gone && self.engines().all(|(_, engine)| {
            engine.state().keys.list("").all(|(_, entry)| entry.owner.is_none_or(|owner| owner.connection.is_none()))
        })
    }
}
