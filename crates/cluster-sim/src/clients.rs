//! Programs on the hosts that take locks, hold them in this mode and that, and give them back.

use cluster_join::engine::{Caller, Event};
use nines_proto::ctl::{Answer, Call, ErrorKind, Mode, Outcome, Request, Value};

use crate::check::{Fencing, Held};
use crate::clock::MS;
use crate::host::{Client, Does};
use crate::world::{Happening, World};

/// Few, so that everybody meets everybody.
const RESOURCES: u64 = 3;
/// Most clients of one host at once.
const CLIENTS: usize = 6;

impl World {
    pub(crate) fn call(&mut self, id: u64, connection: u64, request: Request) {
        if self.host(id).daemon.is_none() {
            // It has just ended, over something else that was done there.
            if let Some(client) = self.host(id).clients.remove(&connection) {
                self.look_after(id, &client);
            }
            return;
        }
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(id, Event::Call { caller, call: Call { id: 1, request } });
    }

    /// A new connection to the host's daemon.
    pub(crate) fn connect(&mut self, id: u64, client: Client) -> u64 {
        let host = self.host(id);
        let connection = host.next_connection;
        host.next_connection += 1;
        host.clients.insert(connection, client);
        connection
    }

    /// Somebody on the host does something.
    pub(crate) fn client_acts(&mut self, id: u64) {
        if self.host(id).daemon.is_none() || self.host(id).leaving {
            return;
        }
        if self.host(id).clients.len() < CLIENTS && self.random.one_in(2) {
            if self.random.one_in(8) {
                self.domain_acts(id);
            } else {
                self.ask(id);
            }
        }
        let count = self.host(id).clients.len();
        if count == 0 {
            return;
        }
        let at = self.random.index(count);
        let Some((connection, client)) = self.host(id).clients.iter().nth(at) else { return };
        let (connection, does) = (*connection, client.does);
        if self.plan.programs && self.asking.one_in(6) {
            match does {
                Does::Asking | Does::Converting(..) => return self.cancel(id, connection),
                Does::Cancelled => return self.ask_again(id, connection),
                _ => {}
            }
        }
        match (does, self.random.below(12)) {
            (_, 0) => self.hang_up(id, connection),
            (Does::Holding(number), 1..=3) => self.convert(id, connection, number),
            (Does::Holding(number), 4..) => self.give_back(id, connection, number),
            _ => {}
        }
    }

    fn ask(&mut self, id: u64) {
        let resource = format!("r{}", self.random.below(RESOURCES));
        let mode = self.random.pick(&[Mode::Ex, Mode::Ex, Mode::Pr, Mode::Pw, Mode::Cr, Mode::Cw, Mode::Nl]);
        let sticky = self.random.one_in(3);
        let wait_ms = self.random.pick(&[None, Some(0), Some(500), Some(5000)]);
        let host = self.host(id);
        // A host asks for what it has by itself only after it gave it back.
        if sticky
            && (host.domains.contains_key(&resource)
                || host.clients.values().any(|client| client.sticky && client.resource == resource))
        {
            return;
        }
        let client = Client { resource: resource.clone(), mode, sticky, does: Does::Asking };
        let connection = self.connect(id, client);
        self.trace.note(self.time, || {
            format!("n{id} client {connection} asks for {resource} in {mode}, sticky {sticky}, waits {wait_ms:?}")
        });
        let request = Request::Lock { resource, mode, wait_ms, sticky, session: None, note: String::new() };
        self.call(id, connection, request);
    }

    /// A client that waits withdraws what it asked for.
    fn cancel(&mut self, id: u64, connection: u64) {
        self.counts.one("cancels");
        self.trace.note(self.time, || format!("n{id} client {connection} cancels"));
        let caller = Caller { connection, may_steer: true, who: "uid 0".into() };
        self.step(id, Event::Call { caller, call: Call { id: 2, request: Request::Cancel { call: 1 } } });
    }

    /// One that withdrew asks for the same once more.
    fn ask_again(&mut self, id: u64, connection: u64) {
        self.does(id, connection, Does::Asking);
        let Some(Client { resource, mode, .. }) = self.host(id).clients.get(&connection).cloned() else { return };
        self.trace.note(self.time, || format!("n{id} client {connection} asks for {resource} in {mode} once more"));
        let (sticky, session, note) = (false, None, String::new());
        self.call(id, connection, Request::Lock { resource, mode, wait_ms: None, sticky, session, note });
    }

    /// Something for the value block, from whoever may write it.
    fn value(&mut self, from: Mode) -> Option<String> {
        let writes = self.plan.programs && from >= Mode::Pw && self.asking.one_in(2);
        writes.then(|| format!("{:064x}", self.number()))
    }

    fn convert(&mut self, id: u64, connection: u64, number: u64) {
        let to = self.random.pick(&Mode::ALL);
        let wait_ms = self.random.pick(&[None, Some(0), Some(300)]);
        let Some(client) = self.host(id).clients.get_mut(&connection) else { return };
        if client.mode == to {
            return;
        }
        client.does = Does::Converting(number, to);
        let (resource, from) = (client.resource.clone(), client.mode);
        // What the new mode does not allow is given up before asking.
        self.check.storage.weaken(number, both(from, to));
        self.trace.note(self.time, || format!("n{id} client {connection} converts {resource} from {from} to {to}"));
        let value = if from.is_down_conversion_to(to) { self.value(from) } else { None };
        let request = Request::Convert { resource, mode: to, wait_ms, sticky: false, session: None, value };
        self.call(id, connection, request);
    }

    pub(crate) fn give_back(&mut self, id: u64, connection: u64, number: u64) {
        self.check.storage.gone(number);
        let Some(client) = self.host(id).clients.get_mut(&connection) else { return };
        client.does = Does::Returning;
        let (resource, mode) = (client.resource.clone(), client.mode);
        let value = self.value(mode);
        self.trace.note(self.time, || format!("n{id} client {connection} gives {resource} back"));
        self.call(id, connection, Request::Unlock { resource, sticky: false, session: None, value });
    }

    pub(crate) fn hang_up(&mut self, id: u64, connection: u64) {
        let Some(client) = self.host(id).clients.remove(&connection) else {
            return self.taker_ends(id, connection);
        };
        if let Does::Holding(number) | Does::Converting(number, _) = client.does {
            self.check.storage.gone(number);
        }
        self.trace.note(self.time, || format!("n{id} client {connection} hangs up"));
        self.look_after(id, &client);
        self.step(id, Event::Closed { connection });
    }

    /// Has the client go as soon as the daemon has done what it is doing.
    pub(crate) fn hang_up_soon(&mut self, host: u64, connection: u64) {
        self.after(MS / 10, Happening::HangUp { host, connection });
    }

    pub(crate) fn answered(&mut self, id: u64, connection: u64, answer: Answer) {
        if self.host(id).programs.contains_key(&connection) {
            return self.program_answered(id, connection, answer);
        }
        if self.host(id).takers.contains_key(&connection) {
            return self.taker_answered(id, connection, answer);
        }
        let Some(client) = self.host(id).clients.get(&connection).cloned() else { return };
        self.trace.note(self.time, || format!("n{id} client {connection} is told {:?}", answer.outcome));
        // Whether there was something to withdraw shows in the answer to that.
        if answer.id != 1 {
            return;
        }
        let Client { resource, mode, sticky, does } = client;
        if let Outcome::Ok(Value::Granted { generation, value }) = &answer.outcome {
            let verdict = self.check.values.l4_told(*generation, &resource, value.as_ref());
            self.check.that(verdict);
        }
        match (does, answer.outcome) {
            (Does::Asking, Outcome::Ok(Value::Granted { generation, .. })) if sticky => {
                self.domain_runs(id, resource, mode, generation);
                self.hang_up_soon(id, connection);
            }
            (Does::Asking, Outcome::Ok(Value::Granted { generation, .. })) => {
                let Some(number) = self.told(Held { node: id, resource, mode, generation }, false) else { return };
                self.does(id, connection, Does::Holding(number));
            }
            (Does::Converting(number, to), Outcome::Ok(Value::Granted { generation, .. })) => {
                self.counts.one("conversions");
                let verdict = self.check.storage.converted(number, to, generation);
                self.check.that(verdict);
                self.does(id, connection, Does::Holding(number));
                if let Some(client) = self.host(id).clients.get_mut(&connection) {
                    client.mode = to;
                }
            }
            (Does::Converting(number, to), Outcome::Error(_)) => {
                self.does(id, connection, Does::Holding(number));
                // What was given up for good before asking stays given up.
                if mode.is_down_conversion_to(to) {
                    self.hang_up_soon(id, connection);
                } else {
                    let verdict = self.check.storage.restored(number, mode);
                    self.check.that(verdict);
                }
            }
            (Does::Offering(_) | Does::Accepting | Does::Retracting(_), outcome) => {
                self.moving_answered(id, connection, (&resource, mode), does, outcome);
            }
            (Does::Leaving, outcome) => {
                let left = matches!(outcome, Outcome::Ok(_));
                self.counts.one(if left { "leaves" } else { "leaves refused" });
                self.host(id).leaving = left;
                self.hang_up_soon(id, connection);
            }
            (Does::Asking, Outcome::Error(failure)) if failure.kind == ErrorKind::Cancelled && !sticky => {
                self.does(id, connection, Does::Cancelled);
            }
            (Does::Asking, Outcome::Error(_)) | (Does::Returning, _) => self.hang_up_soon(id, connection),
            (does, outcome) => {
                let what = || format!("n{id} client {connection} was told {outcome:?} while {does:?}");
                self.check.that(crate::check::must("l5_answers_fit", false, what));
            }
        }
    }

    pub(crate) fn does(&mut self, id: u64, connection: u64, does: Does) {
        if let Some(client) = self.host(id).clients.get_mut(&connection) {
            client.does = does;
        }
    }

    /// Somebody may write from now on: its number at the storage.
    pub(crate) fn told(&mut self, held: Held, again: bool) -> Option<u64> {
        self.counts.one("grants");
        let open = self.host(held.node).had_access;
        self.check.that(Fencing::f9_access_before_grants(&held, open));
        match self.check.storage.told(held, again) {
            Ok(number) => Some(number),
            Err(violation) => {
                self.check.that(Err(violation));
                None
            }
        }
    }
}

/// What two modes allow in common.
pub(crate) fn both(one: Mode, other: Mode) -> Mode {
    if one == other || one.is_down_conversion_to(other) {
        other
    } else if other.is_down_conversion_to(one) {
        one
    } else {
        Mode::Cr
    }
}
