//! What a receiving daemon that was killed left behind, put right when the next one starts: init
//! respawns it within a second, while the source still waits for the volumes.

use std::thread;
use std::time::{Duration, Instant};

use nines_cli::{No, log};

use crate::Context;
use crate::lock::Cluster;
use crate::state::RunDir;
use crate::volume::Active;
use crate::xl::{Row, Xl, incoming};

/// The source of a migration that did arrive may be about to let go of the volumes.
const LET_GO: Duration = Duration::from_secs(15);
/// An xl that outlived its daemon and has its permission renames and starts the domain at once.
const XL_STARTS: Duration = Duration::from_secs(15);
/// Between two looks at xl's table, which tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(100);

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
    let rows = if ours { arrived(&context.xl, name)? } else { context.xl.find(name)? };
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

/// The domain's copies here, once xl has made an end of the arriving one or has had its time.
fn arrived(xl: &Xl, name: &str) -> anyhow::Result<Vec<Row>> {
    let deadline = Instant::now() + XL_STARTS;
    let mut said = false;
    loop {
        let rows = xl.find(name)?;
        if rows.iter().all(|row| row.name != incoming(name)) || Instant::now() >= deadline {
            return Ok(rows);
        }
        if !std::mem::replace(&mut said, true) {
            log(format_args!("{name}: its lock is this host's; waiting for xl to start the copy that arrived"));
        }
        thread::sleep(LOOK);
    }
}
