//! The key space's calls, the audit log's, and those of both that wait for something to happen.

use nines_proto::ctl::{ErrorKind, KeyEntry, MAX_KEY, MAX_LINE, MAX_VALUE, Request, Value};

use super::{Caller, Engine, Now};
use crate::state::Op;

/// Most calls of this node that wait for a change.
const MAX_WATCHES: usize = 1024;
/// Most records, and most changes and bytes of them, in one answer.
const MAX_RECORDS: usize = 512;
const MAX_EVENTS: usize = 1024;
const MAX_EVENT_BYTES: usize = 256 << 10;

/// Calls that wait for a change.
#[derive(Debug, Default)]
pub struct Watches {
    list: Vec<Watch>,
    /// The revision and the audit record up to which all of them were looked at.
    seen: (u64, u64),
}

#[derive(Debug)]
struct Watch {
    connection: u64,
    id: u64,
    wants: Wants,
}

#[derive(Debug)]
enum Wants {
    /// Changes of keys that begin with the prefix, behind the revision.
    Changes(String, u64),
    /// Audit records behind the number.
    Records(u64),
}

impl Watches {
    /// Calls of `connection` that wait.
    pub fn of(&self, connection: u64) -> usize {
        self.list.iter().filter(|watch| watch.connection == connection).count()
    }

    pub fn close(&mut self, connection: u64) {
        self.list.retain(|watch| watch.connection != connection);
    }

    /// Takes out the call `id`, if it waits here.
    pub fn cancel(&mut self, connection: u64, id: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|watch| (watch.connection, watch.id) != (connection, id));
        before > self.list.len()
    }

    /// All of them, as connection and call.
    pub fn take(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.list).into_iter().map(|watch| (watch.connection, watch.id)).collect()
    }
}

/// What is wrong with the form of a request.
fn invalid(request: &Request) -> Option<String> {
    let wrong = |text: &str| text.len() > MAX_KEY || text.chars().any(|c| c.is_control() || c == ' ');
    match request {
        Request::Put { key, .. } | Request::Delete { key, .. } | Request::Get { key, .. }
            if key.is_empty() || wrong(key) =>
        {
            Some(format!("`{key}' is not a key: 1 to {MAX_KEY} bytes, no blanks"))
        }
        Request::Keys { prefix, .. } | Request::Watch { prefix, .. } if wrong(prefix) => {
            Some(format!("`{prefix}' begins no key: up to {MAX_KEY} bytes, no blanks"))
        }
        Request::Put { key, value, .. } if value.len() > MAX_VALUE => {
            Some(format!("{key}: a value of {} bytes: at most {MAX_VALUE}", value.len()))
        }
        _ => None,
    }
}

impl Engine {
    pub(super) fn key_call(&mut self, now: Now, caller: &Caller, id: u64, request: Request) {
        let connection = caller.connection;
        if let Some(message) = invalid(&request) {
            return self.refuse(connection, id, ErrorKind::Invalid, message);
        }
        let (op, name) = match request {
            Request::Put { key, value, if_revision, owner } => {
                let name = key.clone();
                (Op::Put { key, value, if_revision, owner, connection }, name)
            }
            Request::Delete { key, if_revision } => (Op::Delete { key: key.clone(), if_revision }, key),
            Request::Get { key, stale: false } => (Op::Get { key: key.clone() }, key),
            Request::Keys { prefix, stale: false } => {
                let name = if prefix.is_empty() { "keys".to_owned() } else { prefix.clone() };
                (Op::Keys { prefix }, name)
            }
            Request::Get { key, .. } => return self.read(connection, id, &Op::Get { key }),
            Request::Keys { prefix, .. } => return self.read(connection, id, &Op::Keys { prefix }),
            Request::Watch { prefix, after } => {
                return self.watch(Watch { connection, id, wants: Wants::Changes(prefix, after) });
            }
            Request::Log { after, wait } => {
                let found = self.records(after);
                if wait && found.is_empty() {
                    return self.watch(Watch { connection, id, wants: Wants::Records(after) });
                }
                return self.answer(connection, id, Ok(Value::Log(found)));
            }
            _ => return,
        };
        self.enter(now, connection, id, &name, op, Some(0));
    }

    /// Answers a question about keys from the state as it is now.
    pub(super) fn read(&mut self, connection: u64, id: u64, op: &Op) {
        let keys = &self.state.keys;
        let entry = |key: &str, entry: &crate::state::keys::Entry| KeyEntry {
            key: key.to_owned(),
            value: entry.value.clone(),
            revision: entry.revision,
            owner: entry.owner.map(|owner| self.conf.name_of(owner.node)),
        };
        let value = match op {
            Op::Get { key } => Value::Key { revision: keys.revision(), entry: keys.get(key).map(|of| entry(key, of)) },
            Op::Keys { prefix } => {
                // Each has some 80 bytes around it.
                let long: usize = keys.list(prefix).map(|(key, of)| key.len() + of.value.len() + 80).sum();
                if long > MAX_LINE {
                    let message = format!("{prefix}: more than fits into an answer: ask for a longer prefix");
                    return self.refuse(connection, id, ErrorKind::Invalid, message);
                }
                let entries = keys.list(prefix).map(|(key, of)| entry(key, of)).collect();
                Value::Keys { revision: keys.revision(), entries }
            }
            _ => return,
        };
        self.answer(connection, id, Ok(value));
    }

    fn records(&self, after: u64) -> Vec<nines_proto::ctl::AuditRecord> {
        self.state.audit.after(after).take(MAX_RECORDS).cloned().collect()
    }

    /// Answers a call that waits for a change, or has it wait.
    fn watch(&mut self, watch: Watch) {
        let (connection, id) = (watch.connection, watch.id);
        if self.stopping {
            return self.refuse(connection, id, ErrorKind::Stopping, "cluster-join is stopping".into());
        }
        let Some(watch) = self.look(watch) else { return };
        if self.watches.list.len() >= MAX_WATCHES || self.waiting_calls(connection) >= super::calls::MAX_PER_CONNECTION
        {
            let message = "too many calls of this connection or this host wait already".to_owned();
            return self.refuse(connection, id, ErrorKind::Busy, message);
        }
        self.watches.list.push(watch);
    }

    /// Answers those for whom there is something now.
    pub(super) fn serve_watches(&mut self) {
        let now = (self.state.keys.revision(), self.state.audit.last());
        if self.watches.seen == now {
            return;
        }
        self.watches.seen = now;
        let list = std::mem::take(&mut self.watches.list);
        self.watches.list = list.into_iter().filter_map(|watch| self.look(watch)).collect();
    }

    /// The watch, if there is nothing for it yet. What was looked at once is not again.
    fn look(&mut self, mut watch: Watch) -> Option<Watch> {
        let value = match &mut watch.wants {
            Wants::Records(after) => {
                let found = self.records(*after);
                if found.is_empty() {
                    return Some(watch);
                }
                Value::Log(found)
            }
            Wants::Changes(prefix, after) => {
                let keys = &self.state.keys;
                let Some(behind) = keys.events(*after) else {
                    let message =
                        format!("{prefix}: the changes behind revision {after} are no longer kept: list the keys anew");
                    self.refuse(watch.connection, watch.id, ErrorKind::Gone, message);
                    return None;
                };
                let (mut revision, mut bytes, mut events) = (keys.revision(), 0, Vec::new());
                for event in behind.filter(|event| event.key.starts_with(prefix.as_str())) {
                    if events.len() == MAX_EVENTS || bytes > MAX_EVENT_BYTES {
                        revision = events.last().map_or(revision, |event: &nines_proto::ctl::KeyEvent| event.revision);
                        break;
                    }
                    bytes += event.key.len() + event.value.as_ref().map_or(0, String::len);
                    events.push(event.clone());
                }
                if events.is_empty() {
                    *after = revision.max(*after);
                    return Some(watch);
                }
                Value::Events { revision, events }
            }
        };
        self.answer(watch.connection, watch.id, Ok(value));
        None
    }
}
