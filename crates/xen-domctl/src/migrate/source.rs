//! The end a domain leaves, as a state machine: no clock, no socket, no process in here.
//!
//! Until xl writes "go", the domain is ours whatever happens: closing xl's transport has xl
//! resume it. From "go" on xl does nothing of itself, and who runs the domain is what the cluster
//! says: the target accepts the offered lock before it lets its copy run, so withdrawing the
//! offer either succeeds, and the domain is ours, or fails, and it is the target's. Without a
//! majority neither is known, and the suspended copy waits.

use std::time::Duration;

use super::Ownership;
use super::handshake::{self, Seen};
use super::message::{Lock, Outcome, Start, ToSource, ToTarget};

/// Tries to withdraw an offer whose receiver has been told to forget it, before going on without.
const IDLE_RETRACTS: u32 = 30;
/// Between two questions to a cluster that has no answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the target may take to accept and start before the offer is withdrawn, if it still
/// can be.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the target may take to let go of the volumes.
const LET_GO: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The volumes may be active on both ends, or not.
    Shared(Result<(), String>),
    Offered(Result<u64, String>),
    Peer(ToSource),
    PeerGone(String),
    /// What xl writes for the target.
    XlData(Vec<u8>),
    /// xl closed its end of the transport.
    XlClosed,
    XlExited,
    /// Answers [`Action::Retract`].
    Retracted(Ownership),
    /// Answers [`Action::AcceptBack`].
    TookBack(Ownership),
    /// Answers [`Action::Later`].
    Retry,
    AwayDestroyed(Result<(), String>),
    VolumesOff(Result<(), String>),
    VolumesBack(Result<(), String>),
    /// Someone wants us to end.
    Signal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Convert the volumes from exclusive to shared.
    Share,
    /// Offer the domain's lock to the target.
    Offer,
    Send(ToTarget),
    /// Run `xl migrate`.
    StartXl,
    ToXl(Vec<u8>),
    /// Close xl's transport.
    CloseXl,
    Retract(u64),
    AcceptBack(u64),
    /// Say [`Event::Retry`] after this long; a later one replaces it.
    Later(Duration),
    /// Destroy what xl left under its away name.
    DestroyAway,
    VolumesOff,
    /// Convert the volumes back to exclusive, waiting for the target to let go.
    VolumesBack,
    Log(String),
    Finish(End),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Moved,
    /// The domain stays here.
    Failed(String),
    /// The domain is the target's and does not run there either: its lock could not be had back.
    Lost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sharing,
    Offering,
    /// The target prepares.
    Starting,
    Streaming,
    /// The target is ready and xl knows; its next word is "go".
    WantGo,
    /// The target has been told to go.
    Gone,
    /// The target failed without knowing whether it has the lock; it has, and will return it.
    AwaitReturn,
    /// The cluster is asked whether the target accepted.
    Retracting,
    /// The target accepted and gives back.
    TakingBack(u64),
    /// xl has its verdict and acts on it.
    Telling,
    /// Before "go": xl resumes the domain, the offer is being withdrawn.
    Abandoning {
        retracted: bool,
        tries: u32,
    },
    AwaitRelease,
    Ending,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Xl {
    NotStarted,
    Running,
    Exited,
}

/// One migration, seen from the host the domain leaves.
#[derive(Debug)]
pub struct Source {
    state: State,
    start: Start,
    xl: Xl,
    peer: bool,
    /// The target knows of the migration and has something to clean up.
    started: bool,
    offer: Option<u64>,
    /// The target's volumes are off.
    target_let_go: bool,
    /// What xl wrote after the target was ready.
    last_words: Vec<u8>,
    go_sent: bool,
    /// What the target said of the lock when it failed after "go".
    failed: Option<Lock>,
    end: End,
    trouble: Option<String>,
}

impl Source {
    /// `start` lacks its offer's number, which is filled in when it is known.
    #[must_use]
    pub fn new(start: Start) -> Self {
        Self {
            state: State::Sharing,
            start,
            xl: Xl::NotStarted,
            peer: true,
            started: false,
            offer: None,
            target_let_go: false,
            last_words: Vec::new(),
            go_sent: false,
            failed: None,
            end: End::Moved,
            trouble: None,
        }
    }

    pub fn begin(&self, out: &mut Vec<Action>) {
        out.push(Action::Share);
    }

    pub fn step(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::XlExited => self.xl = Xl::Exited,
            Event::PeerGone(_) => self.peer = false,
            Event::Peer(ToSource::Released) => self.target_let_go = true,
            _ => {}
        }
        match (self.state, event) {
            (State::Done, _) => {}
            (State::Sharing, Event::Shared(Ok(()))) => {
                self.state = State::Offering;
                out.push(Action::Offer);
            }
            (State::Sharing, Event::Shared(Err(reason))) | (State::Offering, Event::Offered(Err(reason))) => {
                self.abandon(reason, out);
            }
            (State::Offering, Event::Offered(Ok(offer))) => {
                self.offer = Some(offer);
                self.start.offer = offer;
                if let Some(reason) = self.trouble.take() {
                    return self.abandon(reason, out);
                }
                self.state = State::Starting;
                self.started = true;
                self.send(ToTarget::Start(self.start.clone()), out);
            }
            // Nothing may be left half-way: what was begun is waited for, then undone.
            (State::Sharing | State::Offering, Event::Signal) => self.trouble = Some("interrupted".into()),
            (State::Sharing | State::Offering, Event::PeerGone(reason)) => self.trouble = Some(reason),

            (State::Starting, Event::Peer(ToSource::Banner)) => {
                self.state = State::Streaming;
                self.xl = Xl::Running;
                out.push(Action::StartXl);
                out.push(Action::ToXl(handshake::BANNER.to_vec()));
            }
            (State::Streaming, Event::XlData(bytes)) => self.send(ToTarget::Data(bytes), out),
            (State::Streaming, Event::Peer(ToSource::Ready)) => {
                self.state = State::WantGo;
                out.push(Action::ToXl(handshake::READY.to_vec()));
            }
            (State::Starting | State::Streaming, Event::Peer(ToSource::Outcome(Outcome::Failed { reason, .. }))) => {
                self.abandon(reason, out);
            }
            (State::Starting | State::Streaming, Event::PeerGone(reason)) => self.abandon(reason, out),
            (State::Starting | State::Streaming, Event::Signal) => self.abandon("interrupted".into(), out),
            (State::Streaming | State::WantGo, Event::XlClosed | Event::XlExited) => {
                self.abandon("xl gave up; its reason is above".into(), out);
            }
            (State::Starting | State::Streaming, Event::Peer(other)) => {
                self.abandon(format!("the target says {other:?} out of turn"), out);
            }

            // xl may be renaming the domain right now: closing its transport in this moment would
            // leave it suspended. Its "go" is awaited and answered with a failure.
            (State::WantGo, Event::PeerGone(reason)) => {
                out.push(Action::Log(format!("{reason}; waiting for xl to let go of the domain, to have it resumed")));
                self.trouble = Some(reason);
            }
            (State::WantGo, Event::Peer(ToSource::Outcome(Outcome::Failed { reason, .. }))) => {
                self.trouble = Some(reason);
            }
            (State::WantGo, Event::XlData(bytes)) => self.last_words(&bytes, out),

            (State::Gone, Event::Peer(ToSource::Outcome(Outcome::Running))) => self.tell(End::Moved, out),
            (
                State::Gone | State::Retracting | State::AwaitReturn,
                Event::Peer(ToSource::Outcome(Outcome::Failed { reason, lock })),
            ) => {
                self.trouble = Some(reason);
                self.failed = Some(lock);
                match lock {
                    Lock::Returned(offer) => {
                        self.state = State::TakingBack(offer);
                        out.push(Action::AcceptBack(offer));
                    }
                    Lock::Untouched | Lock::Unsure => self.retract(out),
                }
            }
            (State::Gone, Event::PeerGone(reason)) => {
                out.push(Action::Log(format!("{reason}; asking the cluster whether the target has taken over")));
                self.trouble = Some(reason);
                self.retract(out);
            }
            // A target that takes its time is not waited for, if it has not accepted yet.
            (State::Gone, Event::Retry) => {
                out.extend(self.offer.map(Action::Retract));
                out.push(Action::Later(PATIENCE));
            }
            (State::Gone, Event::Retracted(Ownership::Ours)) => {
                self.trouble = Some("the target took too long".into());
                self.tell(End::Failed(self.reason()), out);
            }
            (State::Retracting, Event::Retracted(ownership)) => match (ownership, self.failed) {
                (Ownership::Ours, _) => self.tell(End::Failed(self.reason()), out),
                (Ownership::Unknown(why), _) => self.wait_for_cluster(&why, out),
                (Ownership::NotOurs, Some(Lock::Unsure)) if self.peer => self.state = State::AwaitReturn,
                (Ownership::NotOurs, None) if self.go_sent => self.tell(End::Moved, out),
                (Ownership::NotOurs, _) => self.tell(End::Lost(self.reason()), out),
            },
            (State::AwaitReturn, Event::PeerGone(_)) => self.tell(End::Lost(self.reason()), out),
            (State::TakingBack(_), Event::TookBack(ownership)) => match ownership {
                Ownership::Ours => {
                    self.send(ToTarget::TookBack, out);
                    self.tell(End::Failed(self.reason()), out);
                }
                Ownership::NotOurs => self.tell(End::Lost(self.reason()), out),
                Ownership::Unknown(why) => self.wait_for_cluster(&why, out),
            },
            (State::Retracting, Event::Retry) => self.retract(out),
            (State::TakingBack(offer), Event::Retry) => out.push(Action::AcceptBack(offer)),
            (
                State::WantGo
                | State::Gone
                | State::Retracting
                | State::AwaitReturn
                | State::TakingBack(_)
                | State::Telling,
                Event::Signal,
            ) => {
                let text = "the domain is changing hands; this ends when the cluster knows whose it is";
                out.push(Action::Log(text.into()));
            }
            (State::Telling, Event::XlExited) => self.told(out),

            (State::Abandoning { tries, .. }, Event::Retracted(ownership)) => self.abandoned(ownership, tries, out),
            (State::Abandoning { retracted: false, .. }, Event::Retry) => {
                out.extend(self.offer.map(Action::Retract));
            }
            (State::Abandoning { retracted, .. }, Event::XlExited) if retracted => self.await_release(out),
            (State::AwaitRelease, Event::Peer(ToSource::Released) | Event::PeerGone(_) | Event::Retry) => {
                self.state = State::Ending;
                out.push(Action::VolumesBack);
            }
            (State::Ending, Event::AwayDestroyed(Ok(()))) => out.push(Action::VolumesOff),
            (State::Ending, Event::AwayDestroyed(Err(error))) => {
                out.push(Action::Log(format!("the copy that was sent away is still here: {error}")));
                self.finish(out);
            }
            (State::Ending, Event::VolumesOff(result)) => {
                match result {
                    Ok(()) => self.send(ToTarget::Released, out),
                    Err(error) => out.push(Action::Log(format!("volumes stay active here: {error}"))),
                }
                self.finish(out);
            }
            (State::Ending, Event::VolumesBack(result)) => {
                if let Err(error) = result {
                    out.push(Action::Log(format!("volumes stay shared: {error}")));
                }
                self.finish(out);
            }
            _ => {}
        }
    }

    fn send(&self, message: ToTarget, out: &mut Vec<Action>) {
        if self.peer {
            out.push(Action::Send(message));
        }
    }

    fn reason(&self) -> String {
        self.trouble.clone().unwrap_or_else(|| "the target failed".into())
    }

    /// Before "go": everything back as it was.
    fn abandon(&mut self, reason: String, out: &mut Vec<Action>) {
        out.push(Action::Log(format!("called off: {reason}")));
        self.end = End::Failed(reason);
        self.state = State::Abandoning { retracted: self.offer.is_none(), tries: 0 };
        if self.started {
            self.send(ToTarget::Cancel, out);
        }
        if self.xl == Xl::Running {
            out.push(Action::CloseXl);
        }
        match self.offer {
            Some(offer) => out.push(Action::Retract(offer)),
            None => self.settle_abandoned(out),
        }
    }

    fn abandoned(&mut self, ownership: Ownership, tries: u32, out: &mut Vec<Action>) {
        match ownership {
            Ownership::Ours => {}
            Ownership::Unknown(_) if tries < IDLE_RETRACTS => {
                self.state = State::Abandoning { retracted: false, tries: tries + 1 };
                return out.push(Action::Later(AGAIN));
            }
            // The target was never told to go, so an offer that stays open is only untidy.
            Ownership::Unknown(why) => out.push(Action::Log(format!("the offer of the lock stays open: {why}"))),
            Ownership::NotOurs => out.push(Action::Log("the domain's lock was given up by someone else".into())),
        }
        self.state = State::Abandoning { retracted: true, tries };
        self.settle_abandoned(out);
    }

    fn settle_abandoned(&mut self, out: &mut Vec<Action>) {
        if self.xl != Xl::Running {
            self.await_release(out);
        }
    }

    fn last_words(&mut self, bytes: &[u8], out: &mut Vec<Action>) {
        self.last_words.extend_from_slice(bytes);
        match handshake::seen(&self.last_words, handshake::GO) {
            Seen::Part => {}
            Seen::Whole if self.trouble.is_none() => {
                self.state = State::Gone;
                self.go_sent = true;
                self.send(ToTarget::Go, out);
                out.push(Action::Later(PATIENCE));
            }
            // The target is gone or failed, or xl says something unheard of: nothing was sent.
            Seen::Whole => self.retract(out),
            Seen::SomethingElse => {
                self.trouble = Some("xl wrote something else where it gives permission to start".into());
                self.retract(out);
            }
        }
    }

    fn retract(&mut self, out: &mut Vec<Action>) {
        self.state = State::Retracting;
        out.extend(self.offer.map(Action::Retract));
    }

    fn wait_for_cluster(&self, why: &str, out: &mut Vec<Action>) {
        out.push(Action::Log(format!("{why}; the domain stays suspended until the cluster can say whose it is")));
        out.push(Action::Later(AGAIN));
    }

    /// Gives xl its verdict.
    fn tell(&mut self, end: End, out: &mut Vec<Action>) {
        let ours = matches!(end, End::Failed(_));
        self.end = end;
        self.state = State::Telling;
        match self.xl {
            Xl::Running => out.push(Action::ToXl(if ours { handshake::failure() } else { handshake::success() })),
            Xl::NotStarted | Xl::Exited => self.told(out),
        }
    }

    fn told(&mut self, out: &mut Vec<Action>) {
        if matches!(self.end, End::Failed(_)) {
            self.await_release(out);
        } else {
            self.state = State::Ending;
            out.push(Action::DestroyAway);
        }
    }

    /// The target's volumes go off before ours can be exclusive again.
    fn await_release(&mut self, out: &mut Vec<Action>) {
        if self.peer && self.started && !self.target_let_go {
            self.state = State::AwaitRelease;
            out.push(Action::Later(LET_GO));
        } else {
            self.state = State::Ending;
            out.push(Action::VolumesBack);
        }
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        self.state = State::Done;
        out.push(Action::Finish(self.end.clone()));
    }
}
