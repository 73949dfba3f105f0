//! The names of cluster.conf: which element holds which elements and attributes, and what values
//! those take. It is the old suite's schema as far as anybody wrote it, so that a typing error is
//! told from a part that others act on.

/// What a value has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Flag,
    /// A whole number between the two, in this unit.
    Number(i64, i64, &'static str),
}

/// An element of the file.
#[derive(Debug)]
pub struct Element {
    pub name: &'static str,
    pub attributes: &'static [(&'static str, Kind)],
    pub children: &'static [&'static str],
    /// Takes any attribute and any element: an agent's or another program's.
    pub open: bool,
}

use Kind::{Flag, Number, Text};

const fn closed(
    name: &'static str,
    attributes: &'static [(&'static str, Kind)],
    children: &'static [&'static str],
) -> Element {
    Element { name, attributes, children, open: false }
}

const fn open(name: &'static str, attributes: &'static [(&'static str, Kind)]) -> Element {
    Element { name, attributes, children: &[], open: true }
}

const ANY: i64 = i64::MAX;

/// Every element by its name; no name has two meanings.
pub static ELEMENTS: &[Element] = &[
    closed(
        "cluster",
        &[
            ("name", Text),
            ("config_version", Number(1, u32::MAX as i64, "")),
            ("alias", Text),
            ("schemaLocation", Text),
        ],
        &[
            "cman",
            "totem",
            "quorumd",
            "fence_daemon",
            "fence_xvmd",
            "watchdog",
            "dlm",
            "gfs_controld",
            "group",
            "logging",
            "clusternodes",
            "fencedevices",
            "rm",
            "clvmd",
            "uidgid",
        ],
    ),
    closed(
        "cman",
        &[
            ("two_node", Flag),
            ("expected_votes", Number(1, ANY, "votes")),
            ("port", Number(1, 65_535, "")),
            ("keyfile", Text),
            ("cluster_id", Number(1, 65_535, "")),
            ("hash_cluster_id", Text),
            ("quorum_dev_poll", Number(0, ANY, "milliseconds")),
            ("shutdown_timeout", Number(0, ANY, "milliseconds")),
            ("upgrading", Text),
            ("disallowed", Flag),
            ("broadcast", Text),
            ("transport", Text),
        ],
        &["multicast"],
    ),
    closed("multicast", &[("addr", Text), ("interface", Text), ("ttl", Text)], &[]),
    closed(
        "totem",
        &[
            ("token", Number(100, 60_000, "milliseconds")),
            ("token_retransmits_before_loss_const", Number(0, ANY, "")),
            ("join", Number(0, ANY, "milliseconds")),
            ("consensus", Number(0, ANY, "milliseconds")),
            ("rrp_mode", Text),
            ("secauth", Text),
        ],
        &["interface"],
    ),
    open("interface", &[]),
    closed("clusternodes", &[], &["clusternode"]),
    closed(
        "clusternode",
        &[
            ("name", Text),
            ("nodeid", Number(1, u32::MAX as i64, "")),
            ("votes", Number(0, 1, "votes")),
            ("weight", Number(0, ANY, "")),
            ("witness", Flag),
        ],
        &["altname", "fence", "unfence"],
    ),
    closed("altname", &[("name", Text), ("port", Number(1, 65_535, "")), ("mcast", Text), ("ttl", Text)], &[]),
    closed("fence", &[], &["method"]),
    closed("unfence", &[], &["device"]),
    closed("method", &[("name", Text)], &["device"]),
    open("device", &[("name", Text)]),
    closed("fencedevices", &[], &["fencedevice"]),
    open("fencedevice", &[("name", Text), ("agent", Text)]),
    closed(
        "fence_daemon",
        &[
            ("post_join_delay", Number(-1, 3600, "seconds")),
            ("post_fail_delay", Number(0, 3600, "seconds")),
            ("clean_start", Flag),
            ("override_time", Number(0, 3600, "seconds")),
            ("override_path", Text),
            ("skip_undefined", Flag),
        ],
        &[],
    ),
    open("fence_xvmd", &[]),
    closed(
        "watchdog",
        &[("device", Text), ("timeout", Number(2, 3600, "seconds")), ("quorum_grace", Number(0, 3600, "seconds"))],
        &[],
    ),
    closed(
        "quorumd",
        &[
            ("interval", Number(0, ANY, "seconds")),
            ("tko", Number(0, ANY, "")),
            ("tko_up", Number(0, ANY, "")),
            ("votes", Number(0, ANY, "votes")),
            ("label", Text),
            ("device", Text),
            ("min_score", Number(0, ANY, "")),
            ("reboot", Flag),
            ("allow_kill", Flag),
            ("paranoid", Flag),
            ("stop_cman", Flag),
            ("io_timeout", Flag),
            ("scheduler", Text),
            ("priority", Text),
            ("status_file", Text),
            ("master_wins", Flag),
            ("use_uptime", Flag),
        ],
        &["heuristic"],
    ),
    closed(
        "heuristic",
        &[
            ("program", Text),
            ("score", Number(0, ANY, "")),
            ("interval", Number(0, ANY, "seconds")),
            ("tko", Number(0, ANY, "")),
        ],
        &[],
    ),
    closed(
        "dlm",
        &[
            ("log_debug", Flag),
            ("protocol", Text),
            ("timewarn", Number(0, ANY, "")),
            ("enable_fencing", Flag),
            ("enable_quorum", Flag),
            ("enable_plock", Flag),
            ("enable_deadlk", Flag),
            ("plock_debug", Flag),
            ("plock_rate_limit", Number(0, ANY, "")),
            ("plock_ownership", Flag),
            ("drop_resources_time", Number(0, ANY, "milliseconds")),
            ("drop_resources_count", Number(0, ANY, "")),
            ("drop_resources_age", Number(0, ANY, "milliseconds")),
        ],
        &["lockspace"],
    ),
    closed("lockspace", &[("name", Text), ("nodir", Flag)], &["master"]),
    closed("master", &[("name", Text), ("weight", Number(0, ANY, ""))], &[]),
    open("gfs_controld", &[]),
    open("group", &[]),
    open("logging", &[]),
    closed(
        "rm",
        &[
            ("log_level", Text),
            ("log_facility", Text),
            ("central_processing", Text),
            ("status_poll_interval", Number(0, ANY, "seconds")),
            ("status_child_max", Number(0, ANY, "")),
            ("transition_throttling", Number(0, ANY, "seconds")),
        ],
        &["failoverdomains", "resources", "service", "vm", "events"],
    ),
    closed("failoverdomains", &[], &["failoverdomain"]),
    closed(
        "failoverdomain",
        &[("name", Text), ("ordered", Flag), ("restricted", Flag), ("nofailback", Flag)],
        &["failoverdomainnode"],
    ),
    closed("failoverdomainnode", &[("name", Text), ("priority", Number(0, 100, ""))], &[]),
    open("resources", &[]),
    open("service", &[]),
    open("vm", &[]),
    open("events", &[]),
    closed("clvmd", &[("interface", Text)], &[]),
    closed("uidgid", &[("uid", Text), ("gid", Text)], &[]),
];

/// The element of this name.
#[must_use]
pub fn element(name: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|element| element.name == name)
}

impl Kind {
    /// What the value should be instead; none when it fits.
    #[must_use]
    pub fn refuses(self, value: &str) -> Option<String> {
        let (low, high, unit) = match self {
            Self::Text => return None,
            Self::Flag => return (value != "0" && value != "1").then(|| "0 or 1".into()),
            Self::Number(low, high, unit) => (low, high, unit),
        };
        if value.parse().is_ok_and(|number: i64| (low..=high).contains(&number)) {
            return None;
        }
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        Some(match high {
            ANY => format!("a number from {low} on{unit}"),
            _ => format!("{low} to {high}{unit}"),
        })
    }
}

/// The one of `known` that `name` is most likely meant to be.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody means a name of the schema by something three times as long.
    if name.len() > 64 {
        return None;
    }
    let near = known.into_iter().map(|known| (distance(name, known), known));
    near.filter(|(distance, known)| *distance <= 1 + known.len() / 4).min().map(|(_, known)| known)
}

/// How many letters have to be put in, left out, changed or swapped with the next one.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.to_lowercase().chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (rows[i][j + 1] + 1).min(row[j] + 1).min(rows[i][j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_is_an_element_with_one_meaning() {
        for element in ELEMENTS {
            for child in element.children {
                assert!(super::element(child).is_some(), "{child}");
            }
            assert_eq!(ELEMENTS.iter().filter(|other| other.name == element.name).count(), 1, "{}", element.name);
        }
    }

    #[test]
    fn typing_errors_lead_to_what_was_meant() {
        let known = || element("cman").unwrap().attributes.iter().map(|(name, _)| *name);
        assert_eq!(nearest("tow_node", known()), Some("two_node"));
        assert_eq!(nearest("expected_vote", known()), Some("expected_votes"));
        assert_eq!(nearest("Keyfile", known()), Some("keyfile"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest("p", ["port"]), None);
        assert_eq!(nearest(&"port".repeat(100_000), known()), None);
        assert_eq!(nearest("", known()), None);
    }

    #[test]
    fn values_are_told_what_they_should_be() {
        assert_eq!(Flag.refuses("yes"), Some("0 or 1".into()));
        assert_eq!(Number(-1, 3600, "seconds").refuses("-2"), Some("-1 to 3600 seconds".into()));
        assert_eq!(Number(0, ANY, "").refuses("99999999999999999999"), Some("a number from 0 on".into()));
        assert_eq!(Number(1, 2, "").refuses("2"), None);
    }
}
