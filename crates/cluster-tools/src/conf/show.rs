//! The configurations there are, and what differs between them.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use nines_cli::{Exit, clean};
use nines_proto::ctl::{Client, ConfEntry, utc};
use serde_json::json;

use super::{FILE, read, with_text};

pub fn show(client: &mut Client, version: Option<u32>, json: bool) -> anyhow::Result<Exit> {
    let (entry, text) = with_text(client.conf(version)?)?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&entry)?)?;
    } else {
        print(&mut out, &text)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// A text as it is, or made harmless for a terminal.
fn print(out: &mut io::StdoutLock<'_>, text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return out.write_all(text.as_bytes());
    }
    for line in text.lines() {
        let parts: Vec<_> = line.split('\t').map(clean).collect();
        writeln!(out, "{}", parts.join("\t"))?;
    }
    Ok(())
}

pub fn history(client: &mut Client, json: bool) -> anyhow::Result<Exit> {
    let entries = client.conf_history()?;
    let mut out = io::stdout().lock();
    for entry in &entries {
        if json {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        } else {
            writeln!(out, "{}", line(entry))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Version, time, who made it the configuration, and its hash, separated by tabs.
#[must_use]
pub fn line(entry: &ConfEntry) -> String {
    let ConfEntry { version, hash, time, who, .. } = entry;
    format!("{version}\t{}\t{}\t{}", utc(*time), clean(who), clean(hash))
}

pub fn diff(client: &mut Client, what: Option<&Path>, version: Option<u32>, json: bool) -> anyhow::Result<Exit> {
    let number = |path: &Path| path.to_str().and_then(|text| text.parse::<u32>().ok());
    let mut kept = |version: Option<u32>| -> anyhow::Result<(String, String)> {
        let (entry, text) = with_text(client.conf(version)?)?;
        Ok((format!("version {}", entry.version), text))
    };
    let file = |path: &Path| -> anyhow::Result<(String, String)> { Ok((path.display().to_string(), read(path)?)) };
    let (old, new) = match (what, version) {
        (Some(what), Some(new)) => {
            let what = number(what).with_context(|| format!("{}: not the number of a version", what.display()))?;
            (kept(Some(what))?, kept(Some(new))?)
        }
        (Some(what), None) => match number(what) {
            Some(old) => (kept(Some(old))?, kept(None)?),
            None => (kept(None)?, file(what)?),
        },
        (None, None) => (kept(None)?, file(Path::new(FILE))?),
        (None, Some(_)) => bail!("two versions are compared, not one"),
    };
    let shown = cluster_conf::diff::unified(&old.0, &old.1, &new.0, &new.1);
    let mut out = io::stdout().lock();
    if json {
        let object = json!({"old": old.0, "new": new.0, "equal": shown.is_empty(), "diff": shown});
        writeln!(out, "{object}")?;
    } else {
        print(&mut out, &shown)?;
    }
    out.flush()?;
    Ok(if shown.is_empty() { Exit::Ok } else { Exit::No })
}
