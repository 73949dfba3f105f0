//! Names and values against the schema.

use roxmltree::Node;

use super::{Findings, MAX_FINDINGS, Severity, child};
use crate::schema::{self, Element};

/// Deepest element that is looked at: no known one is deeper.
const DEEPEST: usize = 16;

pub fn check<'a>(root: Node<'a, '_>, findings: &mut Findings<'a, '_>) {
    if let Some(element) = schema::element("cluster").filter(|_| root.has_tag_name("cluster")) {
        look(root, element, DEEPEST, findings);
        unused_devices(root, findings);
    }
}

fn look<'a>(node: Node<'a, '_>, element: &Element, deeper: usize, findings: &mut Findings<'a, '_>) {
    if element.open || deeper == 0 || findings.is_full() {
        return;
    }
    for attribute in node.attributes().take(MAX_FINDINGS) {
        let name = attribute.name();
        let Some((_, kind)) = element.attributes.iter().find(|(known, _)| *known == name) else {
            let known = element.attributes.iter().map(|(known, _)| *known);
            let what = format!("`{name}' of <{}> is not known and not used{}", element.name, meant(name, known));
            findings.at(Severity::Warning, attribute.range().start, what);
            continue;
        };
        if let Some(wanted) = kind.refuses(attribute.value()) {
            let what = format!("{name}=`{}' of <{}> is not {wanted}", attribute.value(), element.name);
            // What nobody reads stops nobody.
            let severity = if is_read(element.name, name) { Severity::Error } else { Severity::Warning };
            findings.at(severity, attribute.range().start, what);
        }
    }
    for child in node.children().filter(Node::is_element) {
        if findings.is_full() {
            return;
        }
        let name = child.tag_name().name();
        match schema::element(name).filter(|_| element.children.contains(&name)) {
            Some(known) => look(child, known, deeper - 1, findings),
            None => {
                let elsewhere = schema::ELEMENTS.iter().find(|other| other.children.contains(&name));
                let hint = match elsewhere {
                    Some(parent) => format!(": it belongs in <{}>", parent.name),
                    None => meant(name, element.children.iter().copied()),
                };
                findings.warning(child, format!("<{name}> is not known in <{}> and not used{hint}", element.name));
            }
        }
    }
}

fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    schema::nearest(name, known).map(|known| format!(": did you mean `{known}'?")).unwrap_or_default()
}

/// Whether cluster-join reads this value and refuses a file over it.
fn is_read(element: &str, attribute: &str) -> bool {
    match element {
        "cluster" | "clusternode" | "fence_daemon" | "watchdog" => {
            !["weight", "alias", "skip_undefined"].contains(&attribute)
        }
        "cman" => ["two_node", "expected_votes", "port"].contains(&attribute),
        "totem" => attribute == "token",
        _ => false,
    }
}

/// Devices nobody refers to, and two of one name.
fn unused_devices<'a>(root: Node<'a, '_>, findings: &mut Findings<'a, '_>) {
    let Some(list) = child(root, "fencedevices") else { return };
    let used: std::collections::BTreeSet<&str> = root
        .descendants()
        .filter(|node| node.has_tag_name("device"))
        .filter_map(|device| device.attribute("name"))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for device in list.children().filter(|child| child.has_tag_name("fencedevice")) {
        let Some(name) = device.attribute("name") else {
            findings.error(device, "a fencedevice without a name: no method can use it");
            continue;
        };
        if !seen.insert(name) {
            findings.error(device, format!("a second fencedevice `{name}'"));
        } else if !used.contains(name) {
            findings.warning(device, format!("fence device `{name}' is in no method"));
        }
    }
}
