//! A table for people.

use nines_cli::clean;
use nines_proto::aoe::statistics::{Client, Latency};

use super::Told;

const CLIENTS: [&str; 13] = [
    "EXPORT",
    "CLIENT",
    "READS",
    "BYTES",
    "WRITES",
    "BYTES",
    "FLUSHES",
    "OTHERS",
    "ERRORS",
    "REPEATED",
    "IGNORED",
    "QUEUE",
    "READ AND WRITE TIMES 50%/99%/99.9%/MAX",
];
const INTERFACES: [&str; 6] = ["INTERFACE", "STATE", "MTU", "SENT", "UNSENT", "DROPPED"];

pub(super) fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for Told { socket, exports, interfaces } in told {
        if told.len() > 1 {
            text.push_str(&format!("{}:\n", clean(&socket.display().to_string())));
        }
        let mut rows = vec![CLIENTS.map(str::to_owned).to_vec()];
        for export in exports {
            rows.push(row(&export.export, &export.all));
            // One client is all there are.
            if export.clients.len() > 1 || export.clients.iter().any(|client| client.client != export.all.client) {
                rows.extend(export.clients.iter().map(|client| row("", client)));
            }
        }
        text.push_str(&aligned(&rows, &[0, 1, CLIENTS.len() - 1]));
        let mut rows = vec![INTERFACES.map(str::to_owned).to_vec()];
        rows.extend(interfaces.iter().map(|it| {
            let state = if it.mtu == 0 {
                "gone"
            } else if it.running {
                "up"
            } else {
                "down"
            };
            let numbers = [it.mtu, it.sent, it.unsent, it.dropped].map(|number| number.to_string());
            [vec![it.interface.clone(), state.to_owned()], numbers.to_vec()].concat()
        }));
        text.push_str(&aligned(&rows, &[0, 1]));
    }
    text
}

fn row(export: &str, it: &Client) -> Vec<String> {
    vec![
        export.to_owned(),
        it.client.clone(),
        it.reads.to_string(),
        bytes(it.bytes_read),
        it.writes.to_string(),
        bytes(it.bytes_written),
        (it.flushes + it.trims).to_string(),
        it.others.to_string(),
        (it.errors + it.refused).to_string(),
        it.duplicates.to_string(),
        it.ignored.to_string(),
        format!("{} of {}", it.queue, it.queue_most),
        format!("{} {}", times(&it.read_latency), times(&it.change_latency)),
    ]
}

fn times(latency: &Latency) -> String {
    if latency.count == 0 {
        return "-".to_owned();
    }
    [latency.p50_ns, latency.p99_ns, latency.p999_ns, latency.max_ns].map(time).join("/")
}

fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => scaled(nanoseconds, 1_000, "us"),
        1_000_000..1_000_000_000 => scaled(nanoseconds, 1_000_000, "ms"),
        _ => scaled(nanoseconds, 1_000_000_000, "s"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => bytes.to_string(),
        1_000..1_000_000 => scaled(bytes, 1_000, "kB"),
        1_000_000..1_000_000_000 => scaled(bytes, 1_000_000, "MB"),
        1_000_000_000..1_000_000_000_000 => scaled(bytes, 1_000_000_000, "GB"),
        _ => scaled(bytes, 1_000_000_000_000, "TB"),
    }
}

/// With one digit behind the point where there is one before it.
fn scaled(number: u64, unit: u64, name: &str) -> String {
    let whole = number / unit;
    if whole < 10 { format!("{whole}.{}{name}", number % unit * 10 / unit) } else { format!("{whole}{name}") }
}

/// The columns of words to the left, numbers to the right.
fn aligned(rows: &[Vec<String>], words: &[usize]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            let word = words.contains(&at);
            line.push_str(&if word { format!("{gap}{cell:<width$}") } else { format!("{gap}{cell:>width$}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
