//! What an agent says about itself: the XML document of its `metadata` action, and what is wrong
//! with a device of cluster.conf by it.

use std::time::Duration;

use cluster_conf::Device;
use roxmltree::{Document, Node, ParsingOptions};

use crate::agent::{Agents, CallError};
use crate::child::MAX_OUTPUT;
use crate::plan;

/// How long an agent may take to describe itself.
const DEADLINE: Duration = Duration::from_secs(20);
/// The most elements, attributes and texts of a document.
const MAX_NODES: u32 = 20_000;

/// An agent's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    pub name: String,
    /// One line about it.
    pub about: String,
    pub parameters: Vec<Parameter>,
    pub actions: Vec<AgentAction>,
}

/// An option an agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub required: bool,
    /// A newer name is to be used instead.
    pub deprecated: bool,
    /// The older name of the same.
    pub obsoletes: Option<String>,
    pub content: Content,
    pub default: Option<String>,
}

/// What an option's value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    String,
    Boolean,
    Integer,
    /// Seconds.
    Second,
    /// One of these.
    Select(Vec<String>),
}

/// Something an agent can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAction {
    pub name: String,
    /// To be done by every node itself before it joins: unfencing.
    pub automatic: bool,
}

/// Why there is no metadata.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}")]
    Refused(String),
    #[error("{agent}: metadata: {source}")]
    Document { agent: String, source: DocumentError },
}

/// Why a text is not an agent's metadata.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it is longer than {MAX_OUTPUT} bytes")]
    Long,
    #[error("it is not UTF-8")]
    Text,
    #[error(transparent)]
    Xml(#[from] roxmltree::Error),
    #[error("<{0}> where <resource-agent> was expected")]
    Root(String),
    #[error("it has no {0}")]
    Missing(&'static str),
}

/// The metadata of an agent of this host.
///
/// # Errors
/// There is no such agent, it fails, or it says something else.
pub fn metadata(agent: &str) -> Result<Metadata, MetadataError> {
    Agents::from_env().metadata(agent)
}

impl Agents {
    /// [`metadata`] of one of these agents.
    ///
    /// # Errors
    /// As there.
    pub fn metadata(&self, agent: &str) -> Result<Metadata, MetadataError> {
        // As the daemon would ask; some agents know only the command line.
        let asked = [("action".to_owned(), "metadata".to_owned())];
        let mut said = self.call(agent, &[], &asked, DEADLINE)?;
        if said.code != Some(0) || Metadata::parse(&said.output).is_err() {
            said = self.call(agent, &["-o", "metadata"], &[], DEADLINE)?;
        }
        if said.code != Some(0) {
            return Err(MetadataError::Refused(said.ending));
        }
        let parsed = if said.cut { Err(DocumentError::Long) } else { Metadata::parse(&said.output) };
        parsed.map_err(|source| MetadataError::Document { agent: agent.into(), source })
    }
}

impl Metadata {
    /// Reads the document.
    ///
    /// # Errors
    /// It is not XML, or not a `resource-agent` with parameters and actions.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_OUTPUT {
            return Err(DocumentError::Long);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DocumentError::Text)?;
        let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text.trim_start(), options)?;
        let root = document.root_element();
        if root.tag_name().name() != "resource-agent" {
            return Err(DocumentError::Root(root.tag_name().name().chars().take(40).collect()));
        }
        let list = |list: &'static str, item: &'static str| {
            let found = root.children().find(|node| node.has_tag_name(list)).ok_or(DocumentError::Missing(list))?;
            Ok::<_, DocumentError>(found.children().filter(move |node| node.has_tag_name(item)))
        };
        let named = |node: Node<'_, '_>| Some(node.attribute("name").filter(|name| !name.is_empty())?.to_owned());
        let actions = list("actions", "action")?.filter_map(|node| {
            Some(AgentAction { name: named(node)?, automatic: node.attribute("automatic") == Some("1") })
        });
        let parameters = list("parameters", "parameter")?.filter_map(|node| Some(parameter(named(node)?, node)));
        Ok(Self {
            name: named(root).ok_or(DocumentError::Missing("name"))?,
            about: root.attribute("shortdesc").unwrap_or_default().to_owned(),
            parameters: parameters.collect(),
            actions: actions.collect(),
        })
    }

    /// Whether the agent, not told what to do, switches a node off and on again.
    #[must_use]
    pub fn reboots(&self) -> bool {
        let default = self.parameters.iter().find(|parameter| ["action", "option"].contains(&parameter.name.as_str()));
        let says_off = default.and_then(|parameter| parameter.default.as_deref()).is_some_and(|action| action == "off");
        self.offers("reboot") && !says_off
    }

    fn offers(&self, action: &str) -> bool {
        self.actions.iter().any(|offered| offered.name == action)
    }

    fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The other names of the option `name`.
    fn aliases<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let newer = self.parameters.iter().filter(move |other| other.obsoletes.as_deref() == Some(name));
        let older = self.parameter(name).and_then(|parameter| parameter.obsoletes.as_deref());
        let old = STANDARD.iter().flat_map(move |(new, old)| match name {
            _ if name == *new => Some(*old),
            _ if name == *old => Some(*new),
            _ => None,
        });
        newer.map(|parameter| parameter.name.as_str()).chain(older).chain(old)
    }

    /// What is wrong with a device of cluster.conf, as far as its agent can tell: options it does
    /// not know, options it needs, values it cannot read, actions it does not offer.
    #[must_use]
    pub fn complaints(&self, device: &Device) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |what: String| complaints.push(format!("device {}: {what}", device.name));
        for (name, value) in &device.attributes {
            if let Some(parameter) = self.parameter(name) {
                if let Some(wanted) = parameter.content.refuses(value) {
                    complain(format!("{name}=\"{value}\" is not {wanted}"));
                }
            } else if name.starts_with("pcmk_") {
                complain(format!("{name} is pacemaker's and has no effect here"));
            } else if !OURS.contains(&name.as_str()) && !self.aliases(name).any(|alias| self.parameter(alias).is_some())
            {
                complain(format!("{} does not know {name}{}", device.agent, self.near(name)));
            }
        }
        let given = |name: &str| device.attributes.iter().any(|(given, value)| given == name && !value.is_empty());
        for parameter in self.parameters.iter().filter(|parameter| parameter.required && !parameter.deprecated) {
            let name = parameter.name.as_str();
            let known = OURS.contains(&name) || given(name) || self.aliases(name).any(given);
            if !known && parameter.default.as_deref().is_none_or(str::is_empty) {
                complain(format!("{} needs {name}", device.agent));
            }
        }
        if let Some(action) = plan::said(device)
            && !action.is_empty()
            && !self.offers(&action)
        {
            let offered: Vec<&str> = self.actions.iter().map(|offered| offered.name.as_str()).collect();
            complain(format!("{} does not offer the action {action}, but {}", device.agent, offered.join(", ")));
        }
        if !self.offers("off") && !self.offers("reboot") {
            complain(format!("{} offers neither off nor reboot", device.agent));
        }
        complaints
    }

    /// A known option that differs from `name` by a letter or two, for the one who mistyped it.
    fn near(&self, name: &str) -> String {
        let known = self.parameters.iter().map(|parameter| (distance(name, &parameter.name), &parameter.name));
        match known.min() {
            Some((1 | 2, near)) if name.len() > 3 => format!("; it knows {near}"),
            _ => String::new(),
        }
    }
}

/// Today's standard names and those of the time before, which the agents' own library translates
/// whether an agent's metadata say so or not.
const STANDARD: [(&str, &str); 7] = [
    ("ip", "ipaddr"),
    ("username", "login"),
    ("password", "passwd"),
    ("password_script", "passwd_script"),
    ("plug", "port"),
    ("action", "option"),
    ("ssh", "secure"),
];

/// What every device may have: told by or meant for whoever calls the agent.
const OURS: [&str; 6] = ["nodename", "agent", "timeout", "action", "option", "delay"];

impl Content {
    /// What the value should be and is not.
    fn refuses(&self, value: &str) -> Option<String> {
        let number = |text: &str| !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit());
        let words = ["1", "0", "on", "off", "yes", "no", "true", "false", ""];
        match self {
            Self::Boolean if !words.contains(&value.to_ascii_lowercase().as_str()) => Some("yes or no".into()),
            Self::Integer if !number(value.strip_prefix('-').unwrap_or(value)) => Some("a number".into()),
            Self::Second if !number(value.strip_suffix('s').unwrap_or(value)) => Some("a number of seconds".into()),
            Self::Select(values) if !values.iter().any(|known| known.eq_ignore_ascii_case(value)) => {
                Some(format!("one of {}", values.join(", ")))
            }
            _ => None,
        }
    }
}

fn parameter(name: String, node: Node<'_, '_>) -> Parameter {
    let content = node.children().find(|child| child.has_tag_name("content"));
    let kind = match content.and_then(|content| content.attribute("type")) {
        Some("boolean") => Content::Boolean,
        Some("integer") => Content::Integer,
        Some("second") => Content::Second,
        Some("select") => {
            let options = content.into_iter().flat_map(|content| content.children());
            let options = options.filter(|option| option.has_tag_name("option"));
            Content::Select(options.filter_map(|option| option.attribute("value")).map(Into::into).collect())
        }
        _ => Content::String,
    };
    let flag = |attribute: &str| node.attribute(attribute) == Some("1");
    Parameter {
        required: flag("required"),
        deprecated: flag("deprecated"),
        obsoletes: node.attribute("obsoletes").map(Into::into),
        content: kind,
        default: content.and_then(|content| content.attribute("default")).map(Into::into),
        name,
    }
}

/// How many letters have to be added, removed or changed to come from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const APC: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_x" shortdesc="Fence agent for X" >
<longdesc>words</longdesc>
<vendor-url>http://example.org</vendor-url>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]" />
		<content type="string" default="reboot"  />
		<shortdesc lang="en">Fencing action</shortdesc>
	</parameter>
	<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"/></parameter>
	<parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string"/></parameter>
	<parameter name="plug" unique="0" required="1" obsoletes="port"><content type="string"/></parameter>
	<parameter name="port" unique="0" required="1" deprecated="1"><content type="string"/></parameter>
	<parameter name="lanplus" unique="0" required="0"><content type="boolean" default="0"/></parameter>
	<parameter name="power_wait" unique="0" required="0"><content type="second" default="0"/></parameter>
	<parameter name="ipport" unique="0" required="0"><content type="integer" default="623"/></parameter>
	<parameter name="method" required="0"><content type="select" default="onoff">
		<option value="onoff"/><option value="cycle"/></content></parameter>
</parameters>
<actions>
	<action name="on" automatic="0"/><action name="off" /><action name="reboot" /><action name="status" />
</actions>
</resource-agent>
"#;

    fn complaints(attributes: &[(&str, &str)]) -> Vec<String> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let device = Device { name: "d".into(), agent: "fence_x".into(), attributes };
        Metadata::parse(APC.as_bytes()).unwrap().complaints(&device)
    }

    #[test]
    fn a_description_is_read() {
        let metadata = Metadata::parse(APC.as_bytes()).unwrap();
        assert_eq!((metadata.name.as_str(), metadata.about.as_str()), ("fence_x", "Fence agent for X"));
        assert_eq!((metadata.parameters.len(), metadata.actions.len(), metadata.reboots()), (9, 4, true));
        let select = metadata.parameter("method").unwrap();
        assert_eq!(select.content, Content::Select(vec!["onoff".into(), "cycle".into()]));
        let fabric = APC.replace("default=\"reboot\"", "default=\"off\"");
        assert!(!Metadata::parse(fabric.as_bytes()).unwrap().reboots());
    }

    #[test]
    fn names_of_both_ages_are_known() {
        assert_eq!(complaints(&[("ip", "a"), ("plug", "1"), ("action", "off")]), [""; 0]);
        let old = [("ipaddr", "a"), ("port", "1"), ("option", "reboot"), ("timeout", "5"), ("nodename", "x")];
        assert_eq!(complaints(&old), [""; 0]);
    }

    #[test]
    fn what_is_unknown_missing_or_unreadable_is_told() {
        let bad = [
            ("ip", "a"),
            ("lan_plus", "1"),
            ("colour", "red"),
            ("pcmk_host_map", "x"),
            ("lanplus", "maybe"),
            ("power_wait", "soon"),
            ("ipport", "x"),
            ("method", "axe"),
            ("action", "explode"),
        ];
        let wanted = [
            "device d: fence_x does not know lan_plus; it knows lanplus",
            "device d: fence_x does not know colour",
            "device d: pcmk_host_map is pacemaker's and has no effect here",
            "device d: lanplus=\"maybe\" is not yes or no",
            "device d: power_wait=\"soon\" is not a number of seconds",
            "device d: ipport=\"x\" is not a number",
            "device d: method=\"axe\" is not one of onoff, cycle",
            "device d: fence_x needs plug",
            "device d: fence_x does not offer the action explode, but on, off, reboot, status",
        ];
        assert_eq!(complaints(&bad), wanted);
    }

    #[test]
    fn a_bomb_is_refused_in_time() {
        let deep = "<a>".repeat(MAX_OUTPUT / 3);
        let entities = "<!DOCTYPE a [<!ENTITY a \"b\">]><resource-agent name=\"&a;\"/>";
        let many = format!("<resource-agent name=\"a\">{}</resource-agent>", "<b/>".repeat(100_000));
        let long = " ".repeat(MAX_OUTPUT + 1);
        for text in [deep.as_str(), entities, &many, &long, "", "<html/>", "<resource-agent name='a'/>"] {
            assert!(Metadata::parse(text.as_bytes()).is_err());
        }
        assert!(Metadata::parse(b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn a_cut_document_is_none(length in 0..APC.len() - 2) {
            prop_assert!(Metadata::parse(&APC.as_bytes()[..length]).is_err());
        }
    }
}
