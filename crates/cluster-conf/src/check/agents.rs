//! What the agents themselves say of their devices, and whether a method turns anything off.

use roxmltree::Node;

use super::{Findings, Severity, child, clusternodes};
use crate::{Conf, Device, Method};

/// Who can be asked about agents. Running them is not this crate's work.
pub trait Agents {
    /// Why a method could not turn a node off, if it could not.
    fn method(&self, method: &Method) -> Option<String>;

    /// What the device's agent complains about.
    fn device(&self, device: &Device) -> Vec<(Severity, String)>;
}

/// Names that are no program: people answer for it.
pub(super) fn is_a_person(agent: &str) -> bool {
    agent == "fence_manual"
}

pub fn check<'a>(root: Node<'a, '_>, conf: &Conf, agents: &dyn Agents, findings: &mut Findings<'a, '_>) {
    for element in clusternodes(root) {
        let Some(node) = conf.nodes.iter().find(|node| element.attribute("name") == Some(&node.name)) else { continue };
        let methods = element
            .children()
            .filter(|child| child.has_tag_name("fence"))
            .flat_map(|fence| fence.children().filter(|child| child.has_tag_name("method")));
        // The reader takes each method and device there is, in this order.
        for (at, method) in methods.zip(&node.methods) {
            if let Some(why) = agents.method(method).filter(|_| !method.devices.is_empty()) {
                findings.error(at, format!("method `{}' of {}: {why}", method.name, node.name));
            }
            devices(at, &method.devices, agents, findings);
        }
        if let Some(unfence) = child(element, "unfence") {
            devices(unfence, &node.unfence, agents, findings);
        }
    }
}

fn devices<'a>(at: Node<'a, '_>, devices: &[Device], agents: &dyn Agents, findings: &mut Findings<'a, '_>) {
    let elements = at.children().filter(|child| child.has_tag_name("device"));
    for (element, device) in elements.zip(devices).filter(|(_, device)| !is_a_person(&device.agent)) {
        for (severity, what) in agents.device(device) {
            findings.attribute(severity, element, "name", what);
        }
    }
}
