//! Calls about fencing, and what the leader does about lost nodes.

use nines_proto::ctl::{ErrorKind, Request};

use super::{Caller, Engine, Now};

impl Engine {
    pub(super) fn fence_call(&mut self, _now: Now, caller: &Caller, id: u64, request: &Request) {
        let message = format!("this version does not serve {request:?}");
        self.refuse(caller.connection, id, ErrorKind::Invalid, message);
    }
}
