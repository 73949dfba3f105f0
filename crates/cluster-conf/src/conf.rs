//! cluster.conf: who the nodes are, and what they agree on before they can talk.
//!
//! The file is cman's, cluster.conf(5). Its facts are read into a [`Conf`]; elements that belong to
//! other parts of the old suite are accepted and left alone, and what nobody knows is a warning,
//! so that a file that has been in use for years still starts. Malformed XML and values that
//! contradict each other stop.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use roxmltree::Document;

use crate::fence::{Device, FenceDaemon, Method, Watchdog};
use crate::reader::Reader;

/// Most nodes of one cluster.
pub const MAX_NODES: usize = 16;
/// Most nodes that vote; the others follow and take a lost voter's place.
pub const MAX_VOTERS: usize = 7;
/// Longest file that is read: each of the last ones is kept in the cluster's memory.
pub const MAX_FILE: u64 = 128 << 10;

/// TCP port of the sessions between nodes, cman's own number.
const PORT: u16 = 5405;
const TOKEN_MS: u64 = 1000;

/// What cluster.conf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    pub name: String,
    pub version: u32,
    /// By node id.
    pub nodes: Vec<ClusterNode>,
    /// How long a node may be silent before it is lost.
    pub token: Duration,
    pub port: u16,
    pub two_node: bool,
    pub keyfile: Option<PathBuf>,
    pub fence_daemon: FenceDaemon,
    pub watchdog: Option<Watchdog>,
    /// What was not understood, one line each with its position.
    pub warnings: Vec<String>,
    /// All of it, as it was written.
    pub text: String,
}

/// One `clusternode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    pub id: u64,
    pub name: String,
    /// 1, or 0 for a node that follows without being counted.
    pub votes: u32,
    /// The node's address on the second network, if there is one.
    pub altname: Option<String>,
    /// It votes and runs nothing: no lock is ever granted to it.
    pub witness: bool,
    /// In the order in which they are tried.
    pub methods: Vec<Method>,
    /// Run by the node itself before it joins.
    pub unfence: Vec<Device>,
}

impl ClusterNode {
    /// A node with one vote and nothing else said about it.
    #[must_use]
    pub fn plain(id: u64, name: impl Into<String>) -> Self {
        let (methods, unfence) = (Vec::new(), Vec::new());
        Self { id, name: name.into(), votes: 1, altname: None, witness: false, methods, unfence }
    }
}

/// What is wrong with the file and where, as `file:line:column: what`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{at}: {what}")]
pub struct ConfError {
    pub(crate) file: String,
    pub(crate) at: roxmltree::TextPos,
    pub(crate) what: String,
}

impl Conf {
    /// A configuration with these nodes and nothing else said.
    #[must_use]
    pub fn plain(name: impl Into<String>, nodes: Vec<ClusterNode>) -> Self {
        let name = name.into();
        let mut text = format!("<cluster name=\"{name}\" config_version=\"1\">\n<clusternodes>\n");
        for ClusterNode { id, name, votes, witness, .. } in &nodes {
            let witness = if *witness { " witness=\"1\"" } else { "" };
            text += &format!("<clusternode name=\"{name}\" nodeid=\"{id}\" votes=\"{votes}\"{witness}/>\n");
        }
        text += "</clusternodes>\n</cluster>\n";
        Self {
            name,
            version: 1,
            nodes,
            token: Duration::from_millis(TOKEN_MS),
            port: PORT,
            two_node: false,
            keyfile: None,
            fence_daemon: FenceDaemon::default(),
            watchdog: None,
            warnings: Vec::new(),
            text,
        }
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: u64) -> Option<&ClusterNode> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Reads the text of the file called `file`.
    ///
    /// # Errors
    /// Malformed XML, a value out of range, or values that contradict each other.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfError> {
        let document = Document::parse(text).map_err(|error| {
            // The library ends its messages with the position, which ours begin with.
            let what = error.to_string();
            let what = what.rsplit_once(" at ").map_or(what.as_str(), |(what, _)| what);
            ConfError { file: file.into(), at: error.pos(), what: what.into() }
        })?;
        let conf = Reader { file, document: &document, warnings: Vec::new() }.cluster(document.root_element())?;
        Ok(Self { text: text.into(), ..conf })
    }

    /// The address of each node, in the order of [`Conf::nodes`].
    ///
    /// # Errors
    /// A name does not resolve, or two names resolve to one address.
    pub fn resolve(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for node in &self.nodes {
            let address = (node.name.as_str(), self.port)
                .to_socket_addrs()
                .with_context(|| format!("node {}", node.name))?
                .next()
                .with_context(|| format!("node {}: the name has no address", node.name))?;
            if let Some(at) = addresses.iter().position(|other| *other == address) {
                bail!("node {}: {} is the address of {} as well", node.name, address.ip(), self.nodes[at].name);
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// The address of each node on the second network, in the order of [`Conf::nodes`].
    ///
    /// # Errors
    /// An altname does not resolve, or leads to an address that a node has already.
    pub fn resolve_second(&self) -> anyhow::Result<Vec<Option<SocketAddr>>> {
        let first = self.resolve()?;
        let names = self.nodes.iter().map(|node| node.name.as_str());
        let mut taken: Vec<(SocketAddr, &str)> = first.into_iter().zip(names).collect();
        let mut addresses = Vec::new();
        for node in &self.nodes {
            let Some(altname) = &node.altname else {
                addresses.push(None);
                continue;
            };
            let what = || format!("node {}: altname {altname}", node.name);
            let address = (altname.as_str(), self.port).to_socket_addrs().with_context(what)?.next();
            let address = address.with_context(|| format!("{}: the name has no address", what()))?;
            if let Some((_, other)) = taken.iter().find(|(other, _)| *other == address) {
                bail!("{}: is the address of {other} as well", what());
            }
            taken.push((address, &node.name));
            addresses.push(Some(address));
        }
        Ok(addresses)
    }

    /// The node this host is: the one called `name`, or, where the name is the host's own, the
    /// only one that equals it up to the first dot.
    ///
    /// # Errors
    /// No node, or more than one, goes by that name.
    pub fn find(&self, name: &str) -> anyhow::Result<&ClusterNode> {
        if let Some(node) = self.nodes.iter().find(|node| node.name == name) {
            return Ok(node);
        }
        let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let mut matches = self.nodes.iter().filter(|node| !is_address(&node.name) && short(&node.name) == short(name));
        let found = matches.next();
        ensure!(matches.next().is_none(), "`{name}' is the short name of several nodes: name one with --node");
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        found.with_context(|| format!("`{name}' is not one of the nodes {}: name one with --node", names.join(", ")))
    }

    /// Ids of the nodes that count for a majority.
    #[must_use]
    pub fn voters(&self) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.votes > 0).map(|node| node.id).collect()
    }

    /// Ids of the nodes that follow only.
    #[must_use]
    pub fn learners(&self) -> Vec<u64> {
        self.nodes.iter().filter(|node| node.votes == 0).map(|node| node.id).collect()
    }

    /// The voters and the others of a cluster that begins with these nodes.
    #[must_use]
    pub fn formation(&self) -> (Vec<u64>, Vec<u64>) {
        let mut voters = self.voters();
        let mut learners = voters.split_off(voters.len().min(MAX_VOTERS));
        learners.extend(self.learners());
        learners.sort_unstable();
        (voters, learners)
    }

    /// A node's name, or its number for one that is not in the file.
    #[must_use]
    pub fn name_of(&self, id: u64) -> String {
        self.nodes.iter().find(|node| node.id == id).map_or_else(|| format!("node {id}"), |node| node.name.clone())
    }
}

#[cfg(test)]
mod tests;
