//! What a receiving daemon that was killed left behind, put right when the next one starts: init
//! respawns it within a second, while the source still waits for the volumes.

use std::time::Duration;

use nines_cli::{No, log};

use crate::Context;
use crate::lock::Cluster;
use crate::state::RunDir;
use crate::volume::Active;

/// The source of a migration that did arrive may be about to let go of the volumes.
const LET_GO: Duration = Duration::from_secs(15);

/// Looks at every domain this host has a note of. What cannot be put right is said and left: it
/// is no reason not to receive others.
pub fn sweep(context: &Context, run: &RunDir) {
    let domains = run.domains().unwrap_or_else(|error| {
        log(format_args!("{error:#}"));
        Vec::new()
    });
    if domains.is_empty() {
        return;
    }
    let mut cluster = match context.cluster() {
        Ok(cluster) => cluster,
        Err(error) => return log(format_args!("what was left behind stays: {error}")),
    };
    for name in domains {
        if let Err(error) = tidy(context, run, &mut cluster, &name) {
            log(format_args!("{name}: {error:#}"));
        }
    }
}

fn tidy(context: &Context, run: &RunDir, cluster: &mut Cluster, name: &str) -> anyhow::Result<()> {
    let _guard = match run.guard(name) {
        Ok(guard) => guard,
        // Someone is at work on it: not left behind.
        Err(error) if error.downcast_ref::<No>().is_some() => return Ok(()),
        Err(error) => return Err(error),
    };
    let ours = match cluster.require_ours(name) {
        Ok(_) => true,
        Err(error) if error.downcast_ref::<No>().is_some() => false,
        Err(error) => return Err(error),
    };
    let Some(domain) = run.read(name)? else { return Ok(()) };
    let rows = context.xl.find(name)?;
    let runs = rows.iter().any(|row| row.name == name);
    let volumes = || -> anyhow::Result<Vec<_>> {
        Ok(context.vg_tool.survey(&domain)?.into_iter().map(|surveyed| surveyed.volume).collect())
    };
    match (ours, runs) {
        // Arrived just before the daemon ended: nobody may share its volumes any more.
        (true, true) => context.vg_tool.set_all(&volumes()?, Active::Exclusive, LET_GO),
        (true, false) => {
            log(format_args!("{name}: its lock is this host's and it does not run; xen-domctl create or destroy it"));
            Ok(())
        }
        (false, true) => {
            log(format_args!("{name}: runs here without its lock; xl destroy it unless you know why"));
            Ok(())
        }
        (false, false) => {
            log(format_args!("{name}: clearing away what is left of its arrival"));
            context.xl.destroy(name)?;
            context.vg_tool.set_all(&volumes()?, Active::No, LET_GO)?;
            run.forget(name)
        }
    }
}
