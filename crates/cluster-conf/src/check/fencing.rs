//! Fence devices that cannot work, or would hit somebody else.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::{Findings, Severity, agents::is_a_person, child, clusternodes, devices};
use crate::{ClusterNode, Conf};

/// What switches one machine in a device that serves several.
const PLUG: [&str; 6] = ["plug", "port", "domain", "uuid", "module_name", "systemid"];
const ADDRESS: [&str; 4] = ["ip", "ipaddr", "hostname", "devices"];
/// Agents that find the machine by the node's name.
const BY_NODE: [&str; 6] =
    ["fence_aoemask", "fence_scsi", "fence_mpath", "fence_kdump", "fence_sanlock", "fence_dummy"];

pub fn check<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    targets(root, findings);
    methods(root, conf, findings);
    two_node(root, conf, findings);
}

/// The node of the file for a `clusternode` element.
fn node_of<'c>(conf: &'c Conf, element: Node<'_, '_>) -> Option<&'c ClusterNode> {
    conf.nodes.iter().find(|node| element.attribute("name") == Some(node.name.as_str()))
}

/// Devices that would hit another node, or go down with their own.
fn targets<'a>(root: Node<'a, '_>, findings: &mut Findings<'a, '_>) {
    // Agent, address, plug: who is behind it first.
    let mut behind: BTreeMap<(&str, &str, Option<&str>), &str> = BTreeMap::new();
    for element in clusternodes(root) {
        let Some(node) = element.attribute("name") else { continue };
        let own: Vec<&str> = [Some(node), child(element, "altname").and_then(|alt| alt.attribute("name"))]
            .into_iter()
            .flatten()
            .collect();
        for device in devices(element) {
            let (agent, name) = (findings.agent_of(device), device.attribute("name").unwrap_or_default());
            if let Some(other) = findings.told(device, &["nodename"]).filter(|other| *other != node) {
                let what =
                    format!("fence device `{name}' of {node} is told nodename=\"{other}\": it would fence {other}");
                findings.attribute(Severity::Error, device, "nodename", what);
            }
            if is_a_person(agent) {
                continue;
            }
            let address = findings.told(device, &ADDRESS);
            if let Some(address) = address.filter(|address| own.contains(address)) {
                let what = format!(
                    "fence device `{name}' of {node} is at {address}, which is {node} itself: it does not answer when {node} is lost"
                );
                findings.attribute(Severity::Error, device, "name", what);
            }
            if BY_NODE.contains(&agent) {
                continue;
            }
            let plug = findings.told(device, &PLUG);
            // Two devices at one address are one; without an address its name is all there is.
            match behind.get(&(agent, address.unwrap_or(name), plug)) {
                Some(other) if *other != node => {
                    let what = match plug {
                        Some(plug) => {
                            format!(
                                "fence device `{name}' has {other} at plug `{plug}' already: fencing {node} would fence {other}"
                            )
                        }
                        None => format!(
                            "fence device `{name}' serves {other} as well and is told no plug: unless {agent} goes by the \
                             node's name, fencing {node} fences {other}"
                        ),
                    };
                    let severity =
                        if plug.is_some() || address.is_some() { Severity::Error } else { Severity::Warning };
                    findings.attribute(severity, device, "name", what);
                }
                Some(_) => {}
                None => {
                    behind.insert((agent, address.unwrap_or(name), plug), node);
                }
            }
        }
    }
}

/// What the methods of each node come to.
fn methods<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    let some_have = conf.nodes.iter().any(|node| !node.methods.is_empty());
    let watchdog = conf.watchdog.is_some();
    for element in clusternodes(root) {
        let Some(node) = node_of(conf, element).filter(|node| !node.witness) else { continue };
        let name = &node.name;
        let at = child(element, "fence").unwrap_or(element);
        if node.methods.is_empty() {
            if some_have && !watchdog {
                let what = format!(
                    "{name} has no fence method and others have: when it is lost, what it held waits for \
                     cluster-fence --ack {name}"
                );
                findings.warning(at, what);
            }
            continue;
        }
        for method in at.children().filter(|child| child.has_tag_name("method")) {
            let label = method.attribute("name").unwrap_or_default();
            let agents: Vec<&str> = method
                .children()
                .filter(|child| child.has_tag_name("device"))
                .map(|device| findings.agent_of(device))
                .collect();
            if agents.is_empty() {
                findings.error(method, format!("method `{label}' of {name} has no device"));
            } else if agents.iter().all(|agent| *agent == "fence_aoemask") {
                let what = format!(
                    "method `{label}' of {name} is fence_aoemask alone: it cuts the storage and proves nothing about \
                     running domains; put a power device into the same method"
                );
                findings.error(method, what);
            }
        }
        let manual = node.methods.iter().flat_map(|method| &method.devices).all(|device| is_a_person(&device.agent));
        if manual && !watchdog {
            let what = format!(
                "fence_manual is all that {name} can be fenced with: when it is lost, what it held waits for \
                 cluster-fence --ack {name}"
            );
            findings.warning(at, what);
        }
    }
    if !some_have && !watchdog && conf.nodes.len() > 1 && !conf.two_node {
        let at = child(root, "clusternodes").unwrap_or(root);
        let what = "no node has a fence method and there is no <watchdog>: what a lost node held waits for \
                    cluster-fence --ack NODE";
        findings.warning(at, what);
    }
}

/// What two nodes alone need more than others.
fn two_node<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    if !conf.two_node {
        return;
    }
    let at = child(root, "cman").unwrap_or(root);
    if conf.watchdog.is_none() && conf.nodes.iter().all(|node| node.methods.is_empty()) {
        let what =
            "two_node=\"1\" without fencing: the one that is left stops until somebody types cluster-fence --ack";
        findings.attribute(Severity::Warning, at, "two_node", what);
    }
    let delays: Vec<(Node<'a, '_>, &str)> = clusternodes(root)
        .filter_map(|element| {
            devices(element).find_map(|device| findings.told(device, &["delay"]).map(|delay| (device, delay)))
        })
        .collect();
    if let [(_, first), (device, second)] = delays[..] {
        let equal = match (first.parse::<f64>(), second.parse::<f64>()) {
            (Ok(first), Ok(second)) => (first - second).abs() < conf.token.as_secs_f64(),
            _ => first == second,
        };
        if equal {
            let what = format!(
                "delay=\"{first}\" and delay=\"{second}\": when the link between the two breaks each fences the other; \
                 let them differ by more than the token"
            );
            findings.attribute(Severity::Warning, device, "delay", what);
        }
    }
}
