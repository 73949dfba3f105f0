//! Calls about fencing, the configuration and leaving.

use std::time::Duration;

use super::{Client, ClientError};
use crate::ctl::{ConfEntry, ConfStored, FenceTested, Fences, Request, Value};

/// For what a daemon answers by itself.
const ANSWER: Duration = Duration::from_secs(10);

impl Client {
    /// Pending and past fencings, and what each node can be fenced with.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn fences(&mut self) -> Result<Fences, ClientError> {
        match self.call(Request::Fences, Some(ANSWER))? {
            Value::Fences(fences) => Ok(fences),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Has `node` fenced; answers the operation's number when that has happened.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn fence(&mut self, node: &str, why: &str, deadline: Option<Duration>) -> Result<u64, ClientError> {
        match self.call(Request::Fence { node: node.into(), why: why.into() }, deadline)? {
            Value::Fenced { operation } => Ok(operation),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Says that the run `incarnation` of `node` is certainly off, for the pending `operation`;
    /// `newest` that this node, which is alone, has the newest log there is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn fence_ack(&mut self, node: &str, operation: u64, incarnation: u64, newest: bool) -> Result<(), ClientError> {
        match self.call(Request::FenceAck { node: node.into(), operation, incarnation, newest }, None)? {
            Value::Done {} | Value::Fenced { .. } => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks `node`'s fence devices for its status; `really` has them switch it off and on.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn fence_test(&mut self, node: &str, really: bool) -> Result<FenceTested, ClientError> {
        match self.call(Request::FenceTest { node: node.into(), really }, None)? {
            Value::Tested(tested) => Ok(tested),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Runs `node`'s unfence devices and lets it join again where it was held.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn unfence(&mut self, node: &str) -> Result<(), ClientError> {
        self.done(Request::Unfence { node: node.into() }, None)
    }

    /// The configuration in force, or the one of `version`, with its text.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn conf(&mut self, version: Option<u32>) -> Result<ConfEntry, ClientError> {
        match self.call(Request::Conf { version }, Some(ANSWER))? {
            Value::Conf(entry) => Ok(entry),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The configurations that are kept, oldest first, without their texts.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn conf_history(&mut self) -> Result<Vec<ConfEntry>, ClientError> {
        match self.call(Request::ConfHistory, Some(ANSWER))? {
            Value::ConfHistory(entries) => Ok(entries),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Makes `text` the configuration; answers its version and what became of it on each node.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn conf_update(
        &mut self,
        text: &str,
        deadline: Option<Duration>,
    ) -> Result<(u32, Vec<ConfStored>), ClientError> {
        match self.call(Request::ConfUpdate { text: text.into() }, deadline)? {
            Value::Updated { version, nodes } => Ok((version, nodes)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Takes this host out of the cluster in an orderly way; the daemon ends.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn leave(&mut self, remove: bool, force: bool, deadline: Option<Duration>) -> Result<(), ClientError> {
        self.done(Request::Leave { remove, force }, deadline)
    }
}
