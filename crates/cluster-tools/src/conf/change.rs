//! Another configuration: a file's, or a former one under a new number.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use cluster_conf::check::{Severity, check};
use nines_cli::{Exit, No, clean};
use nines_proto::ctl::{Call, Client, ConfStored, MAX_CALL, Request};
use serde_json::json;

use super::{agents::Installed, check as found, read, with_text};

/// Every member writes and syncs a file, and a majority the log.
const STORED: Duration = Duration::from_secs(60);

pub fn update(client: &mut Client, file: &Path, agents: bool, json: bool) -> anyhow::Result<Exit> {
    let text = read(file)?;
    let version = judge(file, &text, agents)?;
    let status = client.status()?;
    if version <= status.config_version {
        bail!(No(format!(
            "{}: config_version {version}, and the cluster has {}: make it {}",
            file.display(),
            status.config_version,
            status.config_version + 1
        )));
    }
    commit(client, &text, json)
}

pub fn rollback(client: &mut Client, version: u32, json: bool) -> anyhow::Result<Exit> {
    let (_, text) = with_text(client.conf(Some(version))?)?;
    let now = client.status()?.config_version;
    if version == now {
        bail!(No(format!("version {version} is the configuration")));
    }
    let Some(next) = now.checked_add(1) else { bail!("version {now} is the last number there is") };
    let text = cluster_conf::edit::with_version(&text, next)?;
    judge(Path::new(&format!("version {version}")), &text, false)?;
    commit(client, &text, json)
}

/// Shows on stderr what is wrong with the text; answers its version when nothing stops it.
fn judge(name: &Path, text: &str, agents: bool) -> anyhow::Result<u32> {
    let report = check(text, Some(&Installed { ask: agents }));
    for finding in &report.findings {
        nines_cli::log(format_args!("{}", found::line(name, finding)));
    }
    match &report.conf {
        Some(conf) if found::is_good(&report, false) => Ok(conf.version),
        _ => {
            let errors = report.count(Severity::Error);
            bail!(No(format!("{}: not used: {errors} error{}", name.display(), if errors == 1 { "" } else { "s" })))
        }
    }
}

/// Sends it and tells what became of it on each node.
fn commit(client: &mut Client, text: &str, json: bool) -> anyhow::Result<Exit> {
    let call = Call { id: u64::MAX, request: Request::ConfUpdate { text: text.into() } };
    let length = serde_json::to_vec(&call)?.len();
    if length >= MAX_CALL {
        bail!("the configuration takes {length} bytes in a call, and {MAX_CALL} fit: shorten its comments");
    }
    let (version, nodes) = client.conf_update(text, Some(STORED))?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({"version": version, "nodes": nodes}))?;
    } else {
        table(&mut out, version, &nodes)?;
    }
    out.flush()?;
    Ok(if nodes.iter().all(|node| node.stored) { Exit::Ok } else { Exit::No })
}

fn table(out: &mut impl Write, version: u32, nodes: &[ConfStored]) -> io::Result<()> {
    writeln!(out, "version {version} is the configuration")?;
    for ConfStored { node, stored, why } in nodes {
        let why = if why.is_empty() { "-" } else { why };
        writeln!(out, "{}\t{}\t{}", clean(node), if *stored { "stored" } else { "not-stored" }, clean(why))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_line() {
        let node = |node: &str, stored, why: &str| ConfStored { node: node.into(), stored, why: why.into() };
        let mut out = Vec::new();
        table(&mut out, 7, &[node("n1", true, ""), node("n2", false, "disk\tfull\x1b")]).unwrap();
        let wanted = "version 7 is the configuration\nn1\tstored\t-\nn2\tnot-stored\tdisk\\tfull\\u{1b}\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
