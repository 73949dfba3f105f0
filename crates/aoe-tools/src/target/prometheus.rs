//! Prometheus' text format, for the node exporter's textfile collector.

use std::fmt::Write;

use nines_proto::aoe::statistics::{Client, Export, Interface, Latency};

use super::Told;

type Label<'l> = (&'static str, &'l str);

/// A metric of a client: its name, what it is, and its values with a label each.
struct ByClient {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    label: &'static str,
    values: fn(&Client) -> Vec<(&'static str, u64)>,
}

const BY_CLIENT: [ByClient; 5] = [
    ByClient {
        name: "aoe_target_requests_total",
        kind: "counter",
        help: "Requests carried out.",
        label: "operation",
        values: |it| {
            vec![
                ("read", it.reads),
                ("write", it.writes),
                ("flush", it.flushes),
                ("trim", it.trims),
                ("other", it.others),
            ]
        },
    },
    ByClient {
        name: "aoe_target_bytes_total",
        kind: "counter",
        help: "Bytes read and written.",
        label: "operation",
        values: |it| vec![("read", it.bytes_read), ("write", it.bytes_written)],
    },
    ByClient {
        name: "aoe_target_troubles_total",
        kind: "counter",
        help: "Requests the disk failed, refused for what they asked, repeated while under way, or not answered.",
        label: "trouble",
        values: |it| {
            vec![("failed", it.errors), ("refused", it.refused), ("repeated", it.duplicates), ("ignored", it.ignored)]
        },
    },
    ByClient {
        name: "aoe_target_queue",
        kind: "gauge",
        help: "Requests under way now, and the most there were.",
        label: "when",
        values: |it| vec![("now", it.queue.into()), ("most", it.queue_most.into())],
    },
    ByClient {
        name: "aoe_target_latency_count",
        kind: "counter",
        help: "Requests whose time was taken.",
        label: "operation",
        values: |it| vec![("read", it.read_latency.count), ("change", it.change_latency.count)],
    },
];

pub(super) fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for metric in BY_CLIENT {
        head(&mut text, metric.name, metric.kind, metric.help);
        for_clients(told, |export, client| {
            for (value, number) in (metric.values)(client) {
                let labels = [("export", export), ("client", &*client.client), (metric.label, value)];
                sample(&mut text, metric.name, &labels, number);
            }
        });
    }
    latencies(&mut text, told);
    frames(&mut text, told);
    text
}

/// `all` is left out: sums are for the reader to make.
fn for_clients(told: &[Told], mut each: impl FnMut(&str, &Client)) {
    for Export { export, clients, .. } in told.iter().flat_map(|one| &one.exports) {
        clients.iter().for_each(|client| each(export, client));
    }
}

fn latencies(text: &mut String, told: &[Told]) {
    const NAME: &str = "aoe_target_latency_seconds";
    head(
        text,
        NAME,
        "gauge",
        "From the taking of a frame to the sending of its answer; percentile 100 is the longest.",
    );
    for_clients(told, |export, client| {
        for (operation, times) in [("read", &client.read_latency), ("change", &client.change_latency)] {
            let Latency { count, p50_ns, p99_ns, p999_ns, max_ns } = *times;
            if count == 0 {
                continue;
            }
            for (percentile, time) in [("50", p50_ns), ("99", p99_ns), ("99.9", p999_ns), ("100", max_ns)] {
                let labels = [
                    ("export", export),
                    ("client", &*client.client),
                    ("operation", operation),
                    ("percentile", percentile),
                ];
                let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000);
                sample(text, NAME, &labels, format_args!("{seconds}.{rest:09}"));
            }
        }
    });
}

fn frames(text: &mut String, told: &[Told]) {
    const REFUSED: &str = "aoe_target_frames_refused_total";
    head(text, REFUSED, "counter", "Frames that got no answer, and why.");
    for it in told.iter().flat_map(|one| &one.exports) {
        let reasons = [
            ("malformed", it.malformed),
            ("masked", it.masked),
            ("denied", it.denied),
            ("test", it.tests_failed),
            ("too_long", it.too_long),
        ];
        for (reason, number) in reasons {
            sample(text, REFUSED, &[("export", &it.export), ("reason", reason)], number);
        }
    }
    // Two processes may be on one interface, with a socket each.
    const FRAMES: &str = "aoe_target_interface_frames_total";
    head(text, FRAMES, "counter", "Frames of an interface: sent, not taken by it, dropped by the kernel, no AoE.");
    for Told { socket, interfaces, .. } in told {
        let socket = socket.display().to_string();
        for Interface { interface, sent, unsent, dropped, malformed, .. } in interfaces {
            for (fate, number) in [("sent", sent), ("unsent", unsent), ("dropped", dropped), ("malformed", malformed)] {
                sample(text, FRAMES, &[("socket", &*socket), ("interface", interface), ("fate", fate)], number);
            }
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &[Label<'_>], value: impl std::fmt::Display) {
    text.push_str(name);
    for (at, (label, what)) in labels.iter().enumerate() {
        let what = what.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{what}\"", if at == 0 { '{' } else { ',' });
    }
    let _ = writeln!(text, "}} {value}");
}
