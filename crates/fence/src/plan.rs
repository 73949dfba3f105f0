//! In which order the devices of a method are called, and for what.
//!
//! A node with two power supplies is off only while both are: where several devices would each
//! switch off and on again, all go off first and all come on after that. The verdict is that of
//! the first half; a node that does not come back is still fenced.

use cluster_conf::{Device, Method};

/// The names under which the file may say what a device is to do: today's and that of the time
/// before.
const ACTION: [&str; 2] = ["action", "option"];

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    pub device: &'a Device,
    /// `None` leaves it to the agent: `reboot`, and `off` where an agent cuts off something else
    /// than power.
    pub action: Option<String>,
}

/// A method taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<'a> {
    /// All of these have to succeed: then the node has been off.
    pub off: Vec<Step<'a>>,
    /// Afterwards.
    pub on: Vec<Step<'a>>,
    /// Switched off in `off` without the file having said so: they are switched on again if that
    /// is what their agents do by default.
    pub unsaid: Vec<&'a Device>,
}

/// Why a method can never fence anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("it has no devices")]
    Empty,
    #[error("device {device} has action=\"{action}\", which does not turn a node off: off or reboot, or on after off")]
    Action { device: String, action: String },
    #[error("device {device} is switched on and never off")]
    NeverOff { device: String },
}

/// What the file says a device is to do, in small letters.
#[must_use]
pub fn said(device: &Device) -> Option<String> {
    // The last one counts, as it would for the agent.
    let said = device.attributes.iter().rfind(|(name, _)| ACTION.contains(&name.as_str()));
    said.map(|(_, value)| value.to_ascii_lowercase())
}

/// # Errors
/// The method cannot turn anything off.
pub fn plan(method: &Method) -> Result<Plan<'_>, PlanError> {
    let mut plan = Plan { off: Vec::new(), on: Vec::new(), unsaid: Vec::new() };
    let alone = method.devices.len() == 1;
    for device in &method.devices {
        let step = |action: &str| Step { device, action: Some(action.into()) };
        match said(device).as_deref() {
            None if alone => plan.off.push(Step { device, action: None }),
            None => {
                plan.off.push(step("off"));
                plan.unsaid.push(device);
            }
            Some("reboot") if !alone => {
                plan.off.push(step("off"));
                plan.on.push(step("on"));
            }
            // `disable` and `enable` are what agents for switches called them.
            Some(action @ ("off" | "reboot" | "disable")) => plan.off.push(step(action)),
            Some(action @ ("on" | "enable")) => plan.on.push(step(action)),
            Some(action) => {
                return Err(PlanError::Action { device: device.name.clone(), action: action.into() });
            }
        }
    }
    if let Some(on) = plan.on.iter().find(|on| !plan.off.iter().any(|off| same(off.device, on.device))) {
        return Err(PlanError::NeverOff { device: on.device.name.clone() });
    }
    if plan.off.is_empty() { Err(PlanError::Empty) } else { Ok(plan) }
}

/// Whether two entries of a method are the same outlet: everything but what to do is equal.
pub(crate) fn same(one: &Device, other: &Device) -> bool {
    let place = |device: &Device| {
        let mut place = device.attributes.clone();
        place.retain(|(name, _)| !ACTION.contains(&name.as_str()) && name != "delay" && name != "timeout");
        place.sort();
        (device.name.clone(), device.agent.clone(), place)
    };
    place(one) == place(other)
}

/// What the agent is told: the file's attributes as they are, the node, and what to do.
#[must_use]
pub fn options(device: &Device, node: &str, action: Option<&str>) -> Vec<(String, String)> {
    let replaced = |name: &str| action.is_some() && ACTION.contains(&name) || ["nodename", "agent"].contains(&name);
    let kept = device.attributes.iter().filter(|(name, _)| !replaced(name));
    let mut options: Vec<(String, String)> = kept.cloned().collect();
    let nodename = device.attributes.iter().rfind(|(name, _)| name == "nodename").map(|(_, value)| value.as_str());
    options.push(("nodename".into(), nodename.unwrap_or(node).into()));
    options.push(("agent".into(), device.agent.clone()));
    if let Some(action) = action {
        // An agent old enough to be told by `option` alone is told by that.
        let old = device.attributes.iter().any(|(name, _)| name == "option");
        let name = if old { "option" } else { "action" };
        options.push((name.into(), action.into()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, attributes: &[(&str, &str)]) -> Device {
        let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Device { name: name.into(), agent: format!("fence_{name}"), attributes }
    }

    fn method(devices: &[Device]) -> Method {
        Method { name: "1".into(), devices: devices.to_vec() }
    }

    fn shown(steps: &[Step<'_>]) -> String {
        let one = |step: &Step<'_>| format!("{} {}", step.device.name, step.action.as_deref().unwrap_or("-"));
        steps.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn one_device_does_what_it_does_by_default() {
        let method = method(&[device("a", &[])]);
        let plan = plan(&method).unwrap();
        assert_eq!((shown(&plan.off), shown(&plan.on), plan.unsaid.len()), ("a -".into(), String::new(), 0));
    }

    #[test]
    fn all_supplies_are_off_before_the_first_is_on_again() {
        let reboot = [("port", "1"), ("option", "Reboot")];
        for devices in [
            vec![device("a", &reboot), device("b", &[("action", "reboot")])],
            vec![
                device("a", &[("action", "off")]),
                device("a", &[("action", "on")]),
                device("b", &[("action", "off")]),
                device("b", &[("action", "on")]),
            ],
        ] {
            let method = method(&devices);
            let plan = plan(&method).unwrap();
            assert_eq!((shown(&plan.off).as_str(), shown(&plan.on).as_str()), ("a off, b off", "a on, b on"));
        }
        let method = method(&[device("a", &[]), device("b", &[("action", "off")])]);
        let plan = plan(&method).unwrap();
        assert_eq!((shown(&plan.off).as_str(), plan.on.len(), plan.unsaid[0].name.as_str()), ("a off, b off", 0, "a"));
    }

    #[test]
    fn a_method_that_cannot_turn_a_node_off_is_none() {
        assert_eq!(plan(&method(&[])), Err(PlanError::Empty));
        for action in ["status", "monitor", "metadata", "list", "nmi", ""] {
            let device = device("a", &[("action", action)]);
            let wanted = PlanError::Action { device: "a".into(), action: action.into() };
            assert_eq!(plan(&method(&[device])), Err(wanted));
        }
        let one = device("a", &[("port", "1"), ("action", "off")]);
        let other = device("a", &[("port", "2"), ("action", "on")]);
        assert_eq!(plan(&method(&[one, other])), Err(PlanError::NeverOff { device: "a".into() }));
    }

    #[test]
    fn an_agent_is_told_the_files_attributes_as_they_are() {
        let pairs = |options: &[(String, String)]| {
            options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let old = device("a", &[("ipaddr", "10.0.0.1"), ("passwd", "x y"), ("option", "reboot")]);
        assert_eq!(
            pairs(&options(&old, "xen1", Some("off"))),
            "ipaddr=10.0.0.1 passwd=x y nodename=xen1 agent=fence_a option=off"
        );
        assert_eq!(
            pairs(&options(&old, "xen1", None)),
            "ipaddr=10.0.0.1 passwd=x y option=reboot nodename=xen1 agent=fence_a"
        );
        let named = device("b", &[("nodename", "other")]);
        assert_eq!(pairs(&options(&named, "xen1", Some("status"))), "nodename=other agent=fence_b action=status");
    }
}
