//! The hypervisor, through xl(1).

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use crate::child::Program;

/// A question to the hypervisor; seconds even on an emulated machine under load.
const ASK: Duration = Duration::from_secs(60);
/// Building or tearing down a domain: hotplug scripts have 40 s of their own in xl.
const BUILD: Duration = Duration::from_secs(300);
/// How often a list is taken while a domain is going away. xl has no event for that.
const POLL: Duration = Duration::from_millis(100);

/// A line of `xl list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    pub id: u32,
    /// MiB.
    pub memory: u64,
    pub vcpus: u32,
    /// Running, blocked, paused, shut down with its reason, dying; dashes elsewhere.
    pub state: String,
    /// Seconds of processor time.
    pub time: f64,
}

/// xl, or what `$XL` names.
#[derive(Debug, Clone)]
pub struct Xl {
    pub program: Program,
}

impl Xl {
    #[must_use]
    pub fn from_env() -> Self {
        Self { program: Program::from_env("XL", "xl") }
    }

    /// Every domain on this host, the host itself included.
    pub fn list(&self) -> anyhow::Result<Vec<Row>> {
        let output = self.program.run(&["list"], ASK, None)?;
        parse_list(&String::from_utf8_lossy(&output)).context("xl list")
    }

    /// The domains that are `name`, also in the middle of a migration.
    pub fn find(&self, name: &str) -> anyhow::Result<Vec<Row>> {
        let names = [name.to_owned(), incoming(name), away(name)];
        Ok(self.list()?.into_iter().filter(|row| names.contains(&row.name)).collect())
    }

    pub fn create(&self, config: &Path, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
        let config = config.to_str().ok_or_else(|| anyhow!("{}: not UTF-8", config.display()))?;
        self.program.run(&["create", config], BUILD, Some(stop)).map(drop)
    }

    /// Asks the guest to shut down and waits for it to say so.
    pub fn shutdown(&self, name: &str, limit: Duration, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
        self.program.run(&["shutdown", "-w", name], limit, Some(stop)).map(drop)
    }

    /// Ends every domain that is `name` and waits until they are gone.
    pub fn destroy(&self, name: &str) -> anyhow::Result<()> {
        let mut failure = Ok(());
        for row in self.find(name)? {
            // By number: two may bear one name for a moment. It may go by itself meanwhile.
            if let Err(error) = self.program.run(&["destroy", &row.id.to_string()], BUILD, None) {
                failure = Err(error);
            }
        }
        match self.wait_gone(name, Duration::from_secs(30)) {
            Ok(true) => Ok(()),
            Ok(false) => failure.and_then(|()| bail!("{name}: still there 30 s after it was destroyed")),
            Err(error) => Err(error),
        }
    }

    /// Lets a paused domain run.
    pub fn unpause(&self, id: u32) -> anyhow::Result<()> {
        self.program.run(&["unpause", &id.to_string()], BUILD, None).map(drop)
    }

    /// Whether no domain is `name` any more, within `limit`.
    pub fn wait_gone(&self, name: &str, limit: Duration) -> anyhow::Result<bool> {
        let until = Instant::now() + limit;
        loop {
            if self.find(name)?.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// What xl calls a domain that is arriving.
#[must_use]
pub fn incoming(name: &str) -> String {
    format!("{name}--incoming")
}

/// What xl calls a domain it has sent and not yet destroyed.
#[must_use]
pub fn away(name: &str) -> String {
    format!("{name}--migratedaway")
}

/// `xl list`'s table: a header, then name, five columns from the right.
fn parse_list(text: &str) -> anyhow::Result<Vec<Row>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header.split_whitespace().ne(["Name", "ID", "Mem", "VCPUs", "State", "Time(s)"]) {
        bail!("`{header}' is not the header of its table");
    }
    lines.map(|line| parse_row(line).ok_or_else(|| anyhow!("`{line}' is not a line of its table"))).collect()
}

fn parse_row(line: &str) -> Option<Row> {
    let mut rest = line;
    let mut last = || {
        let trimmed = rest.trim_end();
        let start = trimmed.rfind(char::is_whitespace)? + 1;
        rest = &trimmed[..start];
        Some(&trimmed[start..])
    };
    let (time, state, vcpus, memory, id) = (last()?, last()?, last()?, last()?, last()?);
    let name = rest.trim();
    let letters = state.len() == 6 && state.bytes().all(|c| b"-rbpscwSd?".contains(&c));
    (letters && !name.is_empty()).then_some(())?;
    Some(Row {
        name: name.into(),
        id: id.parse().ok()?,
        memory: memory.parse().ok()?,
        vcpus: vcpus.parse().ok()?,
        state: state.into(),
        time: time.parse().ok().filter(|time: &f64| time.is_finite())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `xl list` of Xen 4.17.7 with a guest whose name is longer than its column.
    const TABLE: &str = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0   768     1     r-----      31.5
g1                                           1   128     1     -b----       4.0
a-name-of-more-than-forty-characters-in-all    12    64     2     ---sc-       0.0
";

    #[test]
    fn the_table_of_xl_4_17_is_read() {
        let rows = parse_list(TABLE).unwrap();
        let g1 = Row { name: "g1".into(), id: 1, memory: 128, vcpus: 1, state: "-b----".into(), time: 4.0 };
        assert_eq!((rows.len(), &rows[1]), (3, &g1));
        assert_eq!((rows[2].name.len(), rows[2].id, rows[2].state.as_str()), (43, 12, "---sc-"));
    }

    #[test]
    fn a_table_cut_at_any_length_is_shorter_or_an_error() {
        for length in 0..TABLE.len() {
            if let Ok(rows) = parse_list(&TABLE[..length]) {
                assert!(rows.len() <= 3);
            }
        }
        assert!(parse_list("").is_err());
        assert!(parse_list("Name ID Mem VCPUs State Time(s)\ng1 x 1 1 r----- 0.0\n").is_err());
        assert!(parse_list("Name ID Mem VCPUs State Time(s)\ng1 1 1 1 running 0.0\n").is_err());
    }
}
