//! Whether a cluster.conf can work: everything that is wrong with it and everything that will
//! surprise somebody, each with its place.
//!
//! The daemon stops at the first contradiction; here all are wanted. So names and values are
//! held against the [`schema`](crate::schema) first, then the file is read as the daemon reads
//! it, and what that gives is judged: fencing, votes, links, times.

mod agents;
mod fencing;
mod names;
mod times;
mod votes;

pub use agents::Agents;

use std::collections::BTreeMap;
use std::fmt;

use roxmltree::{Document, Node};

use crate::{Bound, Conf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The daemon refuses it, or what it says cannot work.
    Error,
    /// It works, and not as somebody may expect.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing to say about the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub severity: Severity,
    pub line: u32,
    pub column: u32,
    pub what: String,
}

/// All there is to say about a file.
#[derive(Debug, Clone)]
pub struct Report {
    /// Errors first, then in the order of the file.
    pub findings: Vec<Finding>,
    /// What the daemon makes of it; none when it refuses the file.
    pub conf: Option<Conf>,
}

impl Report {
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// When hosts under this file have certainly reset themselves.
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        self.conf.as_ref().and_then(Bound::of)
    }
}

/// Most findings that are kept: a file of nonsense is not worth more.
const MAX_FINDINGS: usize = 1000;

/// Checks `text`; what agents say is asked of `agents` where there are some to ask.
#[must_use]
pub fn check(text: &str, agents: Option<&dyn Agents>) -> Report {
    let read = Conf::parse("", text);
    // What is no XML at all the reader has said already.
    let list =
        Document::parse(text).map_or_else(|_| Vec::new(), |document| judge(&document, read.as_ref().ok(), agents));
    finish(list, read)
}

fn judge(document: &Document<'_>, conf: Option<&Conf>, agents: Option<&dyn Agents>) -> Vec<Finding> {
    let root = document.root_element();
    let devices = root.descendants().filter(|node| node.has_tag_name("fencedevice"));
    let declared = devices.filter_map(|device| Some((device.attribute("name")?, device))).collect();
    let mut findings = Findings { list: Vec::new(), document, declared };
    names::check(root, &mut findings);
    if let Some(conf) = conf {
        fencing::check(root, conf, &mut findings);
        votes::check(root, conf, &mut findings);
        times::check(root, conf, &mut findings);
        if let Some(agents) = agents {
            agents::check(root, conf, agents, &mut findings);
        }
    }
    findings.list
}

fn finish(mut list: Vec<Finding>, read: Result<Conf, crate::ConfError>) -> Report {
    let conf = match read {
        Ok(conf) => {
            for warning in &conf.warnings {
                add_unless_said(&mut list, Severity::Warning, parted(warning));
            }
            Some(conf)
        }
        Err(error) => {
            add_unless_said(&mut list, Severity::Error, parted(&error.to_string()));
            None
        }
    };
    list.sort();
    list.dedup();
    Report { findings: list, conf }
}

/// The schema's words about a place are the better ones: they say what was meant.
fn add_unless_said(list: &mut Vec<Finding>, severity: Severity, (line, column, what): (u32, u32, String)) {
    if list.len() <= MAX_FINDINGS
        && !list.iter().any(|said| (said.severity, said.line, said.column) == (severity, line, column))
    {
        list.push(Finding { severity, line, column, what });
    }
}

/// The reader's `:line:column: what` in its parts.
fn parted(message: &str) -> (u32, u32, String) {
    let mut parts = message.trim_start_matches(':').splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
    let (line, column) = (number(), number());
    (line, column, parts.next().unwrap_or(message).trim_start().to_owned())
}

/// Where the parts of the check put what they find, and where they look a fence device up.
#[derive(Debug)]
struct Findings<'a, 'input> {
    list: Vec<Finding>,
    document: &'a Document<'input>,
    /// The `fencedevice`s by name; of several the last, as the reader takes it.
    declared: BTreeMap<&'a str, Node<'a, 'input>>,
}

impl<'a> Findings<'a, '_> {
    fn is_full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }

    /// What the agent is told under one of `names`: the device's own word goes before the
    /// fencedevice's.
    fn told(&self, device: Node<'a, '_>, names: &[&str]) -> Option<&'a str> {
        let of = |node: Node<'a, '_>| names.iter().find_map(|name| node.attribute(*name));
        of(device).or_else(|| device.attribute("name").and_then(|name| of(*self.declared.get(name)?)))
    }

    /// The name of the device's agent.
    fn agent_of(&self, device: Node<'a, '_>) -> &'a str {
        let declared = device.attribute("name").and_then(|name| self.declared.get(name));
        declared.and_then(|device| device.attribute("agent")).unwrap_or_default()
    }

    fn at(&mut self, severity: Severity, offset: usize, what: String) {
        if self.is_full() {
            return;
        }
        let at = self.document.text_pos_at(offset);
        self.list.push(Finding { severity, line: at.row, column: at.col, what });
    }

    fn error(&mut self, node: Node<'a, '_>, what: impl Into<String>) {
        self.at(Severity::Error, node.range().start, what.into());
    }

    fn warning(&mut self, node: Node<'a, '_>, what: impl Into<String>) {
        self.at(Severity::Warning, node.range().start, what.into());
    }

    /// At an attribute of `node`, or at `node` where it has none of that name.
    fn attribute(&mut self, severity: Severity, node: Node<'a, '_>, name: &str, what: impl Into<String>) {
        let attribute = node.attributes().find(|attribute| attribute.name() == name);
        let at = attribute.map_or(node.range().start, |attribute| attribute.range().start);
        self.at(severity, at, what.into());
    }
}

/// The first child element of this name.
fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The `clusternode`s of the file.
fn clusternodes<'a, 'input>(root: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    let list = child(root, "clusternodes");
    list.into_iter().flat_map(|list| list.children().filter(|node| node.has_tag_name("clusternode")))
}

/// The `device`s in the fence methods of a `clusternode`.
fn devices<'a, 'input>(clusternode: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    let fence = clusternode.children().filter(|child| child.has_tag_name("fence"));
    let methods = fence.flat_map(|fence| fence.children().filter(|child| child.has_tag_name("method")));
    methods.flat_map(|method| method.children().filter(|child| child.has_tag_name("device")))
}

#[cfg(test)]
mod tests;
