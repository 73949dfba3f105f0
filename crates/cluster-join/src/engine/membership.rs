//! The configuration on this node: what is in force, what is on the disk, and the calls that ask
//! for it, change it, or take this node out of it.

use cluster_conf::{Conf, hash, without, without_secrets};
use nines_proto::ctl::{ConfEntry, ConfStored, ErrorKind, Failure, Note, Request, Value, utc};

use super::{Action, Caller, Engine, Now};
use crate::peer::Peer;
use crate::state::Op;
use crate::state::configured::{Configuration, Leave, Proposed, Stored};

/// Token times without hearing a voter after which a removed node is of no use to anybody.
const ALONE: u64 = 5;
/// Between two attempts to write a file that the disk did not take.
const AGAIN_MS: u64 = 10_000;

/// A call that waits.
#[derive(Debug)]
struct Asked {
    connection: u64,
    id: u64,
    version: u32,
    deadline: u64,
}

/// What this node makes of the configuration.
#[derive(Debug)]
pub struct Membership {
    /// Version and hash of what is on the disk.
    file: (u32, String),
    /// The version that is being written, and when it failed.
    writing: Option<u32>,
    failed: Option<u64>,
    /// The version this node has last told the log to be on its disk.
    told: u32,
    /// A version in force that this node's log has not reached yet.
    learned: u32,
    updates: Vec<Asked>,
    /// Leaving: until when to wait for the others to go on without this vote.
    leaving: Option<Option<u64>>,
    /// The version that has not got this node, and when it goes unless it hears a voter.
    removed: Option<(u32, u64)>,
    /// Nodes there are or should be sessions with.
    pub(super) wired: Vec<u64>,
    /// When the first configuration was last proposed.
    pub(super) proposed: Option<u64>,
    /// Why a node still votes that should not.
    pub(super) kept: Vec<(u64, String)>,
}

impl Membership {
    pub fn new(conf: &Conf) -> Self {
        Self {
            file: (conf.version, hash(&conf.text)),
            writing: None,
            failed: None,
            told: 0,
            learned: 0,
            updates: Vec::new(),
            leaving: None,
            removed: None,
            wired: Vec::new(),
            proposed: None,
            kept: Vec::new(),
        }
    }
}

fn entry(conf: &Configuration, with_text: bool) -> ConfEntry {
    ConfEntry {
        version: conf.version,
        hash: conf.hash.clone(),
        time: conf.time,
        who: conf.who.clone(),
        text: with_text.then(|| conf.text.clone()),
    }
}

impl Engine {
    pub(super) fn conf_call(&mut self, now: Now, caller: &Caller, id: u64, request: &Request) {
        let result = match request {
            Request::Conf { version } => self.conf_entry(*version).map(|mut entry| {
                if !caller.may_steer {
                    entry.text = entry.text.as_deref().and_then(without_secrets);
                }
                Value::Conf(entry)
            }),
            Request::ConfHistory => {
                let history = self.state.configured.history();
                Ok(Value::ConfHistory(history.map(|conf| entry(conf, false)).collect()))
            }
            _ if !caller.may_steer => Err((
                ErrorKind::Denied,
                "only root and cluster-join's own user may change the configuration or leave".into(),
            )),
            _ if self.stopping || self.membership.leaving.is_some() => {
                Err((ErrorKind::Stopping, "cluster-join is stopping".into()))
            }
            Request::ConfUpdate { text } => match self.update(now, caller, text) {
                Ok(op) => return self.enter(now, caller.connection, id, "cluster.conf", op, Some(0)),
                Err(refusal) => Err(refusal),
            },
            Request::Leave { remove, force } => match self.leave(now, caller, *remove, *force) {
                Ok(op) => return self.enter(now, caller.connection, id, "cluster.conf", op, Some(0)),
                Err(refusal) => Err(refusal),
            },
            _ => Err((ErrorKind::Invalid, "no call about the configuration".into())),
        };
        let failure = |(kind, message)| Failure { kind, message, holders: Vec::new() };
        self.answer(caller.connection, id, result.map_err(failure));
    }

    fn conf_entry(&self, version: Option<u32>) -> Result<ConfEntry, (ErrorKind, String)> {
        let configured = &self.state.configured;
        let Some(current) = configured.current() else {
            return Err((ErrorKind::Unknown, "no configuration is committed yet".into()));
        };
        let Some(version) = version else { return Ok(entry(current, true)) };
        let found = configured.history().find(|conf| conf.version == version);
        let kept: Vec<String> = configured.history().map(|conf| conf.version.to_string()).collect();
        found.map(|conf| entry(conf, true)).ok_or_else(|| {
            (ErrorKind::Unknown, format!("version {version} is not kept; there are {}", kept.join(", ")))
        })
    }

    /// The configuration a client wants, checked against the one in force.
    fn update(&self, now: Now, caller: &Caller, text: &str) -> Result<Op, (ErrorKind, String)> {
        let invalid = |what: String| (ErrorKind::Invalid, what);
        if text.len() as u64 > cluster_conf::MAX_FILE {
            return Err(invalid(format!("more than {} bytes", cluster_conf::MAX_FILE)));
        }
        let conf = Conf::parse("cluster.conf", text).map_err(|error| invalid(error.to_string()))?;
        if conf.name != self.conf.name {
            return Err(invalid(format!("is of cluster `{}', this is `{}'", conf.name, self.conf.name)));
        }
        if let Some(reason) = self.blocked(now) {
            return Err((ErrorKind::Inquorate, format!("not quorate: {reason}")));
        }
        let Some(current) = self.state.configured.current() else {
            return Err((ErrorKind::Inquorate, "no configuration is committed yet: try again".into()));
        };
        if conf.version <= current.version {
            let message = format!(
                "config_version is {}, and {} is in force since {} by {}: set it to {} or more",
                conf.version,
                current.version,
                utc(current.time),
                current.who,
                u64::from(current.version) + 1
            );
            return Err((ErrorKind::Changed, message));
        }
        for node in &conf.nodes {
            if let Some(known) = self.state.configured.node(node.id).filter(|known| known.name != node.name) {
                let what = format!(
                    "nodeid {} is {} so far and `{}' here: a new node takes a new nodeid",
                    node.id, known.name, node.name
                );
                return Err(invalid(what));
            }
        }
        if let Some(reason) = self.nobody_votes(&conf) {
            return Err(invalid(reason));
        }
        Ok(Op::Configure { conf: Box::new(Proposed::of(&conf, self.who(caller))) })
    }

    fn leave(&self, now: Now, caller: &Caller, remove: bool, force: bool) -> Result<Op, (ErrorKind, String)> {
        if let Some(reason) = self.blocked(now) {
            let message =
                format!("not quorate, so nobody can be told: {reason}; to stop all the same, end cluster-join");
            return Err((ErrorKind::Inquorate, message));
        }
        if !self.admitted() {
            return Err((ErrorKind::Busy, "this node has not joined yet".into()));
        }
        let mut conf = None;
        if remove {
            let Some(current) = self.state.configured.current() else {
                return Err((ErrorKind::Inquorate, "no configuration is committed yet: try again".into()));
            };
            let name = self.conf.name_of(self.me());
            let fails = |error: String| (ErrorKind::Invalid, format!("{name} cannot be removed: {error}"));
            let text = without(&current.text, self.me()).map_err(|error| fails(format!("{error:#}")))?;
            let less = Conf::parse("cluster.conf", &text).map_err(|error| fails(error.to_string()))?;
            if let Some(reason) = self.nobody_votes(&less) {
                return Err(fails(reason));
            }
            conf = Some(Box::new(Proposed::of(&less, self.who(caller))));
        }
        Ok(Op::Leave(Leave { force, conf, who: self.who(caller) }))
    }

    /// Why nobody could take the votes over as `conf` wants. Nodes that never were members would form
    /// a cluster of their own with it, beside the one that waits for them.
    fn nobody_votes(&self, conf: &Conf) -> Option<String> {
        let member = |id: &u64| self.state.members.get(id).is_some_and(|member| member.present);
        let names: Vec<String> = conf.voters().into_iter().map(|id| conf.name_of(id)).collect();
        (!conf.voters().iter().any(member))
            .then(|| format!("no node with a vote in it is a member now: have one of {} join before", names.join(", ")))
    }

    /// A configuration is committed: whoever asked for it is answered when the members have it.
    pub(super) fn update_committed(&mut self, now: Now, connection: u64, id: u64, version: u32) {
        let deadline = now.ms + 2 * self.token_ms + 1000;
        self.membership.updates.push(Asked { connection, id, version, deadline });
    }

    /// This node is out: its clients get no answer any more, and it goes.
    pub(super) fn left_now(&mut self, now: Now) {
        if self.membership.leaving.is_some_and(|until| until.is_some()) {
            return;
        }
        self.log("left the cluster");
        self.answer_leave();
        self.refuse_all();
        // Where two vote, the other one goes on alone as soon as this one has agreed to it.
        let wait = if self.voters().len() <= 2 { 5 * self.token_ms } else { 2 * self.token_ms };
        self.membership.leaving = Some(Some(now.ms + wait));
        if self.leads()
            && let Some(heir) = self.peers.heir(&self.heirs())
        {
            self.raw.transfer_leader(heir);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.membership.leaving.is_some()
    }

    /// What the log has is in force here.
    pub(super) fn adopt_current(&mut self, now: Now) {
        let Some(current) = self.state.configured.current() else { return };
        let (version, text) = (current.version, current.text.clone());
        self.adopt(now, version, &text);
        if version >= self.membership.learned {
            self.membership.learned = 0;
        }
    }

    /// A configuration has been committed, or a node that has it sent it.
    pub(super) fn adopt(&mut self, now: Now, version: u32, text: &str) {
        if version < self.membership.learned || (text == self.conf.text && self.conf.version == version) {
            return self.rewire(now);
        }
        let conf = match Conf::parse("cluster.conf", text) {
            Ok(conf) => conf,
            // Another version of this program understood it; what this one had goes on.
            Err(error) => return self.log(format!("configuration {version} is not understood here: {error}")),
        };
        if version != self.conf.version || self.was_admitted {
            self.log(format!("configuration {version} is in force"));
        }
        self.token_ms = u64::try_from(conf.token.as_millis()).unwrap_or(self.token_ms);
        let watchdog_changed = self.conf.watchdog != conf.watchdog;
        self.conf = conf;
        if watchdog_changed {
            self.watchdog_changed(now);
        }
        self.set_priority();
        self.membership.removed = match (self.conf.node(self.me()), self.membership.removed) {
            (Some(_), _) => None,
            (None, Some(known)) => Some(known),
            (None, None) => Some((version, now.ms + ALONE * self.token_ms)),
        };
        self.rewire(now);
    }

    /// A node that is ahead of this one's log says what is in force.
    pub(super) fn learn(&mut self, now: Now, from: u64, text: &str) {
        let conf = match Conf::parse("cluster.conf", text) {
            Ok(conf) if conf.name == self.conf.name => conf,
            Ok(_) => return,
            Err(error) => {
                let line =
                    format!("node {}: its configuration is not understood here: {error}", self.conf.name_of(from));
                return self.log(line);
            }
        };
        let known = self.state.configured.current().map_or(0, |current| current.version);
        if conf.version <= known.max(self.membership.learned) {
            return;
        }
        self.adopt(now, conf.version, text);
        self.membership.learned = conf.version;
    }

    /// Tells a node with an older configuration what is in force.
    pub(super) fn bring_up_to_date(&mut self, node: u64, version: u32) {
        if let Some(current) = self.state.configured.current().filter(|current| current.version > version)
            && let Ok(bytes) = Peer::Configuration(current.text.clone()).encode()
        {
            self.out.push(Action::Send { to: node, bytes });
        }
    }

    /// Sessions go to every node of the configuration, and to those that vote until they do not.
    pub(super) fn rewire(&mut self, now: Now) {
        let mut nodes: Vec<u64> = self.conf.nodes.iter().map(|node| node.id).collect();
        let voting = self.raw.store().conf_state();
        nodes.extend(voting.voters.iter().chain(&voting.voters_outgoing).chain(&voting.learners));
        nodes.retain(|node| *node != self.me());
        nodes.sort_unstable();
        nodes.dedup();
        if nodes != self.membership.wired {
            let sessions = self.peers.follow(&nodes, now);
            self.membership.wired.clone_from(&nodes);
            self.out.push(Action::Wire(nodes));
            for (link, ring, hello) in sessions {
                self.peer_up(now, link, ring, hello);
            }
        }
    }

    /// A witness leads only where nobody else can.
    pub(super) fn set_priority(&mut self) {
        let witness = self.conf.node(self.me()).is_some_and(|node| node.witness);
        self.raw.raft.set_priority(i64::from(!witness));
    }

    /// Sees to it that what is in force is on the disk, and that the log knows.
    pub(super) fn provide_configuration(&mut self, now: Now) {
        // With a file that has not got it a node cannot be started again, and as long as it votes the
        // others may be unable to do without it.
        if self.membership.removed.is_some_and(|(_, until)| now.ms < until) && self.voters().contains(&self.me()) {
            return;
        }
        let (version, text, text_hash) = if self.membership.learned > 0 {
            (self.conf.version, self.conf.text.clone(), hash(&self.conf.text))
        } else if let Some(current) = self.state.configured.current() {
            let known = current.version == self.membership.file.0 && current.hash == self.membership.file.1;
            if known && self.membership.told >= current.version || current.version < self.membership.file.0 {
                return;
            }
            (current.version, current.text.clone(), current.hash.clone())
        } else {
            return;
        };
        let file = (version, text_hash);
        if file == self.membership.file {
            if self.membership.told < version && self.admitted() && !self.is_leaving() {
                self.membership.told = version;
                self.submit(now, Op::Stored(Stored { version, ok: true, why: String::new() }));
            }
            return;
        }
        let waits = self.membership.failed.is_some_and(|at| now.ms < at + AGAIN_MS);
        if self.membership.writing.is_none() && !waits {
            self.membership.writing = Some(version);
            self.out.push(Action::Configuration { version, text });
        }
    }

    /// The daemon has written a configuration, or could not. `Ok` carries what else is not well.
    pub(super) fn conf_stored(&mut self, now: Now, version: u32, result: Result<String, String>) {
        if self.membership.writing != Some(version) {
            return;
        }
        self.membership.writing = None;
        let (ok, why) = match result {
            Ok(why) => {
                let text = match self.state.configured.history().find(|conf| conf.version == version) {
                    Some(conf) => conf.hash.clone(),
                    None => hash(&self.conf.text),
                };
                self.membership.file = (version, text);
                self.membership.failed = None;
                (true, why)
            }
            Err(why) => {
                self.membership.failed = Some(now.ms);
                (false, why)
            }
        };
        if !why.is_empty() {
            self.log(format!("configuration {version}: {why}"));
        }
        // A node that is not let in yet says so later.
        if self.was_admitted && !self.is_leaving() && self.membership.removed.is_none() {
            if ok {
                self.membership.told = self.membership.told.max(version);
            }
            self.submit(now, Op::Stored(Stored { version, ok, why }));
        }
    }

    pub(super) fn watch_membership(&mut self, now: Now) {
        let asked = std::mem::take(&mut self.membership.updates);
        for asked in asked {
            match self.update_answer(now, &asked) {
                Some(nodes) => {
                    let value = Value::Updated { version: asked.version, nodes };
                    self.answer(asked.connection, asked.id, Ok(value));
                }
                None => self.membership.updates.push(asked),
            }
        }
        let voters = self.voters();
        let out = !voters.contains(&self.me());
        if let Some((version, until)) = self.membership.removed {
            // Nobody could start it again, and the others may still need its vote to do without it.
            if voters.iter().any(|node| self.peers.present(now, *node, self.token_ms)) && !out {
                self.membership.removed = Some((version, now.ms + ALONE * self.token_ms));
            } else if self.membership.file.0 >= version && (out || now.ms >= until) && !self.stopping {
                if self.is_leaving() {
                    self.out.push(Action::Stop);
                } else if self.membership.updates.is_empty() {
                    let line =
                        format!("configuration {version} has this node no more: it was removed from the cluster");
                    self.out.push(Action::Exit(line));
                }
            }
        } else if let Some(Some(until)) = self.membership.leaving
            && !self.stopping
            && (now.ms >= until || out || (!self.leads() && voters.len() > 2))
        {
            self.out.push(Action::Stop);
        }
    }

    /// Who has the version, once all that are there do or the time is over.
    fn update_answer(&self, now: Now, asked: &Asked) -> Option<Vec<ConfStored>> {
        let mut complete = true;
        let configured = &self.state.configured;
        let mut nodes = Vec::new();
        for node in &self.conf.nodes {
            let member = self.state.members.get(&node.id);
            let here = member.is_some_and(|member| member.present);
            let answer = configured.stored(node.id).filter(|stored| stored.version >= asked.version);
            let (stored, why) = match (answer, member) {
                (Some(answer), _) => (answer.ok, answer.why.clone()),
                (_, Some(member)) if member.left => (false, format!("left at {}", utc(member.since))),
                (_, Some(member)) if !here => (false, format!("lost since {}", utc(member.since))),
                (_, Some(_)) => (false, "has not answered".into()),
                (_, None) => (false, "not a member yet".into()),
            };
            complete &= answer.is_some() || !here;
            nodes.push(ConfStored { node: node.name.clone(), stored, why });
        }
        (complete || now.ms >= asked.deadline).then_some(nodes)
    }

    /// What about the configuration and the voters is not as it should be.
    pub(super) fn membership_notes(&self, now: Now) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut note = |what: String, command: Option<String>| notes.push(Note { what, command });
        if let Some(current) = self.state.configured.current() {
            let (version, hash) = &self.membership.file;
            if *version > current.version {
                let what = format!("cluster.conf here has version {version}, {} is in force", current.version);
                note(what, Some("cluster-conf update /etc/cluster/cluster.conf".into()));
            } else if (current.version, &current.hash) != (*version, hash) && self.membership.failed.is_some() {
                note(format!("cluster.conf here cannot be brought to version {}", current.version), None);
            }
            for node in &self.conf.nodes {
                let stored = self.state.configured.stored(node.id);
                if let Some(stored) = stored.filter(|stored| !stored.why.is_empty()) {
                    note(format!("{}: configuration {}: {}", node.name, stored.version, stored.why), None);
                }
            }
        }
        if let Some((version, _)) = self.membership.removed {
            note(format!("configuration {version} has this node no more"), None);
        }
        for (node, why) in &self.membership.kept {
            note(format!("{} still votes: {why}", self.conf.name_of(*node)), None);
        }
        for (node, store) in self.peers.stores(now, self.token_ms) {
            if let Some(removed) = self.state.configured.removed(store).filter(|_| self.conf.node(node).is_some()) {
                let what = format!(
                    "{}: its log is of a node that version {} removed: it stays out",
                    self.conf.name_of(node),
                    removed.version
                );
                note(what, Some("on that host: rm -r /var/lib/cluster, and start cluster-join again".into()));
            }
        }
        notes
    }
}
