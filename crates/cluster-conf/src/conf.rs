//! cluster.conf: who the nodes are, and what they agree on before they can talk.
//!
//! The file is cman's, cluster.conf(5). Its facts are read into a [`Conf`]; elements that belong to
//! other parts of the old suite are accepted and left alone, and what nobody knows is a warning,
//! so that a file that has been in use for years still starts. Malformed XML and values that
//! contradict each other stop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use roxmltree::{Attribute, Document, Node};

use crate::fence::{Device, FenceDaemon, Method, Watchdog};

/// Longest cluster name: gfs2 lock tables and the kernel's DLM take no longer one.
const MAX_NAME: usize = 15;
/// Most nodes of one cluster.
pub const MAX_NODES: usize = 16;
/// Most nodes that vote; the others follow and take a lost voter's place.
pub const MAX_VOTERS: usize = 7;
/// Longest file that is read: each of the last ones is kept in the cluster's memory.
pub const MAX_FILE: u64 = 128 << 10;
/// TCP port of the sessions between nodes, cman's own number.
const PORT: u16 = 5405;
const TOKEN_MS: u64 = 1000;
/// Most warnings that are kept; a file of nonsense is not worth more.
const MAX_WARNINGS: usize = 200;

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
    file: String,
    at: roxmltree::TextPos,
    what: String,
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

struct Reader<'a, 'input> {
    file: &'a str,
    document: &'a Document<'input>,
    warnings: Vec<String>,
}

/// Sections of the old suite that this program does not act on and that do no harm unread.
const ELSEWHERE: [&str; 9] =
    ["fence_xvmd", "dlm", "gfs_controld", "group", "logging", "rm", "clvmd", "uidgid", "fencedevices"];

impl<'a, 'input> Reader<'a, 'input> {
    fn error(&self, at: usize, what: impl fmt::Display) -> ConfError {
        ConfError { file: self.file.into(), at: self.document.text_pos_at(at), what: what.to_string() }
    }

    fn node_error(&self, node: Node<'a, 'input>, what: impl fmt::Display) -> ConfError {
        self.error(node.range().start, what)
    }

    fn warn(&mut self, at: usize, what: impl fmt::Display) {
        if self.warnings.len() < MAX_WARNINGS {
            let warning = self.error(at, what).to_string();
            self.warnings.push(warning);
        }
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
        let mut conf = Conf { version, ..Conf::plain(name, Vec::new()) };
        let mut seen = BTreeSet::new();
        let (mut cman, mut nodes) = (None, None);
        for child in root.children().filter(Node::is_element) {
            let tag = child.tag_name().name();
            if !seen.insert(tag) && ["cman", "totem", "clusternodes", "fence_daemon", "watchdog"].contains(&tag) {
                return Err(self.node_error(child, format!("a second <{tag}>")));
            }
            match tag {
                "cman" => cman = Some(child),
                "clusternodes" => nodes = Some(child),
                "totem" => self.totem(child, &mut conf)?,
                "fence_daemon" => self.fence_daemon(child, &mut conf)?,
                "watchdog" => self.watchdog(child, &mut conf)?,
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

    fn fence_daemon(&mut self, node: Node<'a, 'input>, conf: &mut Conf) -> Result<(), ConfError> {
        let known =
            ["post_join_delay", "post_fail_delay", "clean_start", "override_time", "override_path", "skip_undefined"];
        self.unknown_attributes(node, &known);
        let seconds = "0 to 3600 seconds";
        let fits = |seconds: &u64| *seconds <= 3600;
        let joins = |seconds: &i64| (-1..=3600).contains(seconds);
        if let Some(delay) = self.number(node, "post_join_delay", "-1 (for ever) or 0 to 3600 seconds", joins)? {
            conf.fence_daemon.post_join_delay = u64::try_from(delay).ok().map(Duration::from_secs);
        }
        if let Some(delay) = self.number(node, "post_fail_delay", seconds, fits)? {
            conf.fence_daemon.post_fail_delay = Duration::from_secs(delay);
        }
        if let Some(time) = self.number(node, "override_time", seconds, fits)? {
            conf.fence_daemon.override_time = Duration::from_secs(time);
        }
        conf.fence_daemon.clean_start = self.number(node, "clean_start", "0 or 1", |flag: &u8| *flag <= 1)? == Some(1);
        Ok(())
    }

    fn watchdog(&mut self, node: Node<'a, 'input>, conf: &mut Conf) -> Result<(), ConfError> {
        self.unknown_attributes(node, &["device", "timeout", "quorum_grace"]);
        let device = node.attribute("device").unwrap_or("/dev/watchdog");
        if !device.starts_with('/') {
            return Err(self.node_error(node, format!("device=`{device}' of <watchdog> is not an absolute path")));
        }
        let timeout = self.number(node, "timeout", "2 to 3600 seconds", |n: &u64| (2..=3600).contains(n))?.unwrap_or(5);
        let grace = self.number(node, "quorum_grace", "0 to 3600 seconds", |n: &u64| *n <= 3600)?.unwrap_or(0);
        conf.watchdog = Some(Watchdog {
            device: device.into(),
            timeout: Duration::from_secs(timeout),
            quorum_grace: Duration::from_secs(grace),
        });
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
        devices: &BTreeMap<&'a str, Node<'a, 'input>>,
    ) -> Result<(), ConfError> {
        let mut with_id = 0;
        for node in list.children().filter(Node::is_element) {
            if node.tag_name().name() != "clusternode" {
                self.warn(node.range().start, format!("<{}> is not known and not used", node.tag_name().name()));
                continue;
            }
            self.unknown_attributes(node, &["name", "nodeid", "votes", "weight", "witness"]);
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
            let witness = self.number(node, "witness", "0 or 1", |flag: &u8| *flag <= 1)? == Some(1);
            let mut known = ClusterNode { votes, witness, ..ClusterNode::plain(id, name) };
            self.clusternode(node, devices, &mut known)?;
            conf.nodes.push(known);
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

    /// What a node holds: its second address, its fence methods, and what is not used.
    fn clusternode(
        &mut self,
        node: Node<'a, 'input>,
        devices: &BTreeMap<&'a str, Node<'a, 'input>>,
        known: &mut ClusterNode,
    ) -> Result<(), ConfError> {
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "fence" => {
                    for method in child.children().filter(|child| child.has_tag_name("method")) {
                        let name = self.required(method, "name")?.to_owned();
                        known.methods.push(Method { name, devices: self.devices(method, devices)? });
                    }
                }
                "unfence" => known.unfence = self.devices(child, devices)?,
                "altname" => {
                    self.unknown_attributes(child, &["name", "port", "mcast"]);
                    known.altname = Some(self.required(child, "name")?.to_owned());
                }
                tag => self.warn(child.range().start, format!("<{tag}> is not known and not used")),
            }
        }
        Ok(())
    }

    /// The devices in a method, each with what its fencedevice says.
    fn devices(
        &mut self,
        method: Node<'a, 'input>,
        devices: &BTreeMap<&'a str, Node<'a, 'input>>,
    ) -> Result<Vec<Device>, ConfError> {
        let mut found = Vec::new();
        for device in method.children().filter(|child| child.has_tag_name("device")) {
            let name = self.required(device, "name")?;
            let Some(fencedevice) = devices.get(name) else {
                return Err(self.node_error(device, format!("fence device `{name}' is not among the <fencedevices>")));
            };
            let agent = self.required(*fencedevice, "agent")?;
            if !agent.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
                return Err(self.node_error(*fencedevice, format!("agent `{agent}' is not the name of a program")));
            }
            let mut attributes: Vec<(String, String)> = Vec::new();
            for attribute in fencedevice.attributes().chain(device.attributes()) {
                if ["name", "agent"].contains(&attribute.name()) {
                    continue;
                }
                if attribute.value().chars().any(char::is_control) {
                    let what = format!("{} of fence device `{name}' has control characters", attribute.name());
                    return Err(self.error(attribute.range().start, what));
                }
                attributes.retain(|(name, _)| name != attribute.name());
                attributes.push((attribute.name().into(), attribute.value().into()));
            }
            found.push(Device { name: name.into(), agent: agent.into(), attributes });
        }
        Ok(found)
    }
}

fn fence_devices<'a, 'input>(root: Node<'a, 'input>) -> BTreeMap<&'a str, Node<'a, 'input>> {
    let devices = root.descendants().filter(|node| node.has_tag_name("fencedevice"));
    devices.filter_map(|device| Some((device.attribute("name")?, device))).collect()
}

#[cfg(test)]
mod tests;
