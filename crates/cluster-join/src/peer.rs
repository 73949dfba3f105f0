//! What nodes say to each other: a greeting when a session opens, then small binary messages.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};
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
    pub boot: String,
    pub store: String,
    /// What it has from before it joined, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// The nodes of its cluster.conf, by vote.
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
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
        if !self.voters.contains(&theirs.node) && !self.learners.contains(&theirs.node) {
            return Some(format!("calls itself node {}, which is not in cluster.conf", theirs.node));
        }
        if theirs.voters != self.voters || theirs.learners != self.learners {
            return Some(format!("has other nodes in its cluster.conf (version {})", theirs.config_version));
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
}

const PING: u8 = 0;
const RAFT: u8 = 1;
const PONG: u8 = 2;

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
                let mut bytes = vec![RAFT];
                message.write_to_vec(&mut bytes)?;
                bytes
            }
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
    // Nodes are fixed by cluster.conf, so nothing may change them through the log.
    let plain = message.entries.iter().all(|entry| entry.get_entry_type() == EntryType::EntryNormal);
    ensure!(plain, "an entry that changes the nodes");
    if kind == T::MsgAppend {
        let follows = message.entries.iter().zip(message.index.checked_add(1).context("an index without end")?..);
        let mut follows = follows.map(|(entry, index)| entry.index == index && entry.term <= message.term);
        ensure!(follows.all(|fits| fits), "entries that do not follow each other");
    }
    if kind == T::MsgSnapshot {
        let metadata = message.get_snapshot().get_metadata();
        ensure!(metadata.index > 0 && metadata.term > 0, "a snapshot of nothing");
    }
    Ok(())
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
        for message in signs.into_iter().chain([Peer::Raft(Box::new(append(5, 3)))]) {
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
            boot: "b".into(),
            store: "s".into(),
            leftovers: vec![],
            voters: vec![1, 2],
            learners: vec![],
            last: 0,
            commit: 0,
            known: BTreeMap::new(),
        };
        let theirs = Hello { node: 2, ..ours.clone() };
        assert_eq!(ours.conflict(&theirs), None);
        let refused = |theirs: Hello| ours.conflict(&theirs).unwrap();
        assert_eq!(refused(Hello { cluster: "b".into(), ..theirs.clone() }), "is of cluster `b', this node of `a'");
        assert_eq!(refused(ours.clone()), "calls itself node 1, which is this one");
        assert_eq!(refused(Hello { node: 9, ..theirs.clone() }), "calls itself node 9, which is not in cluster.conf");
        assert!(refused(Hello { voters: vec![1, 2, 3], ..theirs.clone() }).contains("other nodes"));
        assert!(refused(Hello { protocol: 2, ..theirs }).contains("protocol 2"));
        assert!(Hello::decode(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = Peer::decode(&bytes, 1, 2);
            let _ = Hello::decode(&bytes);
        }
    }
}
