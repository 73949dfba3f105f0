//! Calls about the configuration, and how the consensus follows it.

use nines_proto::ctl::{ErrorKind, Request};

use super::{Caller, Engine, Now};

impl Engine {
    pub(super) fn conf_call(&mut self, _now: Now, caller: &Caller, id: u64, request: &Request) {
        let message = format!("this version does not serve {request:?}");
        self.refuse(caller.connection, id, ErrorKind::Invalid, message);
    }
}
