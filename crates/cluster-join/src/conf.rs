//! cluster.conf: who the nodes are, and what they agree on before they can talk.
//!
//! The file is cman's, cluster.conf(5). Its facts are read into a [`Conf`]; elements that belong to
//! other parts of the old suite are accepted and left alone, and what nobody knows is a warning,
//! so that a file that has been in use for years still starts. Malformed XML and values that
//! contradict each other stop.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use roxmltree::{Attribute, Document, Node};

/// Longest cluster name: gfs2 lock tables and the kernel's DLM take no longer one.
const MAX_NAME: usize = 15;
/// Most nodes of one cluster.
pub const MAX_NODES: usize = 16;
/// Longest file that is read.
pub const MAX_FILE: u64 = 1 << 20;
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
    /// What was not understood, one line each with its position.
    pub warnings: Vec<String>,
}

/// One `clusternode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    pub id: u64,
    pub name: String,
    /// 1, or 0 for a node that follows without being counted.
    pub votes: u32,
}

/// What is wrong with the file and where, as `file:line:column: what`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{at}: {what}")]
pub struct ConfError {
    file: String,
    at: roxmltree::TextPos,
    what: String,
}

impl Conf {
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
        Reader { file, document: &document, warnings: Vec::new() }.cluster(document.root_element())
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

    /// A node's name, or its number for one that is not in the file.
    #[must_use]
    pub fn name_of(&self, id: u64) -> String {
        self.nodes.iter().find(|node| node.id == id).map_or_else(|| format!("node {id}"), |node| node.name.clone())
    }
}

struct Reader<'a, 'input> {
    file: &'a str,
    document: &'a Document<'input>,
    warnings: Vec<String>,
}

/// Sections of the old suite that this program does not act on and that do no harm unread.
const ELSEWHERE: [&str; 10] =
    ["fence_daemon", "fence_xvmd", "dlm", "gfs_controld", "group", "logging", "rm", "clvmd", "uidgid", "fencedevices"];

impl<'a, 'input> Reader<'a, 'input> {
    fn error(&self, at: usize, what: impl fmt::Display) -> ConfError {
        ConfError { file: self.file.into(), at: self.document.text_pos_at(at), what: what.to_string() }
    }

    fn node_error(&self, node: Node<'a, 'input>, what: impl fmt::Display) -> ConfError {
        self.error(node.range().start, what)
    }

    fn warn(&mut self, at: usize, what: impl fmt::Display) {
        let warning = self.error(at, what).to_string();
        self.warnings.push(warning);
    }

    fn unknown_attributes(&mut self, node: Node<'a, 'input>, known: &[&str]) {
        for attribute in node.attributes().filter(|attribute| !known.contains(&attribute.name())) {
            let what = format!("`{}' of <{}> is not known and not used", attribute.name(), node.tag_name().name());
            self.warn(attribute.range().start, what);
        }
    }

    fn attribute(node: Node<'a, 'input>, name: &str) -> Option<Attribute<'a, 'input>> {
        node.attributes().find(|attribute| attribute.name() == name)
    }

    fn required(&self, node: Node<'a, 'input>, name: &str) -> Result<&'a str, ConfError> {
        match Self::attribute(node, name) {
            Some(attribute) if !attribute.value().is_empty() => Ok(node.attribute(name).unwrap_or_default()),
            _ => Err(self.node_error(node, format!("<{}> needs a {name}", node.tag_name().name()))),
        }
    }

    fn number<T: std::str::FromStr>(
        &self,
        node: Node<'a, 'input>,
        name: &str,
        wanted: &str,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, ConfError> {
        let Some(attribute) = Self::attribute(node, name) else { return Ok(None) };
        match attribute.value().parse() {
            Ok(number) if fits(&number) => Ok(Some(number)),
            _ => {
                let what = format!("{name}=`{}' of <{}> is not {wanted}", attribute.value(), node.tag_name().name());
                Err(self.error(attribute.range().start, what))
            }
        }
    }

    fn cluster(mut self, root: Node<'a, 'input>) -> Result<Conf, ConfError> {
        if root.tag_name().name() != "cluster" {
            return Err(self.node_error(root, format!("<{}> where <cluster> was expected", root.tag_name().name())));
        }
        self.unknown_attributes(root, &["name", "config_version", "alias", "schemaLocation"]);
        let name = self.required(root, "name")?.to_owned();
        if name.len() > MAX_NAME || !name.chars().all(|c| c.is_ascii_graphic() && !"/:\"'".contains(c)) {
            let what =
                format!("cluster name `{name}' is not 1 to {MAX_NAME} printable characters without / : and quotes");
            return Err(self.node_error(root, what));
        }
        self.required(root, "config_version")?;
        let version = self.number(root, "config_version", "a number above 0", |n| *n > 0)?.unwrap_or(1);
        let mut conf = Conf {
            name,
            version,
            nodes: Vec::new(),
            token: Duration::from_millis(TOKEN_MS),
            port: PORT,
            two_node: false,
            keyfile: None,
            warnings: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let (mut cman, mut nodes) = (None, None);
        for child in root.children().filter(Node::is_element) {
            let tag = child.tag_name().name();
            if !seen.insert(tag) && ["cman", "totem", "clusternodes"].contains(&tag) {
                return Err(self.node_error(child, format!("a second <{tag}>")));
            }
            match tag {
                "cman" => cman = Some(child),
                "clusternodes" => nodes = Some(child),
                "totem" => self.totem(child, &mut conf)?,
                "quorumd" => {
                    self.warn(child.range().start, "<quorumd>: a quorum disk is not used; only the nodes' votes count");
                }
                tag if ELSEWHERE.contains(&tag) => {}
                tag => self.warn(child.range().start, format!("<{tag}> is not known and not used")),
            }
        }
        let nodes = nodes.ok_or_else(|| self.node_error(root, "<clusternodes> is missing"))?;
        self.clusternodes(nodes, &mut conf, &fence_devices(root))?;
        self.cman(cman, root, &mut conf)?;
        conf.warnings = self.warnings;
        Ok(conf)
    }

    fn totem(&mut self, node: Node<'a, 'input>, conf: &mut Conf) -> Result<(), ConfError> {
        // The ring's other timers have no meaning without a ring.
        let known = ["token", "token_retransmits_before_loss_const", "join", "consensus", "rrp_mode", "secauth"];
        self.unknown_attributes(node, &known);
        let fits = |token: &u64| (100..=60_000).contains(token);
        if let Some(token) = self.number(node, "token", "100 to 60000 milliseconds", fits)? {
            conf.token = Duration::from_millis(token);
        }
        Ok(())
    }

    fn cman(
        &mut self,
        node: Option<Node<'a, 'input>>,
        root: Node<'a, 'input>,
        conf: &mut Conf,
    ) -> Result<(), ConfError> {
        let sum: u32 = conf.nodes.iter().map(|node| node.votes).sum();
        let at = node.unwrap_or(root);
        if sum == 0 {
            return Err(self.node_error(at, "no node has a vote"));
        }
        let Some(node) = node else { return Ok(()) };
        let known = [
            "two_node",
            "expected_votes",
            "port",
            "keyfile",
            "cluster_id",
            "hash_cluster_id",
            "quorum_dev_poll",
            "shutdown_timeout",
            "upgrading",
            "disallowed",
            "broadcast",
            "transport",
        ];
        self.unknown_attributes(node, &known);
        if let Some(port) = self.number(node, "port", "a TCP port", |port| *port > 0)? {
            conf.port = port;
        }
        conf.keyfile = node.attribute("keyfile").filter(|path| !path.is_empty()).map(PathBuf::from);
        conf.two_node = self.number(node, "two_node", "0 or 1", |flag: &u8| *flag <= 1)? == Some(1);
        let expected: Option<u32> = self.number(node, "expected_votes", "a number above 0", |votes| *votes > 0)?;
        if conf.two_node {
            if conf.nodes.len() != 2 || sum != 2 {
                let what = format!(
                    "two_node=\"1\" with {} nodes and {sum} votes: it is for two of one vote",
                    conf.nodes.len()
                );
                return Err(self.node_error(node, what));
            }
            if expected != Some(1) {
                return Err(self.node_error(node, "two_node=\"1\" needs expected_votes=\"1\" beside it"));
            }
        } else if let Some(expected) = expected
            && expected != sum
        {
            return Err(self.node_error(node, format!("expected_votes=\"{expected}\", but the nodes have {sum} votes")));
        }
        for child in node.children().filter(Node::is_element) {
            if child.tag_name().name() != "multicast" {
                self.warn(child.range().start, format!("<{}> is not known and not used", child.tag_name().name()));
            }
        }
        Ok(())
    }

    fn clusternodes(
        &mut self,
        list: Node<'a, 'input>,
        conf: &mut Conf,
        devices: &BTreeSet<&str>,
    ) -> Result<(), ConfError> {
        let mut with_id = 0;
        for node in list.children().filter(Node::is_element) {
            if node.tag_name().name() != "clusternode" {
                self.warn(node.range().start, format!("<{}> is not known and not used", node.tag_name().name()));
                continue;
            }
            self.unknown_attributes(node, &["name", "nodeid", "votes", "weight"]);
            let name = self.required(node, "name")?;
            if name.len() > 253 || !name.chars().all(|c| c.is_ascii_graphic()) {
                return Err(self.node_error(node, format!("`{name}' is not a host name or address")));
            }
            let fits = |id: &u64| (1..=u64::from(u32::MAX)).contains(id);
            let id = self.number(node, "nodeid", "a number above 0", fits)?;
            with_id += usize::from(id.is_some());
            let wanted = "0 or 1: each node counts once";
            let votes = self.number(node, "votes", wanted, |votes| *votes <= 1)?.unwrap_or(1);
            let id = id.unwrap_or(conf.nodes.len() as u64 + 1);
            if let Some(other) = conf.nodes.iter().find(|other| other.name == name) {
                return Err(self.node_error(node, format!("a second clusternode `{}'", other.name)));
            }
            // Where only some have ids the message below says so.
            if with_id > 0
                && let Some(other) = conf.nodes.iter().find(|other| other.id == id)
            {
                return Err(self.node_error(node, format!("`{name}' has the nodeid {id} of `{}'", other.name)));
            }
            self.clusternode(node, devices)?;
            conf.nodes.push(ClusterNode { id, name: name.into(), votes });
            if conf.nodes.len() > MAX_NODES {
                return Err(self.node_error(node, format!("more than {MAX_NODES} nodes")));
            }
        }
        if conf.nodes.is_empty() {
            return Err(self.node_error(list, "<clusternodes> has no clusternode"));
        }
        if with_id != 0 && with_id != conf.nodes.len() {
            return Err(self.node_error(list, "some nodes have a nodeid and some have none"));
        }
        conf.nodes.sort_by_key(|node| node.id);
        Ok(())
    }

    /// What a node holds: its fence methods, whose devices must exist, and what is not used.
    fn clusternode(&mut self, node: Node<'a, 'input>, devices: &BTreeSet<&str>) -> Result<(), ConfError> {
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "fence" | "unfence" => {}
                "altname" => self.warn(child.range().start, "<altname>: a second ring is not used"),
                tag => self.warn(child.range().start, format!("<{tag}> is not known and not used")),
            }
        }
        for device in node.descendants().filter(|node| node.has_tag_name("device")) {
            let name = self.required(device, "name")?;
            if !devices.contains(name) {
                return Err(self.node_error(device, format!("fence device `{name}' is not among the <fencedevices>")));
            }
        }
        Ok(())
    }
}

fn fence_devices<'a>(root: Node<'a, '_>) -> BTreeSet<&'a str> {
    root.descendants()
        .filter(|node| node.has_tag_name("fencedevice"))
        .filter_map(|node| node.attribute("name"))
        .collect()
}

#[cfg(test)]
mod tests;
