//! What nodes say to each other: a greeting when a session opens, then small binary messages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use cluster_conf::{MAX_FILE, MAX_NODES};
use protobuf::{CodedOutputStream, Message as _};
use raft::eraftpb::{ConfChangeV2, ConfState, EntryType, Message, MessageType};
use serde::{Deserialize, Serialize};

/// Version of the conversation between nodes.
pub const PROTOCOL: u32 = 1;
/// What both ends of a session must name, so that it cannot be another service's.
pub const PURPOSE: &str = "fivenines cluster";
/// Longest message: a snapshot of the largest state fits.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Most left-over things a node names, and the longest name in bytes.
pub const MAX_LEFTOVERS: usize = 16;
pub const MAX_LEFTOVER: usize = 128;
/// Most nodes a ping names.
const MAX_HEARD: usize = 64;

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub cluster: String,
    pub config_version: u32,
    pub node: u64,
    pub incarnation: u64,
    /// How often this run began to greet anew: whoever has heard more does not believe less.
    #[serde(default)]
    pub greeting: u64,
    pub boot: String,
    pub store: String,
    /// What it has from before it joined, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// The nodes its log began or would begin with, by vote.
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// The nodes it would speak to: those of its configuration, and those that still vote.
    pub nodes: Vec<u64>,
    /// Who votes as far as its log has told it.
    pub voting: Vec<u64>,
    /// When a node of a pair last went on alone, and which.
    pub forced: (u64, u64),
    /// The last entry of its log, and the last it knows to be committed.
    pub last: u64,
    pub commit: u64,
    /// The incarnation and log of each node that it knows of.
    pub known: BTreeMap<u64, (u64, String)>,
}

/// Why a greeting is not answered with trust.
impl Hello {
    /// # Errors
    /// It is no greeting.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let hello: Self = serde_json::from_slice(bytes).context("a greeting that cannot be read")?;
        let fits = |text: &String| text.len() <= MAX_LEFTOVER && !text.chars().any(char::is_control);
        ensure!(
            hello.leftovers.len() <= MAX_LEFTOVERS && hello.leftovers.iter().all(fits),
            "a greeting with left-over things that are no such list"
        );
        Ok(hello)
    }

    /// What in `theirs` does not fit the cluster of `self`.
    #[must_use]
    pub fn conflict(&self, theirs: &Self) -> Option<String> {
        if theirs.protocol != self.protocol {
            return Some(format!("speaks protocol {}, this node {}", theirs.protocol, self.protocol));
        }
        if theirs.cluster != self.cluster {
            return Some(format!("is of cluster `{}', this node of `{}'", theirs.cluster, self.cluster));
        }
        if theirs.node == self.node {
            return Some(format!("calls itself node {}, which is this one", theirs.node));
        }
        if self.config_version >= theirs.config_version && !self.nodes.contains(&theirs.node) {
            return Some(format!(
                "calls itself node {}, which is not in cluster.conf (version {}, it has version {})",
                theirs.node, self.config_version, theirs.config_version
            ));
        }
        if theirs.config_version > self.config_version && !theirs.nodes.contains(&self.node) {
            return Some(format!(
                "has cluster.conf version {}, in which this node (version {}) is no more: it was removed",
                theirs.config_version, self.config_version
            ));
        }
        let same = theirs.voters == self.voters && theirs.learners == self.learners;
        if !same && self.last == 0 && theirs.last == 0 {
            return Some(format!("has other nodes in its cluster.conf (version {})", theirs.config_version));
        }
        if !same && self.last > 0 && theirs.last > 0 {
            return Some(format!(
                "has a log that began with the nodes {:?}, this one's began with {:?}: two clusters of one name",
                theirs.voters, self.voters
            ));
        }
        if theirs.forced.0 == self.forced.0 && theirs.forced.1 != self.forced.1 {
            return Some(
                "went on alone, and so did this node: stop the one whose changes are to be lost and empty its --state directory".into(),
            );
        }
        None
    }
}

/// A message in a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Peer {
    /// Still here, in this incarnation; a stamp of the sender's clock, and whom it hears.
    Ping { incarnation: u64, stamp: u64, hears: Vec<u64> },
    /// That incarnation's stamp back: from the leader as a lease, from a voter to its leader as an
    /// echo.
    Pong { incarnation: u64, stamp: u64, lease: bool },
    /// The consensus library's.
    Raft(Box<Message>),
    /// A configuration that is in force, for a node that has an older one.
    Configuration(String),
}

const PING: u8 = 0;
const RAFT: u8 = 1;
const PONG: u8 = 2;
const CONFIGURATION: u8 = 16;

fn number(bytes: &[u8]) -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(bytes.try_into().context("a number of another length")?))
}

/// Whether a second copy of this message, which came over another link, is to be left out.
/// What only says that a node is there counts for each link.
#[must_use]
pub fn is_numbered(message: &[u8]) -> bool {
    message.first() == Some(&RAFT)
}

impl Peer {
    /// # Errors
    /// The message does not encode.
    pub fn encode(&self) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Ping { incarnation, stamp, hears } => {
                let mut bytes = vec![PING];
                for number in [incarnation, stamp].into_iter().chain(hears.iter().take(MAX_HEARD)) {
                    bytes.extend(number.to_le_bytes());
                }
                bytes
            }
            Self::Pong { incarnation, stamp, lease } => {
                let mut bytes = vec![PONG];
                bytes.extend(incarnation.to_le_bytes());
                bytes.extend(stamp.to_le_bytes());
                bytes.push(u8::from(*lease));
                bytes
            }
            Self::Raft(message) => {
                let mut bytes = Vec::with_capacity(1 + message.compute_size() as usize);
                bytes.push(RAFT);
                let mut stream = CodedOutputStream::vec(&mut bytes);
                message.write_to_with_cached_sizes(&mut stream)?;
                stream.flush()?;
                bytes
            }
            Self::Configuration(text) => [&[CONFIGURATION], text.as_bytes()].concat(),
        })
    }

    /// Reads a message that node `from` sent to node `to`. What passes cannot make the consensus
    /// library panic by its form alone.
    ///
    /// # Errors
    /// It is no message, or one that no node of this version sends.
    pub fn decode(bytes: &[u8], from: u64, to: u64) -> anyhow::Result<Self> {
        let (kind, body) = bytes.split_first().context("an empty message")?;
        match *kind {
            PING if body.len() % 8 == 0 && (16..=16 + 8 * MAX_HEARD).contains(&body.len()) => {
                let hears = body[16..].chunks(8).map(number).collect::<anyhow::Result<_>>()?;
                Ok(Self::Ping { incarnation: number(&body[..8])?, stamp: number(&body[8..16])?, hears })
            }
            PONG if body.len() == 17 && body[16] <= 1 => {
                Ok(Self::Pong { incarnation: number(&body[..8])?, stamp: number(&body[8..16])?, lease: body[16] == 1 })
            }
            PING | PONG => bail!("a sign of life of {} bytes", body.len()),
            RAFT => {
                let message = Message::parse_from_bytes(body).context("a consensus message that cannot be read")?;
                check(&message, from, to)?;
                Ok(Self::Raft(Box::new(message)))
            }
            CONFIGURATION => {
                ensure!(body.len() as u64 <= MAX_FILE, "a configuration of {} bytes", body.len());
                Ok(Self::Configuration(String::from_utf8(body.to_vec()).context("a configuration")?))
            }
            kind => bail!("a message of the unknown kind {kind:#04x}"),
        }
    }
}

fn check(message: &Message, from: u64, to: u64) -> anyhow::Result<()> {
    use MessageType as T;
    ensure!(message.from == from && message.to == to, "a message from node {} to node {}", message.from, message.to);
    let kind = message.get_msg_type();
    match kind {
        T::MsgPropose => ensure!(!message.entries.is_empty(), "a proposal of nothing"),
        T::MsgAppend
        | T::MsgAppendResponse
        | T::MsgRequestVote
        | T::MsgRequestVoteResponse
        | T::MsgSnapshot
        | T::MsgHeartbeat
        | T::MsgHeartbeatResponse
        | T::MsgTransferLeader
        | T::MsgTimeoutNow
        | T::MsgRequestPreVote
        | T::MsgRequestPreVoteResponse => ensure!(message.term > 0, "a {kind:?} without a term"),
        _ => bail!("a {kind:?}, which no node sends"),
    }
    for entry in &message.entries {
        match entry.get_entry_type() {
            EntryType::EntryNormal => {}
            EntryType::EntryConfChangeV2 if kind == T::MsgAppend => change(&entry.data)?,
            _ => bail!("an entry that changes the nodes"),
        }
    }
    if kind == T::MsgAppend {
        let follows = message.entries.iter().zip(message.index.checked_add(1).context("an index without end")?..);
        let mut follows = follows.map(|(entry, index)| entry.index == index && entry.term <= message.term);
        ensure!(follows.all(|fits| fits), "entries that do not follow each other");
    }
    if kind == T::MsgSnapshot {
        let metadata = message.get_snapshot().get_metadata();
        ensure!(metadata.index > 0 && metadata.term > 0, "a snapshot of nothing");
        ensure!(plausible(metadata.get_conf_state()), "a snapshot with voters that cannot be");
    }
    Ok(())
}

/// Who votes changes by this: a few nodes, each with an id. An empty one ends a change in two steps.
fn change(data: &[u8]) -> anyhow::Result<()> {
    let change = ConfChangeV2::parse_from_bytes(data).context("a change of the voters that cannot be read")?;
    let few = change.changes.len() <= 2 * MAX_NODES && change.changes.iter().all(|one| one.node_id != 0);
    ensure!(few, "a change of the voters that cannot be");
    Ok(())
}

/// Whether voters and learners are what a cluster can have: the library does not survive others.
#[must_use]
pub fn plausible(state: &ConfState) -> bool {
    let distinct = |ids: &[u64]| {
        let set: BTreeSet<u64> = ids.iter().copied().collect();
        (set.len() == ids.len() && !set.contains(&0)).then_some(set)
    };
    let sets = (
        distinct(&state.voters),
        distinct(&state.learners),
        distinct(&state.voters_outgoing),
        distinct(&state.learners_next),
    );
    let (Some(voters), Some(learners), Some(outgoing), Some(next)) = sets else { return false };
    !voters.is_empty()
        && voters.len() + learners.len() + outgoing.len() <= 3 * MAX_NODES
        && learners.is_disjoint(&voters)
        && learners.is_disjoint(&outgoing)
        && next.is_subset(&outgoing)
        && next.is_disjoint(&voters)
        && (!state.auto_leave || !outgoing.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use raft::eraftpb::Entry;

    fn append(first: u64, count: u64) -> Message {
        let mut message = Message { from: 1, to: 2, term: 3, index: first - 1, log_term: 2, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.set_entries((first..first + count).map(|index| Entry { index, term: 3, ..Entry::default() }).collect());
        message
    }

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let ping = |hears| Peer::Ping { incarnation: 7, stamp: u64::MAX, hears };
        let pong = |lease| Peer::Pong { incarnation: 7, stamp: 9, lease };
        let signs = [ping(vec![]), ping(vec![1, 3]), pong(true), pong(false)];
        for message in
            signs.into_iter().chain([Peer::Raft(Box::new(append(5, 3))), Peer::Configuration("<cluster/>".into())])
        {
            assert_eq!(Peer::decode(&message.encode().unwrap(), 1, 2).unwrap(), message);
        }
    }

    #[test]
    fn messages_of_others_and_impossible_ones_are_refused() {
        let encoded = |message: Message| Peer::Raft(Box::new(message)).encode().unwrap();
        let refused = |bytes: &[u8]| Peer::decode(bytes, 1, 2).unwrap_err().to_string();
        assert_eq!(refused(&encoded(Message { from: 3, ..append(1, 1) })), "a message from node 3 to node 2");
        let mut gap = append(5, 3);
        gap.mut_entries()[1].index = 9;
        assert_eq!(refused(&encoded(gap)), "entries that do not follow each other");
        let mut change = append(5, 1);
        change.mut_entries()[0].set_entry_type(EntryType::EntryConfChange);
        assert_eq!(refused(&encoded(change)), "an entry that changes the nodes");
        let mut local = append(5, 1);
        local.set_msg_type(MessageType::MsgHup);
        assert_eq!(refused(&encoded(local)), "a MsgHup, which no node sends");
        assert_eq!(refused(&[]), "an empty message");
        assert_eq!(refused(&[7]), "a message of the unknown kind 0x07");
    }

    #[test]
    fn a_message_cut_at_any_length_never_panics() {
        let bytes = Peer::Raft(Box::new(append(5, 3))).encode().unwrap();
        for length in 0..bytes.len() {
            let _ = Peer::decode(&bytes[..length], 1, 2);
        }
    }

    #[test]
    fn greetings_of_other_clusters_and_impostors_are_refused() {
        let ours = Hello {
            protocol: PROTOCOL,
            cluster: "a".into(),
            config_version: 1,
            node: 1,
            incarnation: 1,
            greeting: 1,
            boot: "b".into(),
            store: "s".into(),
            leftovers: vec![],
            voters: vec![1, 2],
            learners: vec![],
            nodes: vec![1, 2],
            voting: vec![1, 2],
            forced: (0, 0),
            last: 0,
            commit: 0,
            known: BTreeMap::new(),
        };
        let theirs = Hello { node: 2, ..ours.clone() };
        assert_eq!(ours.conflict(&theirs), None);
        let refused = |theirs: Hello| ours.conflict(&theirs).unwrap();
        assert_eq!(refused(Hello { cluster: "b".into(), ..theirs.clone() }), "is of cluster `b', this node of `a'");
        assert_eq!(refused(ours.clone()), "calls itself node 1, which is this one");
        assert_eq!(
            refused(Hello { node: 9, ..theirs.clone() }),
            "calls itself node 9, which is not in cluster.conf (version 1, it has version 1)"
        );
        // A node of a configuration that this one does not know yet.
        let later = Hello { node: 9, config_version: 2, nodes: vec![1, 2, 9], ..theirs.clone() };
        assert_eq!(ours.conflict(&later), None);
        assert!(refused(Hello { nodes: vec![2, 9], ..later.clone() }).contains("it was removed"));
        let grown = Hello { voters: vec![1, 2, 3], ..theirs.clone() };
        assert!(refused(grown.clone()).contains("other nodes"));
        assert_eq!(ours.conflict(&Hello { last: 7, ..grown.clone() }), None, "this node's log is empty");
        let logged = Hello { last: 5, ..ours.clone() };
        assert!(logged.conflict(&Hello { last: 7, ..grown }).unwrap().contains("two clusters"));
        assert!(refused(Hello { forced: (0, 2), ..theirs.clone() }).contains("went on alone"));
        assert_eq!(ours.conflict(&Hello { forced: (1, 2), ..theirs.clone() }), None);
        assert!(refused(Hello { protocol: 2, ..theirs }).contains("protocol 2"));
        assert!(Hello::decode(b"{}").is_err());
    }

    #[test]
    fn voters_change_through_the_log_and_in_no_other_way() {
        let mut message = append(5, 1);
        message.mut_entries()[0].set_entry_type(EntryType::EntryConfChangeV2);
        let encoded = |message: &Message| Peer::Raft(Box::new(message.clone())).encode().unwrap();
        Peer::decode(&encoded(&message), 1, 2).unwrap();
        let mut zero = ConfChangeV2::default();
        zero.mut_changes().push(raft::eraftpb::ConfChangeSingle::default());
        message.mut_entries()[0].data = zero.write_to_bytes().unwrap().into();
        assert!(Peer::decode(&encoded(&message), 1, 2).is_err());
        message.mut_entries()[0].data = vec![0xff].into();
        assert!(Peer::decode(&encoded(&message), 1, 2).is_err());
        message.mut_entries()[0].data = vec![].into();
        message.set_msg_type(MessageType::MsgPropose);
        assert!(Peer::decode(&encoded(&message), 1, 2).is_err(), "only a leader changes the voters");
    }

    #[test]
    fn impossible_voters_are_refused_in_a_snapshot() {
        let state = |voters: &[u64], learners: &[u64], outgoing: &[u64], next: &[u64]| ConfState {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            voters_outgoing: outgoing.to_vec(),
            learners_next: next.to_vec(),
            ..ConfState::default()
        };
        for good in [state(&[1], &[2], &[], &[]), state(&[1, 2], &[5], &[1, 3], &[3])] {
            assert!(plausible(&good), "{good:?}");
        }
        for bad in [
            state(&[], &[1], &[], &[]),
            state(&[1, 1], &[], &[], &[]),
            state(&[1], &[1], &[], &[]),
            state(&[1], &[2], &[2], &[]),
            state(&[1], &[], &[], &[2]),
            state(&[1, 0], &[], &[], &[]),
            ConfState { auto_leave: true, ..state(&[1], &[], &[], &[]) },
        ] {
            assert!(!plausible(&bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = Peer::decode(&bytes, 1, 2);
            let _ = Hello::decode(&bytes);
        }
    }
}
