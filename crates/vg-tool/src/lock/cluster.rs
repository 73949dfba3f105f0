//! The cluster's locks, through cluster-join's socket.
//!
//! `V_<vg>` is taken for the length of one command: PW to change metadata, PR to activate from it.
//! `P_global` guards what is in no group. The lock of a logical volume, named by its group's and
//! its own id, belongs to the host: EX where the volume is active for this host alone, CR where
//! several may have it active. It outlives the command and is given back at deactivation.

use std::path::PathBuf;

use lvm2_format::{Lv, Vg};
use nines_proto::ctl::{Client, ClientError, ErrorKind, Failure, LockHolder, Mode};

use crate::stop::{Result, Stop};

const CONF: &str = "/etc/cluster/cluster.conf";
/// How long a command waits for another host's command to end.
const WAIT_MS: u64 = 60_000;

/// Whether this host is set up as a member of a cluster.
#[must_use]
pub fn configured() -> bool {
    std::env::var_os("CLUSTER_CONF").map_or_else(|| PathBuf::from(CONF), PathBuf::from).exists()
}

/// How a logical volume of a clustered group is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LvMode {
    Exclusive,
    Shared,
}

impl From<LvMode> for Mode {
    fn from(mode: LvMode) -> Self {
        match mode {
            LvMode::Exclusive => Self::Ex,
            LvMode::Shared => Self::Cr,
        }
    }
}

/// A connection to cluster-join; the locks of the command end with it.
#[derive(Debug)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// # Errors
    /// cluster-join is not running, or has no quorum; the message says which and why.
    pub fn join() -> Result<Self> {
        let mut client = Client::connect(None).map_err(|error| Stop::failed(chain(&error)))?;
        let status = client.status().map_err(|error| Stop::failed(chain(&error)))?;
        if !status.quorate {
            let reason = status.reason.unwrap_or_else(|| "no quorum".into());
            return Err(Stop::failed(format_args!("cluster {}: not quorate: {reason}", status.cluster)));
        }
        Ok(Self { client })
    }

    /// Takes a lock for this command, waiting for other hosts' commands to end.
    ///
    /// # Errors
    /// Somebody holds it for a minute, or the cluster refuses.
    pub fn lock(&mut self, resource: &str, mode: Mode, command: &str) -> Result<()> {
        let note = format!("pid {} {command}", std::process::id());
        self.client.lock(resource, mode, Some(WAIT_MS), &note).map(drop).map_err(|error| match error.refusal() {
            Some(failure) if matches!(failure.kind, ErrorKind::Busy | ErrorKind::Timeout) => {
                Stop::failed(format_args!("Can't get lock for {resource}: {}", held_by(failure)))
            }
            _ => Stop::failed(format_args!("Can't get lock for {resource}: {}", chain(&error))),
        })
    }

    /// Takes the lock of a logical volume for this host, or changes its mode; at once or not at
    /// all.
    ///
    /// # Errors
    /// Another host has the volume active.
    pub fn lock_lv(&mut self, vg: &Vg, lv: &Lv, mode: LvMode) -> Result<()> {
        let resource = lv_resource(vg, lv);
        // Held already, in this mode or another, is the common case of a second activation.
        let outcome = match self.client.convert_sticky(&resource, mode.into(), Some(0)) {
            Err(error) if error.refusal().is_some_and(|failure| failure.kind == ErrorKind::NotHeld) => {
                self.client.lock_sticky(&resource, mode.into(), Some(0), &format!("{}/{}", vg.name, lv.name))
            }
            other => other,
        };
        outcome.map(drop).map_err(|error| match error.refusal() {
            Some(failure) if matches!(failure.kind, ErrorKind::Busy | ErrorKind::Timeout) => Stop::failed(
                format_args!("Logical volume {}/{} is busy on another node: {}", vg.name, lv.name, held_by(failure)),
            ),
            _ => Stop::failed(format_args!("Logical volume {}/{}: {}", vg.name, lv.name, chain(&error))),
        })
    }

    /// Gives the lock of a logical volume back; not holding it is no error.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn unlock_lv(&mut self, vg: &Vg, lv: &Lv) -> Result<()> {
        match self.client.unlock_sticky(&lv_resource(vg, lv)) {
            Ok(()) => Ok(()),
            Err(error) if error.refusal().is_some_and(|failure| failure.kind == ErrorKind::NotHeld) => Ok(()),
            Err(error) => Err(Stop::failed(format_args!("Logical volume {}/{}: {}", vg.name, lv.name, chain(&error)))),
        }
    }
}

/// The name of a logical volume's lock: what is unique of its device-mapper uuid.
#[must_use]
pub fn lv_resource(vg: &Vg, lv: &Lv) -> String {
    format!("{}{}", vg.id.compact(), lv.id.compact())
}

fn held_by(failure: &Failure) -> String {
    let holder = |holder: &LockHolder| match holder.note.as_str() {
        "" => format!("{} holds it {}", holder.node, holder.mode),
        note => format!("{} holds it {} ({note})", holder.node, holder.mode),
    };
    if failure.holders.is_empty() {
        return failure.message.clone();
    }
    failure.holders.iter().map(holder).collect::<Vec<_>>().join(", ")
}

fn chain(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
