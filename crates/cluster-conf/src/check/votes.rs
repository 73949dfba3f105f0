//! Votes and links: what one failure takes away.

use roxmltree::Node;

use super::{Findings, child, clusternodes};
use crate::Conf;

pub fn check<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    let Some(list) = child(root, "clusternodes") else { return };
    let votes = conf.voters().len();
    if votes.is_multiple_of(2) && !conf.two_node {
        let what = format!(
            "{votes} votes: a cluster cut in two halves stops on both sides; add a clusternode with witness=\"1\"{}",
            if votes == 2 { ", or two_node=\"1\"" } else { "" }
        );
        findings.warning(list, what);
    }
    for element in clusternodes(root) {
        let node = conf.nodes.iter().find(|node| element.attribute("name") == Some(node.name.as_str()));
        if let Some(node) = node.filter(|node| node.witness) {
            if node.votes == 0 {
                findings.error(element, format!("{} is a witness without a vote: it would do nothing", node.name));
            }
            if !node.methods.is_empty() {
                findings.warning(element, format!("{} is a witness, runs nothing and is never fenced", node.name));
            }
        }
    }
    if conf.nodes.iter().all(|node| node.witness) {
        findings.error(list, "every node is a witness: none could hold a lock");
    }
    if conf.nodes.len() < 2 {
        return;
    }
    let second = |node: &&crate::ClusterNode| node.altname.is_some();
    if !conf.nodes.iter().any(|node| second(&node)) {
        let what =
            "one network only: when its switch restarts every node is lost to every other; give each an <altname>";
        findings.warning(list, what);
    } else {
        for element in clusternodes(root).filter(|element| child(*element, "altname").is_none()) {
            let name = element.attribute("name").unwrap_or_default();
            findings.warning(element, format!("{name} has no <altname> and others have: it has one link only"));
        }
    }
    for element in clusternodes(root) {
        let name = element.attribute("name");
        if let Some(alt) = child(element, "altname").filter(|alt| alt.attribute("name") == name) {
            findings
                .error(alt, format!("the altname of {} is its name: two links over one network", name.unwrap_or("")));
        }
    }
}
