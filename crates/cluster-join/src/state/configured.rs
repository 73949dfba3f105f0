//! The configuration as the log has it: the present one and those before it, on which nodes'
//! disks it is, and which logs belong to nodes that were removed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cluster_conf::{Conf, hash};
use nines_proto::ctl::{ErrorKind, Value, utc};
use serde::{Deserialize, Serialize};

use super::fence::Results;
use super::{Effect, State};
use crate::lock::{Decided, Refusal};

/// Configurations that are kept.
const KEPT: usize = 16;
/// Logs of removed nodes that are remembered.
const REMOVED: usize = 256;

/// A configuration to be committed. What of it the state acts on is taken out by the node that
/// proposes it, so that versions of this program that read the text differently still agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    pub version: u32,
    pub text: String,
    /// By id. No map: a key in JSON is a string, which a command cannot carry.
    pub nodes: Vec<(u64, NodeFacts)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<WatchdogFacts>,
    pub who: String,
}

/// What says when a host whose watchdog is armed has certainly been reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogFacts {
    pub device: String,
    pub timeout_ms: u64,
    pub grace_ms: u64,
    pub lease_ms: u64,
}

impl WatchdogFacts {
    fn of(conf: &Conf) -> Option<Self> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let watchdog = conf.watchdog.as_ref()?;
        let (timeout_ms, grace_ms) = (ms(watchdog.timeout), ms(watchdog.quorum_grace));
        Some(Self { device: watchdog.device.clone(), timeout_ms, grace_ms, lease_ms: ms(conf.token) })
    }

    /// Whether hosts that were armed under these and do not know of `next` do what the others
    /// expect under `next`.
    fn allows(&self, next: Option<&Self>) -> bool {
        next.is_some_and(|next| {
            let same = |facts: &Self| (facts.device.clone(), facts.timeout_ms, facts.grace_ms);
            same(self) == same(next) && self.lease_ms <= next.lease_ms
        })
    }
}

impl Proposed {
    #[must_use]
    pub fn of(conf: &Conf, who: impl Into<String>) -> Self {
        let facts = conf
            .nodes
            .iter()
            .map(|node| (node.id, NodeFacts { name: node.name.clone(), votes: node.votes, witness: node.witness }));
        let (text, watchdog) = (conf.text.clone(), WatchdogFacts::of(conf));
        Self { version: conf.version, text, nodes: facts.collect(), watchdog, who: who.into() }
    }
}

/// What the state knows of a configured node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    pub name: String,
    pub votes: u32,
    pub witness: bool,
}

/// A configuration the cluster has or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub version: u32,
    pub text: String,
    pub hash: String,
    pub who: String,
    pub time: u64,
}

/// What a node said of the newest configuration it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub version: u32,
    /// It is on the disk; `why` then says what else is not well.
    pub ok: bool,
    pub why: String,
}

/// A log that must not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub node: u64,
    pub name: String,
    pub version: u32,
    pub time: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// Oldest first.
    history: VecDeque<Configuration>,
    /// Of the newest.
    nodes: BTreeMap<u64, NodeFacts>,
    #[serde(default)]
    watchdog: Option<WatchdogFacts>,
    stored: BTreeMap<u64, Stored>,
    /// By the log's name.
    removed: BTreeMap<String, Removed>,
}

impl Configured {
    /// The configuration in force, once one is committed.
    #[must_use]
    pub fn current(&self) -> Option<&Configuration> {
        self.history.back()
    }

    /// The configurations that are kept, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Configuration> {
        self.history.iter()
    }

    #[must_use]
    pub fn node(&self, id: u64) -> Option<&NodeFacts> {
        self.nodes.get(&id)
    }

    #[must_use]
    pub fn stored(&self, id: u64) -> Option<&Stored> {
        self.stored.get(&id)
    }

    /// Whose log `store` was before that node was removed.
    #[must_use]
    pub fn removed(&self, store: &str) -> Option<&Removed> {
        self.removed.get(store)
    }

    /// Whether `id` may be a member: there is a configuration, and it has no such node.
    #[must_use]
    pub fn lacks(&self, id: u64) -> bool {
        !self.nodes.is_empty() && !self.nodes.contains_key(&id)
    }

    fn witness(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.witness)
    }
}

impl State {
    /// A node's name in the configuration in force.
    #[must_use]
    pub fn name_of(&self, node: u64) -> String {
        self.configured.nodes.get(&node).map_or_else(|| format!("node {node}"), |facts| facts.name.clone())
    }

    /// The locks and keys of `node` that outlive its clients, or with `all` the clients' as well.
    #[must_use]
    pub fn held_by(&self, node: u64, all: bool) -> Vec<String> {
        let list = self.locks.list();
        let mine = list.filter(|(_, granted, _)| {
            granted.iter().any(|grant| grant.owner.node == node && (all || grant.owner.connection.is_none()))
        });
        let locks = mine.map(|(resource, _, _)| format!("the lock {resource}"));
        let keys = self.keys.list("").filter(|(_, entry)| {
            entry.owner.is_some_and(|owner| owner.node == node && (all || owner.connection.is_none()))
        });
        locks.chain(keys.map(|(key, _)| format!("the key {key}"))).collect()
    }

    /// Puts a configuration in force. Nodes it has no longer are forgotten with what they are
    /// known by; `leaving` is one that gives up what it has at the same time.
    pub(super) fn configure(
        &mut self,
        conf: Proposed,
        time: u64,
        leaving: Option<u64>,
        decided: &mut Vec<Decided>,
        effects: &mut Vec<Effect>,
    ) -> Result<Value, Refusal> {
        let Proposed { version, text, nodes, watchdog, who } = conf;
        let nodes: BTreeMap<u64, NodeFacts> = nodes.into_iter().collect();
        if let Some(current) = self.configured.current().filter(|current| current.version >= version) {
            let message = format!(
                "version {version} is not above {}, which is in force since {} by {}: set config_version to {} or more",
                current.version,
                utc(current.time),
                current.who,
                u64::from(current.version) + 1
            );
            return Err(Refusal::new(ErrorKind::Changed, message));
        }
        let gone: Vec<u64> = self.members.keys().filter(|id| !nodes.contains_key(id)).copied().collect();
        for id in gone.iter().filter(|id| Some(**id) != leaving) {
            let held = self.held_by(*id, true);
            if !held.is_empty() {
                let name = self.name_of(*id);
                let message = format!(
                    "version {version} lacks {name}, which holds {}: `cluster-leave --remove' there, or fence it first",
                    few(&held)
                );
                return Err(Refusal::new(ErrorKind::Busy, message));
            }
        }
        if self.configured.watchdog.as_ref().is_some_and(|known| !known.allows(watchdog.as_ref())) {
            let armed = self.members.iter().filter(|(_, member)| member.armed);
            let armed: Vec<String> = armed.map(|(id, _)| self.name_of(*id)).collect();
            if !armed.is_empty() {
                let message = format!(
                    "version {version} changes the <watchdog>, or shortens the token, while the watchdog of {} is \
                     armed: have everything there give back its locks and keys, and try again ten seconds later",
                    few(&armed)
                );
                return Err(Refusal::new(ErrorKind::Busy, message));
            }
        }
        let hash = hash(&text);
        self.audit.record(time, "configured", &format!("version {version}"), &who, &format!("hash {hash}"));
        for (id, facts) in nodes.iter().filter(|(id, _)| !self.configured.nodes.contains_key(id)) {
            self.audit.record(time, "added", &facts.name, &who, &format!("nodeid {id} of version {version}"));
        }
        for (id, facts) in self.configured.nodes.iter().filter(|(id, _)| !nodes.contains_key(id)) {
            self.audit.record(time, "removed", &facts.name, &who, &format!("nodeid {id} is not in version {version}"));
        }
        let pending = self.fencing.all_pending().map(|operation| operation.node);
        for id in pending.filter(|id| !nodes.contains_key(id)).collect::<Vec<_>>() {
            // Nobody could acknowledge it for a node that has no name any more.
            self.void(id, &format!("version {version} lacks it"), time, &mut Results { decided, effects });
        }
        for id in gone {
            let name = self.name_of(id);
            // One that never joined has shown no log.
            if let Some(member) = self.members.remove(&id).filter(|member| !member.store.is_empty()) {
                self.configured.removed.insert(member.store, Removed { node: id, name, version, time });
            }
            self.configured.stored.remove(&id);
            // It holds nothing, but what it waits for would be granted to it all the same, and
            // nobody could ever give that back.
            self.locks.returned(id, true, time, decided);
            self.keys.drop_node(id, true);
            self.keys.forget_results(id);
            decided.retain(|decided| decided.call.node != id);
        }
        while self.configured.removed.len() > REMOVED {
            let oldest = self.configured.removed.iter().min_by_key(|(_, removed)| removed.version);
            let Some(oldest) = oldest.map(|(store, _)| store.clone()) else { break };
            self.configured.removed.remove(&oldest);
        }
        (self.configured.nodes, self.configured.watchdog) = (nodes, watchdog);
        self.configured.history.push_back(Configuration { version, text, hash, who, time });
        if self.configured.history.len() > KEPT {
            self.configured.history.pop_front();
        }
        effects.push(Effect::Configured { version });
        Ok(Value::Updated { version, nodes: Vec::new() })
    }

    pub(super) fn stored(&mut self, node: u64, stored: Stored) {
        let newer = |known: &Stored| known.version <= stored.version;
        if self.configured.stored.get(&node).is_none_or(newer) {
            self.configured.stored.insert(node, stored);
        }
    }

    /// A node goes in an orderly way: nobody has to fence it, and what it had is free.
    pub(super) fn leave(
        &mut self,
        node: u64,
        time: u64,
        leave: Leave,
        decided: &mut Vec<Decided>,
        effects: &mut Vec<Effect>,
    ) -> Result<Value, Refusal> {
        let name = self.name_of(node);
        let held = self.held_by(node, false);
        if !held.is_empty() && !leave.force {
            let message =
                format!("{name} holds {}: give that back first, or leave with --force, which does", few(&held));
            return Err(Refusal::new(ErrorKind::Busy, message));
        }
        let how = if held.is_empty() { String::new() } else { format!("gave back {}", few(&held)) };
        let who = leave.who;
        match leave.conf {
            Some(conf) => {
                self.configure(*conf, time, Some(node), decided, effects)?;
            }
            None => {
                let Some(member) = self.members.get_mut(&node) else {
                    return Err(Refusal::new(ErrorKind::Unknown, format!("{name} is no member")));
                };
                (member.present, member.left, member.since, member.unfenced) = (false, true, time, false);
            }
        }
        self.locks.returned(node, true, time, decided);
        self.keys.drop_node(node, true);
        self.keys.forget_results(node);
        // Nobody there waits for an answer any more.
        decided.retain(|decided| decided.call.node != node);
        self.audit.record(time, "left", &name, &who, &how);
        effects.push(Effect::Left { node });
        Ok(Value::Done {})
    }

    /// Why `node` gets no lock, whatever is free.
    pub(super) fn never_granted(&self, node: u64) -> Option<Refusal> {
        self.configured.witness(node).then(|| {
            let message = format!("{} is a witness: it votes and holds no locks", self.name_of(node));
            Refusal::new(ErrorKind::Invalid, message)
        })
    }
}

/// How a node leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Give back what it holds.
    pub force: bool,
    /// The configuration without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conf: Option<Box<Proposed>>,
    pub who: String,
}

/// The first few of `names`, for a message.
pub fn few(names: &[String]) -> String {
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{more}", names[..names.len().min(3)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Command, Op};
    use cluster_conf::ClusterNode;
    use nines_proto::ctl::Mode;

    fn conf(version: u32, ids: &[u64]) -> Proposed {
        let conf = Conf::plain("c", ids.iter().map(|id| ClusterNode::plain(*id, format!("n{id}"))).collect());
        Proposed { version, ..Proposed::of(&conf, "uid 0 on n1") }
    }

    fn joined(state: &mut State, node: u64) {
        let (boot, store) = ("b".into(), format!("s{node}"));
        let join = Command::Joined { node, incarnation: 1, boot, store, unclean: false, time: 1 };
        state.apply(join, &mut Vec::new());
    }

    fn call(state: &mut State, node: u64, call: Op) -> Result<Value, Refusal> {
        let mut effects = Vec::new();
        let seq = state.members[&node].next_seq;
        state.apply(Command::Call { node, incarnation: 1, seq, time: 2, call }, &mut effects);
        let own = effects.into_iter().find_map(|effect| match effect {
            Effect::Decided(decided) if decided.call.node == node && decided.call.seq == seq => Some(decided.result),
            _ => None,
        });
        own.unwrap()
    }

    fn formed() -> State {
        let mut state = State::default();
        state.apply(Command::Configured { conf: Box::new(conf(1, &[1, 2, 3])), time: 1 }, &mut Vec::new());
        (1..=3).for_each(|node| joined(&mut state, node));
        state
    }

    fn lock(resource: &str, connection: Option<u64>) -> Op {
        Op::Lock {
            resource: resource.into(),
            connection,
            session: None,
            mode: Mode::Ex,
            now_or_never: true,
            note: String::new(),
        }
    }

    #[test]
    fn versions_only_grow_and_the_last_sixteen_are_kept() {
        let mut state = formed();
        let update =
            |state: &mut State, version| call(state, 1, Op::Configure { conf: Box::new(conf(version, &[1, 2, 3])) });
        assert_eq!(update(&mut state, 1).unwrap_err().kind, ErrorKind::Changed);
        for version in 2..=20 {
            update(&mut state, version).unwrap();
        }
        let versions: Vec<u32> = state.configured.history().map(|conf| conf.version).collect();
        assert_eq!(versions, (5..=20).collect::<Vec<u32>>());
        assert_eq!(update(&mut state, 20).unwrap_err().kind, ErrorKind::Changed);
        let again = State::decode(&state.encode().unwrap()).unwrap();
        assert_eq!(again, state);
    }

    #[test]
    fn a_removed_node_is_remembered_by_its_log_and_comes_back_with_another_only() {
        let mut state = formed();
        call(&mut state, 1, Op::Configure { conf: Box::new(conf(2, &[1, 2])) }).unwrap();
        assert!(!state.members.contains_key(&3));
        joined(&mut state, 3);
        assert!(!state.members.contains_key(&3), "not in the configuration");
        call(&mut state, 1, Op::Configure { conf: Box::new(conf(3, &[1, 2, 3])) }).unwrap();
        joined(&mut state, 3);
        assert!(!state.members.contains_key(&3), "its log was removed");
        assert_eq!(state.configured.removed("s3").map(|removed| removed.version), Some(2));
        let (boot, store) = ("b".into(), "another".into());
        let join = Command::Joined { node: 3, incarnation: 1, boot, store, unclean: false, time: 1 };
        state.apply(join, &mut Vec::new());
        assert!(state.members[&3].present);
    }

    #[test]
    fn a_node_that_holds_something_is_not_removed_over_its_head() {
        let mut state = formed();
        call(&mut state, 3, lock("r", Some(5))).unwrap();
        let refusal = call(&mut state, 1, Op::Configure { conf: Box::new(conf(2, &[1, 2])) }).unwrap_err();
        assert!(refusal.message.contains("n3, which holds the lock r"), "{}", refusal.message);
        assert_eq!(state.configured.current().map(|conf| conf.version), Some(1));
    }

    #[test]
    fn a_watchdog_is_not_changed_while_it_is_armed() {
        let mut state = formed();
        let facts = |timeout_ms, lease_ms| {
            Some(WatchdogFacts { device: "/dev/watchdog".into(), timeout_ms, grace_ms: 0, lease_ms })
        };
        let update = |state: &mut State, version, watchdog| {
            let conf = Proposed { watchdog, ..conf(version, &[1, 2, 3]) };
            call(state, 1, Op::Configure { conf: Box::new(conf) })
        };
        let arm = |state: &mut State, armed| call(state, 3, Op::Armed { name: "n3".into(), armed }).unwrap();
        update(&mut state, 2, facts(5000, 1000)).unwrap();
        arm(&mut state, true);
        for other in [None, facts(4000, 1000), facts(6000, 1000), facts(5000, 900)] {
            let refusal = update(&mut state, 3, other).unwrap_err();
            assert!(refusal.kind == ErrorKind::Busy && refusal.message.contains("the watchdog of n3 is armed"));
        }
        // What survivors then wait longer for changes nothing for who does not know.
        update(&mut state, 3, facts(5000, 2000)).unwrap();
        arm(&mut state, false);
        update(&mut state, 4, facts(4000, 1000)).unwrap();
        update(&mut state, 5, None).unwrap();
    }

    #[test]
    fn a_removed_node_waits_for_nothing_any_more() {
        let mut state = formed();
        call(&mut state, 1, lock("r", Some(5))).unwrap();
        let wait = Op::Lock {
            resource: "r".into(),
            connection: Some(6),
            session: None,
            mode: Mode::Ex,
            now_or_never: false,
            note: String::new(),
        };
        let seq = state.members[&3].next_seq;
        state.apply(Command::Call { node: 3, incarnation: 1, seq, time: 2, call: wait }, &mut Vec::new());
        call(&mut state, 1, Op::Configure { conf: Box::new(conf(2, &[1, 2])) }).unwrap();
        let call = Op::Unlock { resource: "r".into(), connection: Some(5), session: None, value: None };
        self::call(&mut state, 1, call).unwrap();
        assert_eq!(state.locks.list().count(), 0, "granted to a node that is no more");
    }

    #[test]
    fn the_fencing_of_a_removed_node_ends_and_whoever_waits_for_it_is_told() {
        let mut state = formed();
        let (name, who, why) = ("n3".to_owned(), "uid 0 on n1".to_owned(), "a test".to_owned());
        let seq = state.members[&1].next_seq;
        let call = Op::Fence { node: 3, name, who, why };
        state.apply(Command::Call { node: 1, incarnation: 1, seq, time: 2, call }, &mut Vec::new());
        assert!(state.fencing.pending(3).is_some());
        let mut effects = Vec::new();
        let (node, next) = (1, state.members[&1].next_seq);
        let call = Op::Configure { conf: Box::new(conf(2, &[1, 2])) };
        state.apply(Command::Call { node, incarnation: 1, seq: next, time: 3, call }, &mut effects);
        assert_eq!(state.fencing.all_pending().count(), 0);
        let told = effects.iter().any(
            |effect| matches!(effect, Effect::Decided(decided) if decided.call.seq == seq && decided.result.is_err()),
        );
        assert!(told, "{effects:?}");
    }

    #[test]
    fn nothing_is_begun_about_a_node_that_was_removed_in_the_meantime() {
        let mut state = formed();
        call(&mut state, 1, Op::Configure { conf: Box::new(conf(2, &[1, 2])) }).unwrap();
        let (name, who, why) = ("n3".to_owned(), "uid 0 on n1".to_owned(), "a test".to_owned());
        let ask = Op::Fence { node: 3, name: name.clone(), who: who.clone(), why: why.clone() };
        assert_eq!(call(&mut state, 1, ask).unwrap_err().kind, ErrorKind::Unknown);
        let asked = Command::FenceAsked { node: 3, name: name.clone(), incarnation: 0, who, why: why.clone(), time: 3 };
        for command in [asked, Command::Held { node: 3, name, why, time: 3 }] {
            state.apply(command, &mut Vec::new());
        }
        assert_eq!(state.fencing.all_pending().count(), 0);
        assert_eq!(state.members.keys().copied().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn who_leaves_gives_back_what_it_holds_or_stays() {
        let mut state = formed();
        let leave = |force, conf| Op::Leave(Leave { force, conf, who: "uid 0 on n3".into() });
        call(&mut state, 3, lock("kept", None)).unwrap();
        call(&mut state, 3, lock("client", Some(1))).unwrap();
        assert_eq!(call(&mut state, 3, leave(false, None)).unwrap_err().kind, ErrorKind::Busy);
        assert!(state.members[&3].present);
        call(&mut state, 3, leave(true, None)).unwrap();
        assert!(state.members[&3].left && !state.members[&3].present);
        assert_eq!(state.locks.list().count(), 0);
        joined(&mut state, 3);
        assert!(state.members[&3].left, "its joining was proposed before it left");
        // A call that was under way does nothing any more.
        let seq = state.members[&3].next_seq;
        state.apply(Command::Call { node: 3, incarnation: 1, seq, time: 3, call: lock("late", None) }, &mut Vec::new());
        assert_eq!(state.locks.list().count(), 0);
        let kinds: Vec<String> = state.audit.after(0).map(|record| record.kind.clone()).collect();
        assert_eq!(kinds.last().map(String::as_str), Some("left"));
        call(&mut state, 2, leave(false, Some(Box::new(conf(2, &[1, 3]))))).unwrap();
        assert!(state.configured.lacks(2) && state.configured.removed("s2").is_some());
    }

    #[test]
    fn a_witness_is_granted_nothing() {
        let mut state = formed();
        let mut next = conf(2, &[1, 2, 3]);
        next.nodes[2].1.witness = true;
        call(&mut state, 1, Op::Configure { conf: Box::new(next) }).unwrap();
        assert!(call(&mut state, 3, lock("r", None)).unwrap_err().message.contains("witness"));
        call(&mut state, 1, lock("r", None)).unwrap();
        let refusal = call(&mut state, 1, Op::Offer { resource: "r".into(), to: 3 }).unwrap_err();
        assert!(refusal.message.contains("n3 is a witness"));
    }
}
