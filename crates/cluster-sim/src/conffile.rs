//! cluster.conf as an operator would write it for the simulated machines.

use cluster_conf::{Conf, Device};

/// The file that says what `conf` says.
#[must_use]
pub fn text(conf: &Conf) -> String {
    let mut text = format!("<cluster name=\"{}\" config_version=\"{}\">\n", conf.name, conf.version);
    if conf.two_node {
        text += "<cman two_node=\"1\" expected_votes=\"1\"/>\n";
    }
    let fence = &conf.fence_daemon;
    let join = fence.post_join_delay.map_or(-1, |delay| i64::try_from(delay.as_secs()).unwrap_or(i64::MAX));
    text += &format!(
        "<fence_daemon clean_start=\"{}\" post_join_delay=\"{join}\" post_fail_delay=\"{}\" override_time=\"{}\"/>\n",
        u8::from(fence.clean_start),
        fence.post_fail_delay.as_secs(),
        fence.override_time.as_secs()
    );
    if let Some(watchdog) = &conf.watchdog {
        text += &format!(
            "<watchdog device=\"{}\" timeout=\"{}\" quorum_grace=\"{}\"/>\n",
            watchdog.device,
            watchdog.timeout.as_secs(),
            watchdog.quorum_grace.as_secs()
        );
    }
    text += "<clusternodes>\n";
    for node in &conf.nodes {
        text += &format!("<clusternode name=\"{}\" nodeid=\"{}\" votes=\"{}\">", node.name, node.id, node.votes);
        if !node.methods.is_empty() {
            text += "<fence>";
            for method in &node.methods {
                text += &format!("<method name=\"{}\">{}</method>", method.name, devices(&method.devices));
            }
            text += "</fence>";
        }
        if !node.unfence.is_empty() {
            text += &format!("<unfence>{}</unfence>", devices(&node.unfence));
        }
        text += "</clusternode>\n";
    }
    text += "</clusternodes>\n<fencedevices><fencedevice name=\"power\" agent=\"fence_power\"/>";
    if conf.nodes.iter().any(|node| !node.unfence.is_empty()) {
        text += "<fencedevice name=\"port\" agent=\"fence_port\"/>";
    }
    text + "</fencedevices>\n</cluster>\n"
}

fn devices(devices: &[Device]) -> String {
    let mut text = String::new();
    for device in devices {
        text += &format!("<device name=\"{}\"", device.name);
        for (name, value) in &device.attributes {
            text += &format!(" {name}=\"{value}\"");
        }
        text += "/>";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn the_file_of_a_plan_reads_as_the_plan() {
        for seed in 0..100 {
            let conf = Plan::of(seed).conf;
            assert_eq!(Conf::parse("cluster.conf", &text(&conf)).unwrap(), conf, "seed {seed}");
            assert_eq!(conf.warnings, Vec::<String>::new());
        }
    }
}
