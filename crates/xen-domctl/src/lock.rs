//! Who runs a domain: the cluster lock `D_<name>`, exclusive and kept by the host.

use std::path::PathBuf;

use nines_cli::No;
use nines_proto::ctl::{Client, ClientError, ErrorKind, LockHolder, LockState, Mode};

use crate::time::utc;

const PREFIX: &str = "D_";

/// The lock of a domain.
#[must_use]
pub fn resource(domain: &str) -> String {
    format!("{PREFIX}{domain}")
}

/// A domain some host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub domain: String,
    pub holder: LockHolder,
}

/// The cluster as domains see it.
#[derive(Debug)]
pub struct Cluster {
    socket: Option<PathBuf>,
    pub client: Client,
}

impl Cluster {
    /// # Errors
    /// cluster-join is not there.
    pub fn connect(socket: Option<PathBuf>) -> Result<Self, ClientError> {
        let client = Client::connect(socket.as_deref())?;
        Ok(Self { socket, client })
    }

    /// A new connection, after the old one broke.
    ///
    /// # Errors
    /// cluster-join is not there.
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        self.client = Client::connect(self.socket.as_deref())?;
        Ok(())
    }

    /// Makes this host the one that runs `domain`; nothing happens when it is that already.
    ///
    /// # Errors
    /// Another host is: [`No`], with its name and since when.
    pub fn take(&mut self, domain: &str) -> anyhow::Result<()> {
        let note = format!("domain {domain}");
        match self.client.lock_sticky(&resource(domain), Mode::Ex, Some(0), &note) {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(failure))
                if matches!(failure.kind, ErrorKind::Busy | ErrorKind::Timeout) && !failure.holders.is_empty() =>
            {
                Err(elsewhere(domain, &failure.holders[0]).into())
            }
            Err(error) => Err(anyhow::Error::from(error).context(resource(domain))),
        }
    }

    /// # Errors
    /// The cluster cannot grant anything now; the lock stays ours.
    pub fn release(&mut self, domain: &str) -> anyhow::Result<()> {
        self.client
            .unlock_sticky(&resource(domain))
            .map_err(|error| anyhow::Error::from(error).context(resource(domain)))
    }

    /// Every domain some host runs, as this host last saw the lock table.
    ///
    /// # Errors
    /// cluster-join went away.
    pub fn domains(&mut self) -> Result<Vec<Held>, ClientError> {
        Ok(held(self.client.locks()?))
    }

    /// Refuses with [`No`] unless this host runs `domain`.
    ///
    /// # Errors
    /// Where it runs, if anywhere; or cluster-join went away.
    pub fn require_ours(&mut self, domain: &str) -> anyhow::Result<LockHolder> {
        let node = self.client.status()?.node;
        let held = self.domains()?.into_iter().find(|held| held.domain == domain);
        match held.map(|held| held.holder) {
            Some(holder) if holder.node == node => Ok(holder),
            Some(holder) => Err(elsewhere(domain, &holder).into()),
            None => Err(No(format!("{domain}: no host of the cluster runs it")).into()),
        }
    }
}

fn elsewhere(domain: &str, holder: &LockHolder) -> No {
    No(format!("{domain}: runs on {} since {}; see xen-domctl list --cluster", holder.node, utc(holder.since)))
}

fn held(locks: Vec<LockState>) -> Vec<Held> {
    let mut all: Vec<_> = locks
        .into_iter()
        .filter_map(|lock| {
            let domain = lock.resource.strip_prefix(PREFIX)?.to_owned();
            let holder = lock.granted.into_iter().find(|holder| holder.sticky && holder.mode == Mode::Ex)?;
            Some(Held { domain, holder })
        })
        .collect();
    all.sort_by(|a, b| a.domain.cmp(&b.domain));
    all
}
