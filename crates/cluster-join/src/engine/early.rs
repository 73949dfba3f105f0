//! Calls that came before this host may hold anything: before its access to storage is given back
//! ([`super::unfence`]) and before its watchdog runs ([`super::lease`]). They wait here, in order;
//! who would not wait is told what for.

use nines_proto::ctl::{Call, ErrorKind, KeyOwner, Request};

use super::request::resource;
use super::{Caller, Engine, Now};

/// Most calls that wait so.
const MAX_EARLY: usize = 1024;

/// Calls in the order in which they came, each with the end of its time to wait.
#[derive(Debug, Default)]
pub struct Early(Vec<(Caller, Call, Option<u64>)>);

/// Whether the request can make this host hold something.
fn takes(request: &Request) -> bool {
    match request {
        Request::Lock { .. } | Request::Accept { .. } => true,
        Request::Put { owner, .. } => *owner != KeyOwner::Cluster,
        _ => false,
    }
}

/// Whether the caller wants to be told no rather than to wait.
fn at_once(request: &Request) -> bool {
    !matches!(request, Request::Lock { wait_ms, .. } if *wait_ms != Some(0))
}

impl Early {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn close(&mut self, connection: u64) {
        self.0.retain(|(caller, _, _)| caller.connection != connection);
    }

    /// Whether the call waited here; it does no longer.
    pub fn cancel(&mut self, connection: u64, id: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|(caller, call, _)| (caller.connection, call.id) != (connection, id));
        self.0.len() < before
    }
}

impl Engine {
    /// Whether the call has to wait until this host may hold something, and waits now or was
    /// refused.
    pub(super) fn comes_early(&mut self, now: Now, caller: &Caller, call: &Call) -> bool {
        if !takes(&call.request) || (self.is_unfenced() && self.is_guarded()) {
            return false;
        }
        if let Some((kind, message)) = self.cannot_submit(caller, "") {
            self.refuse(caller.connection, call.id, kind, message.trim_start_matches(": ").to_owned());
        } else if self.early.0.len() >= MAX_EARLY {
            let message = format!("{MAX_EARLY} calls of this host wait already");
            self.refuse(caller.connection, call.id, ErrorKind::Busy, message);
        } else {
            let until = match &call.request {
                Request::Lock { wait_ms: Some(wait), .. } => Some(now.ms.saturating_add(*wait)),
                _ => None,
            };
            self.early.0.push((caller.clone(), call.clone(), until));
            self.watch_early(now);
        }
        true
    }

    /// With every tick: who waits in vain, and whether the watchdog is to be armed for the others.
    pub(super) fn watch_early(&mut self, now: Now) {
        if self.early.is_empty() {
            return;
        }
        let quorum = self.undecidable(now).map(|reason| (ErrorKind::Inquorate, reason));
        let reason = quorum.or_else(|| self.not_unfenced().map(|reason| (ErrorKind::Busy, reason)));
        if reason.is_none() {
            self.arm(now);
        }
        let reason = reason.or_else(|| {
            let no_lease = || (ErrorKind::Inquorate, "not quorate: this host has no lease yet".to_owned());
            (!self.is_guarded() && !self.is_arming()).then(no_lease)
        });
        for (caller, call, until) in std::mem::take(&mut self.early.0) {
            let name = resource(&call.request).map(|resource| format!("{resource}: ")).unwrap_or_default();
            match (&reason, until) {
                (Some((kind, reason)), _) if at_once(&call.request) => {
                    self.refuse(caller.connection, call.id, *kind, format!("{name}{reason}"));
                }
                (_, Some(until)) if now.ms >= until && !at_once(&call.request) => {
                    let reason = reason.as_ref().map(|(_, reason)| format!(", {reason}")).unwrap_or_default();
                    let message = format!("{name}the time to wait has passed{reason}");
                    self.refuse(caller.connection, call.id, ErrorKind::Timeout, message);
                }
                _ => self.early.0.push((caller, call, until)),
            }
        }
    }

    /// What kept them has changed: they are looked at again, with what is left of their time.
    pub(super) fn take_early(&mut self, now: Now) {
        for (caller, mut call, until) in std::mem::take(&mut self.early.0) {
            if let (Request::Lock { wait_ms: Some(wait), .. }, Some(until)) = (&mut call.request, until)
                && *wait > 0
            {
                *wait = until.saturating_sub(now.ms).max(1);
            }
            self.call(now, &caller, call);
        }
    }

    /// None of them can be answered any more but with this.
    pub(super) fn refuse_early(&mut self, kind: ErrorKind, message: &str) {
        for (caller, call, _) in std::mem::take(&mut self.early.0) {
            self.refuse(caller.connection, call.id, kind, message.to_owned());
        }
    }
}
