//! Ending a domain and giving back what it used: hypervisor, volumes, lock, in that order.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nines_cli::{Exit, No, log};

use crate::state::RunDir;
use crate::volume::Active;
use crate::{Context, domain};

/// From "the guest has shut down" to "its domain is gone", which xl's own daemon does; when that
/// daemon died, we do it after this.
const TEAR_DOWN: Duration = Duration::from_secs(20);
/// How long an ended domain's back end may keep its volumes open.
const LET_GO: Duration = Duration::from_secs(15);

pub fn shutdown(context: &Context, name: &str, limit: Duration) -> anyhow::Result<Exit> {
    stop(context, name, || {
        let Some(row) = context.xl.find(name)?.into_iter().next() else { return Ok(()) };
        if row.name != name {
            return Err(
                No(format!("{name}: is {}, left by a migration that broke; xen-domctl destroy it", row.name)).into()
            );
        }
        let started = Instant::now();
        if let Err(error) = context.xl.shutdown(name, limit, context.signals.as_fd()) {
            // It may have gone while xl was being asked.
            if !context.xl.find(name)?.is_empty() {
                let seconds = started.elapsed().as_secs();
                return Err(error.context(format!("{name}: still runs after {seconds} s; xen-domctl destroy ends it")));
            }
        }
        if context.xl.wait_gone(name, TEAR_DOWN)? { Ok(()) } else { context.xl.destroy(name) }
    })
}

pub fn destroy(context: &Context, name: &str) -> anyhow::Result<Exit> {
    stop(context, name, || context.xl.destroy(name))
}

fn stop(context: &Context, name: &str, end: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Exit> {
    domain::check_name(name).map_err(anyhow::Error::msg)?;
    let run = RunDir::open()?;
    let _guard = run.guard(name)?;
    let mut cluster = context.cluster()?;
    cluster.require_ours(name).map_err(|error| match context.xl.find(name).unwrap_or_default().first() {
        Some(row) => error.context(format!("{} with id {} was not started by xen-domctl", row.name, row.id)),
        None => error,
    })?;
    end()?;
    let volumes = match run.read(name)? {
        Some(domain) => context.vg_tool.survey(&domain)?,
        None => {
            log(format_args!(
                "{name}: its configuration is not in {}; its volumes stay as they are",
                run.config(name).display()
            ));
            Vec::new()
        }
    };
    let volumes: Vec<_> = volumes.into_iter().map(|surveyed| surveyed.volume).collect();
    context.vg_tool.set_all(&volumes, Active::No, LET_GO).context(format!("{name} has ended, its lock stays"))?;
    run.forget(name)?;
    cluster.release(name)?;
    Ok(Exit::Ok)
}
