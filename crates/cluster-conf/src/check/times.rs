//! Times that contradict each other.

use std::time::Duration;

use roxmltree::Node;

use super::{Findings, Severity, child, clusternodes, devices};
use crate::{Bound, Conf};

/// How long an agent may take when nothing is said.
const AGENT: f64 = 60.0;

pub fn check<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    let bound = Bound::of(conf);
    joining(root, conf, findings);
    if let Some(bound) = bound {
        watchdog(root, conf, &bound, findings);
    }
    for element in clusternodes(root) {
        for device in devices(element) {
            agent(device, bound.as_ref(), findings);
        }
    }
}

fn joining<'a>(root: Node<'a, '_>, conf: &Conf, findings: &mut Findings<'a, '_>) {
    let at = child(root, "fence_daemon").unwrap_or(root);
    let daemon = &conf.fence_daemon;
    // An election and the node's first word take about two tokens.
    if let Some(delay) = daemon.post_join_delay.filter(|delay| *delay <= conf.token * 2 && !daemon.clean_start) {
        let what = format!(
            "post_join_delay {} is not longer than two tokens of {}: nodes that start together fence each other",
            seconds(delay),
            seconds(conf.token)
        );
        let severity = if delay < conf.token { Severity::Error } else { Severity::Warning };
        findings.attribute(severity, at, "post_join_delay", what);
    }
    if daemon.clean_start {
        let what = "clean_start=\"1\": nodes that were never seen are taken for off; right only while somebody looks";
        findings.attribute(Severity::Warning, at, "clean_start", what);
    }
    if daemon.override_time.is_zero() {
        let what = "override_time=\"0\": devices that fail are asked again without a pause";
        findings.attribute(Severity::Warning, at, "override_time", what);
    }
}

fn watchdog<'a>(root: Node<'a, '_>, conf: &Conf, bound: &Bound, findings: &mut Findings<'a, '_>) {
    let Some(at) = child(root, "watchdog") else { return };
    // It is petted every quarter of its time, so that much less than it is left for a pause.
    let pause = bound.watchdog * 3 / 4;
    if pause <= conf.token {
        let what = format!(
            "watchdog timeout {} and token {}: a pause of {} that the token forgives resets the host",
            seconds(bound.watchdog),
            seconds(conf.token),
            seconds(pause)
        );
        let severity = if bound.watchdog <= conf.token { Severity::Error } else { Severity::Warning };
        findings.attribute(severity, at, "timeout", what);
    }
    let after = bound.after_lease();
    let daemon = &conf.fence_daemon;
    if daemon.post_fail_delay >= after {
        let what = format!(
            "post_fail_delay {} is longer than the {} after which a lost host has reset itself: no agent is ever asked",
            seconds(daemon.post_fail_delay),
            seconds(after)
        );
        let at = child(root, "fence_daemon").unwrap_or(root);
        findings.attribute(Severity::Warning, at, "post_fail_delay", what);
    }
    if bound.grace > bound.watchdog + bound.lease && bound.grace > Duration::from_secs(60) {
        let what = format!(
            "quorum_grace {}: without a faster agent the locks of a lost host wait {} for it",
            seconds(bound.grace),
            seconds(after)
        );
        findings.attribute(Severity::Warning, at, "quorum_grace", what);
    }
    // Unheard-of nodes count as lost; one whose host is just being reset must be given that time.
    if let Some(delay) = daemon.post_join_delay.filter(|delay| bound.grace > *delay && !daemon.clean_start) {
        let what = format!(
            "quorum_grace {} is longer than post_join_delay {}: a host may still be frozen and come back when a cluster \
             that starts without it fences it",
            seconds(bound.grace),
            seconds(delay)
        );
        findings.attribute(Severity::Warning, at, "quorum_grace", what);
    }
}

/// Times the agent is told against the time it is given.
fn agent<'a>(device: Node<'a, '_>, bound: Option<&Bound>, findings: &mut Findings<'a, '_>) {
    let name = device.attribute("name").unwrap_or_default();
    let number = |names: &[&str]| findings.told(device, names).map(str::parse::<f64>);
    for names in [["timeout"], ["delay"], ["power_wait"], ["power_timeout"]] {
        if let Some(Err(_)) = number(&names) {
            let what = format!("fence device `{name}': {} is not a number of seconds", names[0]);
            findings.attribute(Severity::Error, device, names[0], what);
            return;
        }
    }
    let of = |name: &str| number(&[name]).and_then(Result::ok).filter(|number| number.is_finite()).unwrap_or(0.0);
    let given = if findings.told(device, &["timeout"]).is_some() { of("timeout") } else { AGENT };
    let pauses = of("delay") + of("power_wait");
    if given <= pauses {
        let what = format!(
            "fence device `{name}' pauses {pauses} s (delay, power_wait) and is stopped after {given} s: it can never succeed"
        );
        findings.attribute(Severity::Error, device, "timeout", what);
    } else if given < pauses + of("power_timeout") {
        let what = format!(
            "fence device `{name}' is stopped after {given} s, before its own {} s (delay, power_wait, power_timeout) are over",
            pauses + of("power_timeout")
        );
        findings.attribute(Severity::Warning, device, "timeout", what);
    }
    if let Some(after) = bound.map(Bound::after_lease).filter(|after| pauses >= after.as_secs_f64()) {
        let what =
            format!("fence device `{name}' pauses {pauses} s; a lost host has reset itself after {}", seconds(after));
        findings.attribute(Severity::Warning, device, "delay", what);
    }
}

/// A time as people write it: `1.5 s`.
fn seconds(time: Duration) -> String {
    let text = format!("{:.3}", time.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}
