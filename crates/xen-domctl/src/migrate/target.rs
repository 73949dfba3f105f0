//! The end a domain arrives at, as a state machine: no clock, no socket, no process in here.
//!
//! "Go" from the source means its copy will not run again of itself. The lock is accepted first;
//! only when the cluster has committed that does xl here hear "go". Whatever else happens, the
//! copy is destroyed before the source hears that it failed, and a lock that was accepted for
//! nothing is offered back.

use std::time::Duration;

use super::Ownership;
use super::handshake::{self, Seen};
use super::message::{Lock, Outcome, ToSource, ToTarget};

/// Tries to accept before the copy, with its memory, is given up and the source gets its chance.
const ACCEPT_TRIES: u32 = 30;
/// Tries to offer the lock back.
const OFFER_TRIES: u32 = 30;
/// Between two questions to a cluster or a hypervisor that has no answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the source may take to take the lock back.
const TAKE_BACK: Duration = Duration::from_secs(30);
/// How long the source may take to let go of the volumes.
const LET_GO: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The volumes are active and everything else the domain needs is there, or not.
    Activated(Result<(), String>),
    Peer(ToTarget),
    PeerGone(String),
    /// What xl writes for the source.
    XlOut(Vec<u8>),
    XlClosed,
    XlExited,
    Accepted(Ownership),
    OfferedBack(Result<u64, String>),
    RetractedBack(Ownership),
    Destroyed(Result<(), String>),
    Inspected(Result<Found, String>),
    VolumesExclusive(Result<(), String>),
    VolumesOff(Result<(), String>),
    Unlocked(Result<(), String>),
    Retry,
    /// The daemon is to end.
    Stop,
}

/// Which of xl's names a domain has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its own: xl renames just before it unpauses.
    Named,
    /// The one of an arriving domain: it never ran.
    Incoming,
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Activate the volumes shared, check the other disks, keep the configuration.
    Activate,
    /// Run `xl migrate-receive`.
    StartXl,
    ToXl(Vec<u8>),
    /// Close xl's input, which makes it destroy its copy and end; end it when it does not.
    CloseXl,
    Send(ToSource),
    Accept(u64),
    OfferBack,
    RetractBack(u64),
    Unlock,
    /// Destroy what xl may have left under either name.
    Destroy,
    Inspect,
    /// Convert the volumes to exclusive, waiting for the source to let go.
    VolumesExclusive,
    /// Deactivate the volumes and forget the configuration.
    VolumesOff,
    /// Say [`Event::Retry`] after this long; a later one replaces it.
    Later(Duration),
    Log(String),
    Finish(End),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Running,
    /// Nothing of it is left here.
    Failed(String),
    /// It was taken over and runs nowhere; its lock is free, so that it can be started again.
    Lost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Activating,
    WantBanner,
    Streaming,
    WantGo,
    Accepting {
        tries: u32,
    },
    WantReport,
    Inspecting,
    /// xl is ending, then its copy is destroyed.
    Unwinding(Known),
    /// The copy is gone; the cluster has yet to say whose the lock is.
    Resolving,
    OfferingBack {
        tries: u32,
    },
    Returning(u64),
    Unlocking,
    VolumesOff,
    /// It runs; the source lets go of the volumes.
    Settling,
    MakingExclusive,
    Done,
}

/// What is known of the domain's lock while unwinding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// "Go" never came, or the cluster refused.
    NotOurs,
    /// Asked for, not answered.
    Maybe,
    Ours,
}

/// One migration, seen from the host the domain arrives at.
#[derive(Debug)]
pub struct Target {
    state: State,
    offer: u64,
    peer: bool,
    xl_runs: bool,
    /// The source's volumes are off.
    source_let_go: bool,
    output: Vec<u8>,
    end: End,
}

impl Target {
    #[must_use]
    pub fn new(offer: u64) -> Self {
        Self {
            state: State::Activating,
            offer,
            peer: true,
            xl_runs: false,
            source_let_go: false,
            output: Vec::new(),
            end: End::Running,
        }
    }

    pub fn begin(&self, out: &mut Vec<Action>) {
        out.push(Action::Activate);
    }

    pub fn step(&mut self, event: Event, out: &mut Vec<Action>) {
        match &event {
            Event::XlExited => self.xl_runs = false,
            Event::PeerGone(_) => self.peer = false,
            Event::Peer(ToTarget::Released) => self.source_let_go = true,
            Event::XlOut(bytes) => self.output.extend_from_slice(bytes),
            _ => {}
        }
        match (self.state, event) {
            (State::Done, _) => {}
            (State::Activating, Event::Activated(result)) => match result {
                Ok(()) if matches!(self.end, End::Running) => {
                    self.state = State::WantBanner;
                    self.xl_runs = true;
                    out.push(Action::StartXl);
                }
                Ok(()) => self.unwound(Known::NotOurs, out),
                Err(reason) => {
                    self.end = End::Failed(reason);
                    self.unwound(Known::NotOurs, out);
                }
            },
            // The activation is waited for, then undone.
            (State::Activating, Event::PeerGone(reason)) => self.end = End::Failed(reason),
            (State::Activating, Event::Peer(ToTarget::Cancel)) => self.end = End::Failed("cancelled".into()),
            (State::Activating, Event::Stop) => self.end = End::Failed("stopping".into()),

            (State::WantBanner | State::Streaming | State::WantReport, Event::XlOut(_)) => self.heard(out),
            (State::Streaming, Event::Peer(ToTarget::Data(bytes))) => out.push(Action::ToXl(bytes)),
            (State::WantGo, Event::Peer(ToTarget::Go)) => {
                self.state = State::Accepting { tries: 0 };
                out.push(Action::Accept(self.offer));
            }
            (State::WantBanner | State::Streaming | State::WantGo, Event::PeerGone(reason)) => {
                self.unwind(reason, Known::NotOurs, out);
            }
            (State::WantBanner | State::Streaming | State::WantGo, Event::Peer(ToTarget::Cancel)) => {
                self.unwind("cancelled by the source".into(), Known::NotOurs, out);
            }
            (State::WantBanner | State::Streaming | State::WantGo, Event::Stop) => {
                self.unwind("the receiving daemon is stopping".into(), Known::NotOurs, out);
            }
            (State::WantBanner | State::Streaming | State::WantGo, Event::XlClosed | Event::XlExited) => {
                self.unwind("xl gave up; its reason is in the target's log".into(), Known::NotOurs, out);
            }
            (State::WantBanner | State::Streaming | State::WantGo, Event::Peer(other)) => {
                self.unwind(format!("the source says {} out of turn", kind(&other)), Known::NotOurs, out);
            }

            // From here on a lost source changes nothing: the cluster's log decides.
            (State::Accepting { tries }, Event::Accepted(ownership)) => match ownership {
                Ownership::Ours if !self.xl_runs => self.unwind("xl ended early".into(), Known::Ours, out),
                Ownership::Ours => {
                    self.state = State::WantReport;
                    out.push(Action::ToXl(handshake::GO.to_vec()));
                }
                Ownership::NotOurs => {
                    self.unwind("the offer of its lock is no longer open".into(), Known::NotOurs, out);
                }
                Ownership::Unknown(why) if tries < ACCEPT_TRIES => {
                    out.push(Action::Log(format!(
                        "{why}; the domain stays paused until the cluster can say whose it is"
                    )));
                    self.state = State::Accepting { tries: tries + 1 };
                    out.push(Action::Later(AGAIN));
                }
                Ownership::Unknown(why) => self.unwind(why, Known::Maybe, out),
            },
            (State::Accepting { .. }, Event::Retry) => out.push(Action::Accept(self.offer)),
            (State::WantReport, Event::XlClosed | Event::XlExited) => {
                self.state = State::Inspecting;
                out.push(Action::Inspect);
            }
            (State::Inspecting, Event::Inspected(found)) => match found {
                Ok(Found::Named) => self.runs(out),
                Ok(Found::Incoming) => self.unwind("xl ended before it started the domain".into(), Known::Ours, out),
                // It may have run and written to its disks: the source's copy is out of date.
                Ok(Found::Nothing) => {
                    self.send(ToSource::Outcome(Outcome::Running), out);
                    self.end = End::Lost("the domain ended as soon as it was started".into());
                    self.state = State::Unlocking;
                    out.push(Action::Unlock);
                }
                Err(error) => {
                    out.push(Action::Log(error));
                    out.push(Action::Later(AGAIN));
                }
            },
            (State::Inspecting, Event::Retry) => out.push(Action::Inspect),

            (State::Unwinding(_), Event::XlExited) => out.push(Action::Destroy),
            (State::Unwinding(lock), Event::Destroyed(result)) => match result {
                Ok(()) => self.unwound(lock, out),
                // A copy that may be left is never reported as gone.
                Err(error) => {
                    out.push(Action::Log(format!("the arriving copy cannot be destroyed: {error}")));
                    out.push(Action::Later(AGAIN));
                }
            },
            (State::Unwinding(_), Event::Retry) => out.push(Action::Destroy),
            (State::Resolving, Event::Accepted(ownership)) => match ownership {
                Ownership::Ours => self.unwound(Known::Ours, out),
                Ownership::NotOurs => self.volumes_off(out),
                Ownership::Unknown(_) => out.push(Action::Later(AGAIN)),
            },
            (State::Resolving, Event::Retry) => out.push(Action::Accept(self.offer)),
            (State::OfferingBack { .. }, Event::OfferedBack(Ok(offer))) => {
                self.state = State::Returning(offer);
                if self.peer {
                    self.send(ToSource::Outcome(self.failed(Lock::Returned(offer))), out);
                    out.push(Action::Later(TAKE_BACK));
                } else {
                    out.push(Action::RetractBack(offer));
                }
            }
            (State::OfferingBack { tries }, Event::OfferedBack(Err(why))) => {
                if tries < OFFER_TRIES && self.peer {
                    self.state = State::OfferingBack { tries: tries + 1 };
                    out.push(Action::Later(AGAIN));
                } else {
                    self.lost(why, out);
                }
            }
            (State::OfferingBack { .. }, Event::Retry) => out.push(Action::OfferBack),
            (State::Returning(_), Event::Peer(ToTarget::TookBack)) => self.volumes_off(out),
            (State::Returning(offer), Event::PeerGone(_) | Event::Retry) => out.push(Action::RetractBack(offer)),
            (State::Returning(_), Event::RetractedBack(ownership)) => match ownership {
                Ownership::Ours => self.lost("the source did not take its lock back".into(), out),
                Ownership::NotOurs => self.volumes_off(out),
                Ownership::Unknown(_) => out.push(Action::Later(AGAIN)),
            },
            (State::Unlocking, Event::Unlocked(result)) => {
                if let Err(error) = result {
                    out.push(Action::Log(format!("its lock stays with this host: {error}")));
                }
                self.volumes_off(out);
            }
            (State::VolumesOff, Event::VolumesOff(result)) => {
                match result {
                    Ok(()) => self.send(ToSource::Released, out),
                    Err(error) => out.push(Action::Log(format!("volumes stay active here: {error}"))),
                }
                self.finish(out);
            }
            (State::Settling, Event::Peer(ToTarget::Released) | Event::PeerGone(_) | Event::Retry) => {
                self.make_exclusive(out);
            }
            (State::MakingExclusive, Event::VolumesExclusive(result)) => {
                if let Err(error) = result {
                    out.push(Action::Log(format!("volumes stay shared: {error}")));
                }
                self.finish(out);
            }
            _ => {}
        }
    }

    fn send(&self, message: ToSource, out: &mut Vec<Action>) {
        if self.peer {
            out.push(Action::Send(message));
        }
    }

    /// Reads what xl has written so far.
    fn heard(&mut self, out: &mut Vec<Action>) {
        let (expected, more) = match self.state {
            State::WantBanner => (handshake::BANNER, 0),
            State::Streaming => (handshake::READY, 0),
            _ => (handshake::REPORT, 1),
        };
        match handshake::seen(&self.output, expected) {
            Seen::Part => return,
            Seen::Whole if self.output.len() < expected.len() + more => return,
            Seen::Whole => {}
            Seen::SomethingElse if self.state == State::WantReport => {
                self.state = State::Inspecting;
                return out.push(Action::Inspect);
            }
            Seen::SomethingElse => {
                return self.unwind("xl here says what no known xl says".into(), Known::NotOurs, out);
            }
        }
        let verdict = self.output.get(expected.len()).copied();
        self.output.drain(..expected.len() + more);
        match self.state {
            State::WantBanner => {
                self.state = State::Streaming;
                self.send(ToSource::Banner, out);
                if !self.output.is_empty() {
                    self.heard(out);
                }
            }
            State::Streaming => {
                self.state = State::WantGo;
                self.send(ToSource::Ready, out);
            }
            _ if verdict == Some(0) => self.runs(out),
            // xl has not let it run, and destroys it.
            _ => self.unwind("xl could not start the domain there".into(), Known::Ours, out),
        }
    }

    fn runs(&mut self, out: &mut Vec<Action>) {
        self.send(ToSource::Outcome(Outcome::Running), out);
        if self.peer && !self.source_let_go {
            self.state = State::Settling;
            out.push(Action::Later(LET_GO));
        } else {
            self.make_exclusive(out);
        }
    }

    fn make_exclusive(&mut self, out: &mut Vec<Action>) {
        self.state = State::MakingExclusive;
        out.push(Action::VolumesExclusive);
    }

    fn unwind(&mut self, reason: String, lock: Known, out: &mut Vec<Action>) {
        self.end = End::Failed(reason);
        self.state = State::Unwinding(lock);
        out.push(if self.xl_runs { Action::CloseXl } else { Action::Destroy });
    }

    /// No copy is left; what remains is the lock, the source's news, and the volumes.
    fn unwound(&mut self, lock: Known, out: &mut Vec<Action>) {
        match lock {
            Known::NotOurs => {
                self.send(ToSource::Outcome(self.failed(Lock::Untouched)), out);
                self.volumes_off(out);
            }
            Known::Maybe => {
                self.state = State::Resolving;
                // The source may well have an answer: its withdrawal of the offer.
                self.send(ToSource::Outcome(self.failed(Lock::Unsure)), out);
                out.push(Action::Accept(self.offer));
            }
            Known::Ours => {
                self.state = State::OfferingBack { tries: 0 };
                out.push(Action::OfferBack);
            }
        }
    }

    fn failed(&self, lock: Lock) -> Outcome {
        let reason = match &self.end {
            End::Failed(reason) | End::Lost(reason) => reason.clone(),
            End::Running => String::new(),
        };
        Outcome::Failed { reason, lock }
    }

    fn lost(&mut self, why: String, out: &mut Vec<Action>) {
        self.end = End::Lost(why);
        self.state = State::Unlocking;
        out.push(Action::Unlock);
    }

    fn volumes_off(&mut self, out: &mut Vec<Action>) {
        self.state = State::VolumesOff;
        out.push(Action::VolumesOff);
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        self.state = State::Done;
        out.push(Action::Finish(self.end.clone()));
    }
}

/// A message for people, without its contents.
fn kind(message: &ToTarget) -> &'static str {
    match message {
        ToTarget::Start(_) => "start",
        ToTarget::Data(_) => "data",
        ToTarget::Go => "go",
        ToTarget::Cancel => "cancel",
        ToTarget::TookBack => "took back",
        ToTarget::Released => "released",
    }
}
