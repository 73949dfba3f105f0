//! A domain's volumes, through vg-tool(8).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::child::Program;
use crate::disk::Volume;
use crate::domain::Domain;

/// vg-tool waits up to a minute for a group's lock by itself.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two tries of what another host, or a dying domain's back end, still prevents.
const RETRY: Duration = Duration::from_millis(250);

/// How a volume is to be active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// Here and nowhere else.
    Exclusive,
    /// Here and perhaps on the other end of a migration.
    Shared,
    /// Not here.
    No,
}

impl Active {
    fn option(self) -> &'static str {
        match self {
            Self::Exclusive => "-aey",
            Self::Shared => "-asy",
            Self::No => "-an",
        }
    }
}

/// A volume, and whether its group is clustered, so that another host may have the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    pub volume: Volume,
    pub clustered: bool,
}

/// vg-tool, or what `$VG_TOOL` names.
#[derive(Debug, Clone)]
pub struct VgTool {
    program: Program,
}

impl VgTool {
    #[must_use]
    pub fn from_env() -> Self {
        Self { program: Program::from_env("VG_TOOL", "vg-tool") }
    }

    /// Which of the domain's disks are volumes: those whose group there is.
    pub fn survey(&self, domain: &Domain) -> anyhow::Result<Vec<Surveyed>> {
        let candidates = domain.candidates();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = ["lvs", "--noheadings", "-o", "vg_name,lv_name,vg_attr"];
        let output = self.program.run(&arguments, LIMIT, None)?;
        let table = parse_lvs(&String::from_utf8_lossy(&output)).context("vg-tool lvs")?;
        let mut found = Vec::new();
        for volume in candidates {
            if let Some(row) = table.iter().find(|row| row.volume == volume) {
                found.push(row.clone());
            } else if table.iter().any(|row| row.volume.vg == volume.vg) {
                bail!("{volume}: the volume group has no such volume");
            }
        }
        Ok(found)
    }

    pub fn set(&self, volume: &Volume, active: Active, stop: Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
        let name = volume.to_string();
        self.program.run(&["lvchange", active.option(), &name], LIMIT, stop).map(drop).context(name)
    }

    /// [`VgTool::set`] for all of them, tried again until `limit` has passed: another host may be
    /// about to let go of one, or the back end of a domain that has just ended.
    pub fn set_all(&self, volumes: &[Volume], active: Active, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        let mut failures = Vec::new();
        for volume in volumes {
            while let Err(error) = self.set(volume, active, None) {
                if Instant::now() >= until {
                    failures.push(format!("{error:#}"));
                    break;
                }
                std::thread::sleep(RETRY);
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(anyhow!(failures.join("; "))) }
    }
}

fn parse_lvs(text: &str) -> anyhow::Result<Vec<Surveyed>> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (vg, lv, attributes) = (words.next()?, words.next()?, words.next()?);
        let volume = format!("{vg}/{lv}").parse().ok()?;
        // vg_attr is wz--nc: the sixth character tells a clustered group.
        let known = attributes.len() == 6 && attributes.is_ascii() && words.next().is_none();
        known.then(|| Surveyed { volume, clustered: attributes.ends_with('c') })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| row(line).ok_or_else(|| anyhow!("`{line}' is not a line of its table"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_attribute_tells_a_clustered_group() {
        let rows = parse_lvs("  vg   a wz--nc\n  home b wz--n-\n\n").unwrap();
        assert_eq!(rows.iter().map(|row| row.clustered).collect::<Vec<_>>(), [true, false]);
        assert_eq!(rows[0].volume.to_string(), "vg/a");
        for text in ["vg a", "vg a wz--n", "vg a wz--nc x", "vg/x a wz--nc"] {
            assert!(parse_lvs(text).is_err(), "{text}");
        }
    }
}
