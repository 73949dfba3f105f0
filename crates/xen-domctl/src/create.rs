//! Starting a domain: file, lock, volumes, hypervisor, and back again when one of them refuses.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nines_cli::{No, log};

use crate::disk::Volume;
use crate::domain::Domain;
use crate::lock::Cluster;
use crate::state::{self, RunDir};
use crate::volume::Active;
use crate::{Context, domain};

/// Where names are looked up, as xm's users keep their files.
const DIRECTORIES: [&str; 2] = ["/etc/xen/auto", "/etc/xen"];
/// How long a half-built domain's back end may keep its volumes open.
const LET_GO: Duration = Duration::from_secs(15);

/// Starts the domain a file describes; answers its name.
pub fn create(context: &Context, file: &Path) -> anyhow::Result<String> {
    let path = look_up(file, &DIRECTORIES)?;
    let bytes = state::read_bounded(&path).with_context(|| path.display().to_string())?;
    let domain = state::parse(&bytes, &path, Path::exists)?;
    for warning in &domain.warnings {
        log(format_args!("{}:{warning}", path.display()));
    }
    let run = RunDir::open()?;
    let _guard = run.guard(&domain.name)?;
    // Asked first: where xl has no answer, nothing has been taken.
    if let Some(row) = context.xl.find(&domain.name)?.first() {
        let hint = if row.name == domain.name { "" } else { ", left by a migration that broke; xen-domctl destroy it" };
        return Err(No(format!("{}: runs here already, as {} with id {}{hint}", domain.name, row.name, row.id)).into());
    }
    let mut cluster = context.cluster()?;
    // The lock was free, or was left by a domain that ended by itself.
    cluster.take(&domain.name)?;
    let mut started = Started { active: Vec::new(), built: false };
    let Err(error) = started.start(context, &domain, &run) else { return Ok(domain.name) };
    match started.undo(context, &mut cluster, &domain.name, &run) {
        Ok(()) => Err(error),
        Err(undo) => Err(anyhow!("{error:#}; undoing what was done failed too: {undo:#}")),
    }
}

/// How far a start came.
struct Started {
    active: Vec<Volume>,
    built: bool,
}

impl Started {
    fn start(&mut self, context: &Context, domain: &Domain, run: &RunDir) -> anyhow::Result<()> {
        let stop = context.signals.as_fd();
        for surveyed in context.vg_tool.survey(domain)? {
            // Named before it is tried: a call that was interrupted may have been half-way.
            self.active.push(surveyed.volume.clone());
            context.vg_tool.set(&surveyed.volume, Active::Exclusive, Some(stop))?;
        }
        let config = run.write(&domain.name, &domain.to_xl())?;
        self.built = true;
        context.xl.create(&config, stop).context(domain.name.clone())
    }

    /// Everything in reverse, each step tried whatever became of the one before; but a domain
    /// that may live keeps its volumes and its lock.
    fn undo(self, context: &Context, cluster: &mut Cluster, name: &str, run: &RunDir) -> anyhow::Result<()> {
        if self.built {
            context.xl.destroy(name)?;
        }
        let volumes = context.vg_tool.set_all(&self.active, Active::No, LET_GO);
        let forgotten = run.forget(name);
        let released = cluster.release(name);
        volumes.and(forgotten).and(released)
    }
}

/// The file a command line means: a path that exists, or a name.
fn look_up(file: &Path, directories: &[&str]) -> anyhow::Result<PathBuf> {
    if file.is_file() {
        return Ok(file.into());
    }
    let Some(name) = file.to_str().filter(|name| domain::check_name(name).is_ok()) else {
        return Err(No(format!("{}: no such file", file.display())).into());
    };
    let places = || directories.iter().flat_map(|directory| ["", ".cfg"].map(|end| format!("{directory}/{name}{end}")));
    places().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
        let places: Vec<_> = places().collect();
        No(format!("{name}: no such file, nor {}", places.join(", "))).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_with_and_without_its_ending() {
        let directory = tempfile::tempdir().unwrap();
        let (auto, etc) = (directory.path().join("auto"), directory.path().to_path_buf());
        std::fs::create_dir(&auto).unwrap();
        std::fs::write(etc.join("web.cfg"), "").unwrap();
        let directories = [auto.to_str().unwrap(), etc.to_str().unwrap()];
        assert_eq!(look_up(Path::new("web"), &directories).unwrap(), etc.join("web.cfg"));
        std::fs::write(auto.join("web"), "").unwrap();
        assert_eq!(look_up(Path::new("web"), &directories).unwrap(), auto.join("web"));
        assert_eq!(look_up(&etc.join("web.cfg"), &[]).unwrap(), etc.join("web.cfg"));
        for missing in ["nope", "../web", "/nonexistent/web"] {
            assert!(look_up(Path::new(missing), &directories).unwrap_err().downcast_ref::<No>().is_some());
        }
    }
}
