//! Who runs a domain: the cluster lock `D_<name>`, exclusive and kept by the host.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use nines_cli::No;
use nines_proto::ctl::{Client, ClientError, ErrorKind, LockHolder, LockState, Mode, Request, Value, utc};

use crate::migrate::Ownership;

const PREFIX: &str = "D_";
/// A change of the lock table takes milliseconds when it is possible at all.
const ANSWER: Duration = Duration::from_secs(10);

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
    /// The last call got no answer: the connection is of no further use.
    broken: bool,
    pub client: Client,
}

impl Cluster {
    /// # Errors
    /// cluster-join is not there.
    pub fn connect(socket: Option<PathBuf>) -> Result<Self, ClientError> {
        let client = Client::connect(socket.as_deref())?;
        Ok(Self { socket, broken: false, client })
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
        let request = Request::Unlock { resource: resource(domain), sticky: true, session: None, value: None };
        self.change(request).map(drop).map_err(|error| {
            let later = matches!(error, ClientError::Slow { .. } | ClientError::Broken { .. });
            let hint =
                if later { "; it is given back when there is a majority, if that was asked in time" } else { "" };
            anyhow!("{}: {}{hint}", resource(domain), describe(&error))
        })
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

/// The hand-over. A request whose answer is lost may have been carried out, so that every answer
/// here is either the cluster's own or [`Ownership::Unknown`].
impl Cluster {
    /// Offers the domain's lock to the host `to`; answers the offer's number.
    ///
    /// # Errors
    /// Why there is no such number to be had.
    pub fn offer(&mut self, domain: &str, to: &str) -> Result<u64, String> {
        match self.change(Request::Offer { resource: resource(domain), to: to.into() }) {
            Ok(Value::Offered { offer }) => Ok(offer),
            Ok(other) => Err(format!("{}: offered, and answered with {other:?}", resource(domain))),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Withdraws an offer; [`Ownership::NotOurs`] when it has been accepted.
    pub fn retract(&mut self, domain: &str, offer: u64) -> Ownership {
        self.settle(domain, Request::Retract { resource: resource(domain), offer })
    }

    /// Accepts what was offered to this host; [`Ownership::NotOurs`] when that is withdrawn.
    pub fn accept(&mut self, domain: &str, offer: u64) -> Ownership {
        self.settle(domain, Request::Accept { resource: resource(domain), offer })
    }

    fn settle(&mut self, domain: &str, request: Request) -> Ownership {
        let offer = match &request {
            Request::Retract { offer, .. } => Some(*offer),
            _ => None,
        };
        match self.change(request) {
            Ok(_) => Ownership::Ours,
            // Decided by the cluster's log: this or an earlier request whose answer was lost has
            // been carried out, or cannot be any more. The daemon that says so has the table that
            // came of it.
            Err(ClientError::Refused(failure)) if matches!(failure.kind, ErrorKind::NotHeld | ErrorKind::Invalid) => {
                match self.require_ours(domain) {
                    // Still open for someone to accept, whatever the refusal was about.
                    Ok(LockHolder { offered_to: Some((_, open)), .. }) if offer == Some(open) => {
                        Ownership::Unknown(failure.to_string())
                    }
                    Ok(_) => Ownership::Ours,
                    Err(error) if error.downcast_ref::<No>().is_some() => Ownership::NotOurs,
                    Err(error) => Ownership::Unknown(format!("{error:#}")),
                }
            }
            // Everything else is this host's daemon alone speaking; the request may yet come true.
            Err(error) => Ownership::Unknown(describe(&error)),
        }
    }

    /// A request with a deadline, over a new connection when the last one broke.
    fn change(&mut self, request: Request) -> Result<Value, ClientError> {
        if self.broken {
            self.client = Client::connect(self.socket.as_deref())?;
        }
        let answer = self.client.call(request, Some(ANSWER));
        self.broken = matches!(answer, Err(ClientError::Broken { .. } | ClientError::Connect { .. }));
        answer
    }
}

fn describe(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
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
