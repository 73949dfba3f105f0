//! The key space's calls, and those that wait for a change.

use nines_proto::ctl::{ErrorKind, Request};

use super::{Caller, Engine, Now};

impl Engine {
    pub(super) fn key_call(&mut self, _now: Now, caller: &Caller, id: u64, request: &Request) {
        let message = format!("this version does not serve {request:?}");
        self.refuse(caller.connection, id, ErrorKind::Invalid, message);
    }
}
