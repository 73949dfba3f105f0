//! Reads cluster.conf into a [`Conf`]: what it must say, what is known, and where it is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use roxmltree::{Attribute, Document, Node};

use crate::conf::{ClusterNode, Conf, ConfError, MAX_NODES};
use crate::fence::{Device, Method, Watchdog};

/// Longest cluster name: gfs2 lock tables and the kernel's DLM take no longer one.
const MAX_NAME: usize = 15;
/// Most warnings that are kept; a file of nonsense is not worth more.
const MAX_WARNINGS: usize = 200;

/// A file being read.
pub(crate) struct Reader<'a, 'input> {
    pub file: &'a str,
    pub document: &'a Document<'input>,
    pub warnings: Vec<String>,
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

    pub fn cluster(mut self, root: Node<'a, 'input>) -> Result<Conf, ConfError> {
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
