//! Calls about the key space and the audit log.

use std::time::Duration;

use super::{Client, ClientError};
use crate::ctl::{AuditRecord, KeyEntry, KeyEvent, KeyOwner, Request, Value};

/// Quick where there is a majority, refused where there is none.
const ANSWER: Duration = Duration::from_secs(10);

impl Client {
    /// Sets a key; answers its new revision. With `if_revision` only when the key is at that one,
    /// 0 for a key that must not be there: refused with [`crate::ctl::ErrorKind::Changed`] otherwise.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn put(
        &mut self,
        key: &str,
        value: &str,
        if_revision: Option<u64>,
        owner: KeyOwner,
    ) -> Result<u64, ClientError> {
        self.revision(Request::Put { key: key.into(), value: value.into(), if_revision, owner })
    }

    /// Deletes a key; answers the revision of that. Refused with
    /// [`crate::ctl::ErrorKind::Unknown`] when there is no such key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn delete(&mut self, key: &str, if_revision: Option<u64>) -> Result<u64, ClientError> {
        self.revision(Request::Delete { key: key.into(), if_revision })
    }

    fn revision(&mut self, request: Request) -> Result<u64, ClientError> {
        match self.call(request, None)? {
            Value::Revision { revision } => Ok(revision),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A key, if there is one, and the revision of the key space at which that was so. `stale` is
    /// as this host last saw it, and is answered without a majority.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn get(&mut self, key: &str, stale: bool) -> Result<(u64, Option<KeyEntry>), ClientError> {
        match self.call(Request::Get { key: key.into(), stale }, Some(ANSWER))? {
            Value::Key { revision, entry } => Ok((revision, entry)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// All keys that begin with `prefix`, in order, and the revision to [`Client::watch`] from.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn keys(&mut self, prefix: &str, stale: bool) -> Result<(u64, Vec<KeyEntry>), ClientError> {
        match self.call(Request::Keys { prefix: prefix.into(), stale }, Some(ANSWER))? {
            Value::Keys { revision, entries } => Ok((revision, entries)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The changes of keys that begin with `prefix` behind revision `after`, and the revision to
    /// go on from. None within `deadline` is [`ClientError::Slow`]; refused with
    /// [`crate::ctl::ErrorKind::Gone`] when some are no longer kept: begin with [`Client::keys`] again.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn watch(
        &mut self,
        prefix: &str,
        after: u64,
        deadline: Option<Duration>,
    ) -> Result<(u64, Vec<KeyEvent>), ClientError> {
        let id = self.ask(Request::Watch { prefix: prefix.into(), after })?;
        match self.unless_late(id, deadline)? {
            Value::Events { revision, events } => Ok((revision, events)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Audit records behind number `after`, oldest first, at most 512 at a time; with `wait` as
    /// soon as there is one, and [`ClientError::Slow`] when there is none within `deadline`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn log(&mut self, after: u64, wait: bool, deadline: Option<Duration>) -> Result<Vec<AuditRecord>, ClientError> {
        let id = self.ask(Request::Log { after, wait })?;
        match self.unless_late(id, deadline)? {
            Value::Log(records) => Ok(records),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Does not leave a call behind that waits for nobody.
    fn unless_late(&mut self, id: u64, deadline: Option<Duration>) -> Result<Value, ClientError> {
        let answer = self.wait_for(id, deadline);
        if matches!(answer, Err(ClientError::Slow { .. })) {
            self.cancel(id)?;
        }
        answer
    }
}
