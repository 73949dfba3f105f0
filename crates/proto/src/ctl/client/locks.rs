//! Calls about locks.

use std::time::Duration;

use super::{Client, ClientError};
use crate::ctl::{LockState, Mode, Request, Value};

/// Whose a lock is, and so how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// This connection's, until it closes.
    Connection,
    /// This host's, until it is given back or the host's boot is certainly over.
    Host,
    /// The same, apart from those of the host's other sessions.
    Session(&'a str),
}

impl Whose<'_> {
    fn sticky(self) -> bool {
        self != Self::Connection
    }

    fn session(self) -> Option<String> {
        match self {
            Self::Session(name) => Some(name.to_owned()),
            Self::Connection | Self::Host => None,
        }
    }
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub generation: u64,
    /// The resource's value block, and whether it can be trusted.
    pub value: Option<(String, bool)>,
}

impl Client {
    /// # Errors
    /// As [`Client::call`].
    pub fn locks(&mut self) -> Result<Vec<LockState>, ClientError> {
        match self.call(Request::Locks, Some(Duration::from_secs(10)))? {
            Value::Locks(locks) => Ok(locks),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Takes a lock for this connection; answers its generation.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lock(&mut self, resource: &str, mode: Mode, wait_ms: Option<u64>, note: &str) -> Result<u64, ClientError> {
        self.lock_as(Whose::Connection, resource, mode, wait_ms, note).map(|granted| granted.generation)
    }

    /// Takes a lock for this host, which keeps it after the connection closes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lock_sticky(
        &mut self,
        resource: &str,
        mode: Mode,
        wait_ms: Option<u64>,
        note: &str,
    ) -> Result<u64, ClientError> {
        self.lock_as(Whose::Host, resource, mode, wait_ms, note).map(|granted| granted.generation)
    }

    /// Changes the mode of a lock this host keeps.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn convert_sticky(&mut self, resource: &str, mode: Mode, wait_ms: Option<u64>) -> Result<u64, ClientError> {
        self.convert_as(Whose::Host, resource, mode, wait_ms, None).map(|granted| granted.generation)
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn unlock(&mut self, resource: &str) -> Result<(), ClientError> {
        self.unlock_as(Whose::Connection, resource, None, None)
    }

    /// [`Client::unlock`] that gives up waiting for the answer after `deadline`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn unlock_within(&mut self, resource: &str, deadline: Duration) -> Result<(), ClientError> {
        self.unlock_as(Whose::Connection, resource, None, Some(deadline))
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn unlock_sticky(&mut self, resource: &str) -> Result<(), ClientError> {
        self.unlock_as(Whose::Host, resource, None, None)
    }

    /// Offers a sticky lock to the host `to`; answers the offer's number.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn offer(&mut self, resource: &str, to: &str) -> Result<u64, ClientError> {
        match self.call(Request::Offer { resource: resource.into(), to: to.into() }, None)? {
            Value::Offered { offer } => Ok(offer),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Becomes the owner of a lock offered to this host; answers the new generation.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn accept(&mut self, resource: &str, offer: u64) -> Result<u64, ClientError> {
        self.granted(Request::Accept { resource: resource.into(), offer }).map(|granted| granted.generation)
    }

    /// Withdraws an offer; refused with `not-held` when it was accepted before.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn retract(&mut self, resource: &str, offer: u64) -> Result<(), ClientError> {
        self.done(Request::Retract { resource: resource.into(), offer }, None)
    }

    /// Takes a lock for whom it may concern.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lock_as(
        &mut self,
        whose: Whose<'_>,
        resource: &str,
        mode: Mode,
        wait_ms: Option<u64>,
        note: &str,
    ) -> Result<Granted, ClientError> {
        let (sticky, session) = (whose.sticky(), whose.session());
        self.granted(Request::Lock { resource: resource.into(), mode, wait_ms, sticky, session, note: note.into() })
    }

    /// Changes the mode of a lock that is held. `value` becomes the resource's value block when
    /// the lock was in PW or EX.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn convert_as(
        &mut self,
        whose: Whose<'_>,
        resource: &str,
        mode: Mode,
        wait_ms: Option<u64>,
        value: Option<&str>,
    ) -> Result<Granted, ClientError> {
        let (sticky, session, value) = (whose.sticky(), whose.session(), value.map(str::to_owned));
        self.granted(Request::Convert { resource: resource.into(), mode, wait_ms, sticky, session, value })
    }

    /// Gives a lock back; `value` as for [`Client::convert_as`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn unlock_as(
        &mut self,
        whose: Whose<'_>,
        resource: &str,
        value: Option<&str>,
        deadline: Option<Duration>,
    ) -> Result<(), ClientError> {
        let (sticky, session, value) = (whose.sticky(), whose.session(), value.map(str::to_owned));
        self.done(Request::Unlock { resource: resource.into(), sticky, session, value }, deadline)
    }

    fn granted(&mut self, request: Request) -> Result<Granted, ClientError> {
        match self.call(request, None)? {
            Value::Granted { generation, value } => Ok(Granted { generation, value }),
            other => Err(self.unexpected(&other)),
        }
    }
}
