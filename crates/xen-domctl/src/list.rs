//! `xen-domctl list`: what runs here, as xm showed it, and what runs where.

use std::io::{self, Write};

use nines_cli::{Exit, log};
use serde::Serialize;

use crate::Context;
use crate::lock::Held;
use crate::xl::Row;
use nines_proto::ctl::utc;

pub fn local(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let rows = context.xl.list()?;
    let mut out = io::stdout().lock();
    if json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
    } else {
        writeln!(out, "{:<32} {:>5} {:>6} {:>5}  {:<6} {:>9}", "Name", "ID", "Mem", "VCPUs", "State", "Time(s)")?;
        for Row { name, id, memory, vcpus, state, time } in &rows {
            writeln!(out, "{name:<32} {id:>5} {memory:>6} {vcpus:>5}  {state:<6} {time:>9.1}")?;
        }
    }
    Ok(Exit::Ok)
}

/// A domain of the cluster; the last four only for this host's.
#[derive(Debug, Serialize, PartialEq)]
struct Entry {
    name: String,
    host: String,
    /// Seconds since 1970.
    since: u64,
    /// The host it is being moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered_to: Option<String>,
    /// Whether it is there, when that can be known from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

pub fn cluster(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let mut cluster = context.cluster()?;
    let status = cluster.client.status()?;
    if !status.quorate {
        let reason = status.reason.as_deref().unwrap_or("no reason given");
        log(format_args!("not quorate: {reason}; this is the last state this host has seen"));
    }
    let held = cluster.domains()?;
    // What the cluster says is worth showing also where there is no hypervisor to ask.
    let rows = context.xl.list().map_err(|error| log(format_args!("{error:#}"))).ok();
    let entries = merge(held, &status.node, rows.as_deref());
    let mut out = io::stdout().lock();
    if json {
        for entry in &entries {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        }
        return Ok(Exit::Ok);
    }
    writeln!(
        out,
        "{:<32} {:<16} {:<23} {:<16} {:>5} {:>6}  State",
        "Name", "Host", "Since", "Offered-to", "ID", "Mem"
    )?;
    for entry in &entries {
        let shown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let state = match (&entry.state, entry.running) {
            (Some(state), _) => state.as_str(),
            (None, Some(false)) => "ended",
            (None, _) => "-",
        };
        writeln!(
            out,
            "{:<32} {:<16} {:<23} {:<16} {:>5} {:>6}  {state}",
            entry.name,
            entry.host,
            utc(entry.since),
            entry.offered_to.as_deref().unwrap_or("-"),
            shown(entry.id.map(u64::from)),
            shown(entry.memory),
        )?;
    }
    Ok(Exit::Ok)
}

fn merge(held: Vec<Held>, node: &str, rows: Option<&[Row]>) -> Vec<Entry> {
    held.into_iter()
        .map(|Held { domain, holder }| {
            let here = rows.filter(|_| holder.node == node);
            let row = here.and_then(|rows| rows.iter().find(|row| row.name == domain));
            Entry {
                name: domain,
                host: holder.node,
                since: holder.since,
                offered_to: holder.offered_to.map(|(to, _)| to),
                running: here.map(|_| row.is_some()),
                id: row.map(|row| row.id),
                memory: row.map(|row| row.memory),
                state: row.map(|row| row.state.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nines_proto::ctl::{LockHolder, Mode};

    fn held(domain: &str, node: &str) -> Held {
        let holder = LockHolder {
            node: node.into(),
            mode: Mode::Ex,
            generation: 1,
            since: 5,
            sticky: true,
            session: None,
            offered_to: Some(("n3".into(), 9)),
            note: String::new(),
        };
        Held { domain: domain.into(), holder }
    }

    #[test]
    fn this_hosts_domains_show_their_state_and_the_others_their_host() {
        let row = Row { name: "a".into(), id: 4, memory: 64, vcpus: 1, state: "-b----".into(), time: 1.0 };
        let entries = merge(vec![held("a", "n1"), held("b", "n1"), held("c", "n2")], "n1", Some(&[row]));
        let told = |index: usize| (entries[index].running, entries[index].id, entries[index].host.as_str());
        assert_eq!(
            [told(0), told(1), told(2)],
            [(Some(true), Some(4), "n1"), (Some(false), None, "n1"), (None, None, "n2")]
        );
        assert_eq!(
            serde_json::to_string(&entries[2]).unwrap(),
            r#"{"name":"c","host":"n2","since":5,"offered_to":"n3"}"#
        );
    }
}
