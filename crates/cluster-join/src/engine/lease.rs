//! Leases: how long this node may believe that it is a member, and when another one certainly no
//! longer does. Clocks of two hosts are never compared, only their rates are trusted, to within
//! [`Bound`]'s drift.
//!
//! Every node pings every other with a stamp of its own clock. There are two answers:
//!
//! * a voter *echoes* the stamp to the node it takes for the leader; the leader's own lease is
//!   the newest stamp that a majority of voters, itself included, has echoed, plus the token time;
//! * the leader, while its own lease is valid, *grants* the stamp to a node that the log has as
//!   present; that node's lease is the newest stamp granted, plus the token time.
//!
//! A node with a lease feeds its watchdog until the lease, and the grace, are over. When is a
//! lost node certainly reset? Let R be when the present leader received the last ping that it
//! granted, and E when it was elected, both on its clock.
//!
//! 1. A grant of this leader carries a stamp taken before R, so that lease ends by R + token.
//! 2. A grant of an earlier leader F was made while F's lease was valid. F's newest stamp s was
//!    echoed by a majority, and a majority elected the present leader before E: some voter is in
//!    both. It echoes only to the leader of its term, and so no more to F once it has voted.
//!    Hence s < E, F's lease ends by E + token, and what F granted by then carries a stamp taken
//!    before that: that lease ends by E + 2 token. F's own ends by E + token.
//! 3. From the end of its lease a node feeds the watchdog for the grace, and for as long as its
//!    process takes to notice; after the watchdog's timeout and the reset itself it is dead.
//!
//! So it is dead at the later of R + [`Bound::after_lease`] and E + [`Bound::after_election`].
//! The later: an earlier leader that does not know yet that it was deposed may grant after R.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_conf::Bound;
use nines_proto::ctl::{ErrorKind, Note, utc};

use super::{Action, Engine, Now};
use crate::peer::Peer;
use crate::state::Op;

/// How long the watchdog stays armed when nothing is held any more.
const LINGER_MS: u64 = 10_000;

/// What the daemon does with the watchdog. Moments are on the engine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// Open it: from now on this host is reset unless it is fed. Answered by
    /// [`super::Event::Armed`].
    Arm { until_ms: u64 },
    /// Feed it, on time, up to this moment and no longer.
    Pet { until_ms: u64 },
    /// Close it for good.
    Disarm,
}

/// The coming reset of this host, to be on disk before it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// When at the latest, seconds since 1970.
    pub by: u64,
    pub why: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Guard {
    #[default]
    Idle,
    Opening,
    Armed,
    /// Disarmed when the log has the call numbered so.
    Closing(u64),
}

/// What this node knows about leases, its own and those it gave.
#[derive(Debug)]
pub struct Leases {
    started: u64,
    /// The newest stamp of ours that a leader granted.
    granted: Option<u64>,
    /// The leadership that the rest is about: its term and when it began.
    leading: Option<(u64, u64)>,
    /// The newest of our stamps that each node echoed.
    echoed: BTreeMap<u64, u64>,
    /// When the last ping of each node came that we granted.
    last_grant: BTreeMap<u64, u64>,
    /// The same for any answer, whoever led.
    last_answer: BTreeMap<u64, u64>,
    guard: Guard,
    /// Up to when the daemon was told to feed the watchdog.
    fed_until: u64,
    /// Since when nothing is held, and for how long at least before the watchdog is closed.
    idle_since: Option<u64>,
    linger_ms: u64,
    /// The reset that was announced.
    announced: Option<Reset>,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Leases {
    pub fn new(now: Now) -> Self {
        Self {
            started: now.ms,
            granted: None,
            leading: None,
            echoed: BTreeMap::new(),
            last_grant: BTreeMap::new(),
            last_answer: BTreeMap::new(),
            guard: Guard::Idle,
            fed_until: 0,
            idle_since: None,
            linger_ms: LINGER_MS,
            announced: None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.guard, Guard::Armed | Guard::Closing(_))
    }
}

impl Engine {
    /// Another time than the usual one for which the watchdog stays armed when nothing is held.
    pub fn set_linger(&mut self, linger_ms: u64) {
        self.leases.linger_ms = linger_ms;
    }

    /// Leadership began or ended: what was echoed and granted in another one no longer counts.
    fn note_leadership(&mut self, now: Now) {
        let term = self.raw.raft.term;
        match (self.leads(), self.leases.leading) {
            (true, Some((of, _))) if of == term => {}
            (true, _) => {
                self.leases.leading = Some((term, now.ms));
                self.leases.echoed.clear();
                self.leases.last_grant.clear();
            }
            (false, _) => self.leases.leading = None,
        }
    }

    /// Until when this node's majority, as a leader, has certainly elected nobody else.
    fn leader_lease(&self, now: Now) -> Option<u64> {
        self.leases.leading?;
        let mut stamps: Vec<u64> = self.leases.echoed.values().copied().chain([now.ms]).collect();
        stamps.sort_unstable();
        let newest = stamps.into_iter().rev().find(|stamp| {
            let echoed = self.leases.echoed.iter().filter(|(_, echo)| *echo >= stamp).map(|(node, _)| *node);
            self.raw.raft.prs().has_quorum(&echoed.chain([self.me()]).collect())
        })?;
        Some(newest + self.token_ms)
    }

    /// Until when this node is certainly a member.
    pub(super) fn lease_until(&self, now: Now) -> Option<u64> {
        let granted = self.leases.granted.map(|stamp| stamp + self.token_ms);
        granted.max(self.leader_lease(now))
    }

    fn has_lease(&self, now: Now) -> bool {
        self.lease_until(now).is_some_and(|until| now.ms < until)
    }

    /// Whether everything committed before this leadership is applied here.
    fn is_current(&self) -> bool {
        self.raw.raft.apply_to_current_term()
    }

    /// A ping came: whom the sender hears, and perhaps it wants a lease or an echo.
    pub(super) fn pinged(&mut self, now: Now, from: u64, incarnation: u64, stamp: u64, hears: Vec<u64>) {
        self.peers.hears(now, from, hears);
        self.note_leadership(now);
        let lease = if self.leads() {
            let known = self.state.members.get(&from);
            let member = known.is_some_and(|member| member.present && member.incarnation == incarnation);
            if !member || !self.is_current() || self.leader_lease(now).is_none_or(|until| now.ms >= until) {
                return;
            }
            self.leases.last_grant.insert(from, now.ms);
            true
        } else if self.raw.raft.leader_id == from && !self.identity.catching_up {
            false
        } else {
            return;
        };
        self.leases.last_answer.insert(from, now.ms);
        if let Ok(bytes) = (Peer::Pong { incarnation, stamp, lease }).encode() {
            self.out.push(Action::Send { to: from, bytes });
        }
    }

    /// A stamp of ours came back.
    pub(super) fn ponged(&mut self, now: Now, from: u64, incarnation: u64, stamp: u64, lease: bool) {
        // Stamps of a former run are of another clock.
        if incarnation != self.identity.incarnation || stamp > now.ms {
            return;
        }
        if lease {
            self.leases.granted = self.leases.granted.max(Some(stamp));
        } else {
            self.note_leadership(now);
            if self.leases.leading.is_some() {
                let echo = self.leases.echoed.entry(from).or_default();
                *echo = stamp.max(*echo);
            }
        }
    }

    /// From when on `node`, if its watchdog was armed, has certainly been reset; known to the
    /// leader alone.
    pub(super) fn dead_by(&self, node: u64) -> Option<u64> {
        let bound = Bound::of(&self.conf)?;
        let (_, elected) = self.leases.leading?;
        let after_election = elected + ms(bound.after_election());
        let granted = self.leases.last_grant.get(&node);
        Some(granted.map_or(after_election, |at| after_election.max(at + ms(bound.after_lease()))))
    }

    /// The same for the other one of a pair, of which no majority remains: without an answer of
    /// ours it has no lease, whoever of the two led.
    #[must_use]
    pub fn peer_dead_by(&self, node: u64) -> Option<u64> {
        let bound = Bound::of(&self.conf)?;
        Some(self.leases.last_answer.get(&node).copied().unwrap_or(self.leases.started) + ms(bound.after_lease()))
    }

    /// With every tick: leadership, the watchdog, and what is announced about it.
    pub(super) fn watch_lease(&mut self, now: Now) {
        self.note_leadership(now);
        let Some(watchdog) = self.conf.watchdog.clone() else { return };
        let grace = ms(watchdog.quorum_grace);
        if !self.leases.is_open() {
            let member = self.state.members.get(&self.me());
            let runs_on = self.admitted() && member.is_some_and(|member| member.armed && member.present);
            if runs_on {
                self.arm(now);
            }
            return;
        }
        let Some(lease) = self.lease_until(now) else { return };
        if lease + grace > self.leases.fed_until {
            self.leases.fed_until = lease + grace;
            self.out.push(Action::Watchdog(Watchdog::Pet { until_ms: lease + grace }));
        }
        if now.ms < lease {
            if self.leases.announced.take().is_some() {
                self.out.push(Action::Reset(None));
                self.log("this host has a lease again and is not reset");
            }
        } else if self.leases.announced.is_none() {
            let left = (lease + grace + ms(watchdog.timeout)).saturating_sub(now.ms);
            let reason = self.blocked(now).unwrap_or_else(|| "the leader does not answer".into());
            let reset = Reset { by: now.unix + left.div_ceil(1000), why: format!("no lease: {reason}") };
            self.log(format!("this host resets itself by {} unless it is a member again: {reason}", utc(reset.by)));
            self.leases.announced = Some(reset.clone());
            self.out.push(Action::Reset(Some(reset)));
        }
        self.watch_idle(now);
    }

    /// The watchdog of the configuration in force.
    #[must_use]
    pub fn watchdog(&self) -> Option<&cluster_conf::Watchdog> {
        self.conf.watchdog.as_ref()
    }

    /// The configuration in force has another watchdog than the one before. As far as the log knew
    /// the former one is not armed here, but it may have been on the way to be: then nothing is
    /// granted yet. One that the log has as armed is not closed, whatever was heard.
    pub(super) fn watchdog_changed(&mut self, now: Now) {
        let known = self.state.members.get(&self.me()).is_some_and(|member| member.armed);
        if self.leases.guard == Guard::Armed && !known && self.has_lease(now) {
            self.leases.guard = Guard::Idle;
            self.out.push(Action::Watchdog(Watchdog::Disarm));
            self.arm(now);
        }
    }

    /// Whether this host may hold something as far as its watchdog is concerned.
    pub(super) fn is_guarded(&self) -> bool {
        self.conf.watchdog.is_none() || self.leases.guard == Guard::Armed
    }

    /// Whether the watchdog is just being opened or closed.
    pub(super) fn is_arming(&self) -> bool {
        !matches!(self.leases.guard, Guard::Idle | Guard::Armed)
    }

    pub(super) fn arm(&mut self, now: Now) {
        let Some(watchdog) = &self.conf.watchdog else { return };
        let grace = ms(watchdog.quorum_grace);
        if self.leases.guard == Guard::Idle
            && !self.stopping
            && let Some(until) = self.lease_until(now).filter(|until| now.ms < *until)
        {
            self.leases.guard = Guard::Opening;
            self.leases.fed_until = until + grace;
            self.out.push(Action::Watchdog(Watchdog::Arm { until_ms: until + grace }));
        }
    }

    /// Nothing held for a while: no reason left to be reset.
    fn watch_idle(&mut self, now: Now) {
        let idle = !self.state.holds_anything(self.me()) && self.calls.is_idle() && self.early.is_empty();
        if !idle {
            self.leases.idle_since = None;
            return;
        }
        let since = *self.leases.idle_since.get_or_insert(now.ms);
        if self.leases.guard == Guard::Armed
            && (now.ms >= since + self.leases.linger_ms || self.stopping)
            && self.admitted()
        {
            let op = Op::Armed { name: self.conf.name_of(self.me()), armed: false };
            let seq = self.calls.submit(now, op);
            self.leases.guard = Guard::Closing(seq);
        }
    }

    /// The watchdog was opened, or could not be.
    pub(super) fn watchdog_opened(&mut self, now: Now, result: Result<(), String>) {
        if self.leases.guard != Guard::Opening {
            return;
        }
        match result {
            Ok(()) => {
                self.leases.guard = Guard::Armed;
                self.leases.idle_since = None;
                // Calls take effect in order: the log has this host as armed before it is granted
                // anything.
                let op = Op::Armed { name: self.conf.name_of(self.me()), armed: true };
                self.calls.submit(now, op);
                self.take_early(now);
            }
            Err(cause) => {
                self.leases.guard = Guard::Idle;
                self.log(format!("the watchdog cannot be armed, so nothing is granted: {cause}"));
                let message = format!("nothing is granted to a host whose watchdog cannot be armed: {cause}");
                self.refuse_early(ErrorKind::Invalid, &message);
            }
        }
    }

    /// The log has decided the call `seq`, which may be the one that ends the guard.
    pub(super) fn disarm_decided(&mut self, now: Now, seq: u64, done: bool) -> bool {
        if self.leases.guard != Guard::Closing(seq) {
            return false;
        }
        if done {
            self.leases.guard = Guard::Idle;
            self.out.push(Action::Watchdog(Watchdog::Disarm));
            if self.leases.announced.take().is_some() {
                self.out.push(Action::Reset(None));
            }
        } else {
            self.leases.guard = Guard::Armed;
        }
        self.leases.idle_since = None;
        self.take_early(now);
        true
    }

    /// The state jumped ahead: whether the end of the guard was decided on the way shows in it.
    pub(super) fn disarm_restored(&mut self, now: Now, next: u64) {
        if let Guard::Closing(seq) = self.leases.guard
            && seq < next
        {
            let armed = self.state.members.get(&self.me()).is_some_and(|member| member.armed);
            self.disarm_decided(now, seq, !armed);
        }
    }

    /// Whether ending the daemon now would leave a watchdog running that could be closed.
    pub(super) fn is_disarming(&self) -> bool {
        let idle = !self.state.holds_anything(self.me());
        matches!(self.leases.guard, Guard::Closing(_)) || self.leases.guard == Guard::Armed && idle
    }

    /// Why an armed host is granted nothing: its lease is over.
    pub(super) fn lease_over(&self, now: Now) -> Option<String> {
        let over = self.leases.is_open() && !self.has_lease(now);
        over.then(|| "this host has no lease: no leader with a majority answers it".to_owned())
    }

    pub(super) fn lease_notes(&self) -> Vec<Note> {
        let note = |reset: &Reset| Note {
            what: format!("this host resets itself by {}: {}", utc(reset.by), reset.why),
            command: None,
        };
        self.leases.announced.iter().map(note).collect()
    }
}
