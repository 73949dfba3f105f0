//! `xen-domctl migrate`: checks what can be checked before anything changes, and says how it ended.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use nines_cli::{Exit, No, log};
use nines_proto::ctl::{Member, MemberState};
use nines_proto::session::Session;

use super::depart::{Driver, Moved};
use super::link;
use super::message::{Hello, MAX_MESSAGE, Outcome, PURPOSE, Start, ToSource, VERSION, Welcome};
use super::source::{End, Source};
use super::transport::Transport;
use crate::disk::{Backing, Volume};
use crate::state::RunDir;
use crate::{Context, conf, domain, xl};

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    pub port: u16,
    pub conf: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// Moves `name` to the host `node`.
pub fn migrate(context: &Context, name: &str, node: &str, options: Options) -> anyhow::Result<Exit> {
    domain::check_name(name).map_err(anyhow::Error::msg)?;
    let started = Instant::now();
    let run = RunDir::open()?;
    let _guard = run.guard(name)?;
    let mut cluster = context.cluster()?;
    let status = cluster.client.status()?;
    cluster.require_ours(name)?;
    let member = destination(&status.members, &status.node, node)?;
    if !status.quorate {
        let reason = status.reason.as_deref().unwrap_or("no reason given");
        return Err(No(format!("{name}: cannot change hands while the cluster is not quorate: {reason}")).into());
    }
    match context.xl.find(name)?.as_slice() {
        [row] if row.name == name => {}
        [] => return Err(No(format!("{name}: does not run here any more; xen-domctl destroy frees its lock")).into()),
        [row, ..] => return Err(No(format!("{name}: is {}, left by a migration that broke", row.name)).into()),
    }
    let (start, volumes) = luggage(context, &run, name)?;
    let key = conf::key(options.key, options.conf)?;
    let address = conf::with_port(&member.address, options.port)?;
    let hello = Hello { version: VERSION, from: status.node, domain: name.into() };
    let mut session = link::connect(address)
        .and_then(|stream| Session::connect(stream, &key, PURPOSE, &link::encode_hello(&hello)))
        .map_err(|error| No(format!("{node}: {address}: its xen-domctl receive does not answer: {error}")))?;
    let welcome: Welcome = link::decode_hello(&session.hello).with_context(|| format!("{node}: its greeting"))?;
    if welcome.version != VERSION || welcome.node != node {
        bail!(
            "{address}: is {} and speaks version {} of migration, not {node} and {VERSION}",
            welcome.node,
            welcome.version
        );
    }
    link::awaiting_admission(session.receiver.stream())?;
    let admission = session.receiver.receive(MAX_MESSAGE).with_context(|| node.to_owned())?;
    match ToSource::decode(&admission.unwrap_or_default()) {
        Ok(ToSource::Admitted) => {}
        Ok(ToSource::Outcome(Outcome::Failed { reason, .. })) => return Err(No(format!("{node}: {reason}")).into()),
        Ok(other) => bail!("{node}: says {other:?} out of turn"),
        Err(why) => bail!("{node}: {why}"),
    }
    link::established(session.sender.stream())?;
    let driver =
        Driver::new(context, name, node, &volumes, cluster, session, Transport::listen(&run.transport(name))?)?;
    let Moved { end, bytes, paused } = driver.drive(Source::new(start))?;
    match end {
        End::Moved => {
            run.forget(name)?;
            let total = started.elapsed().as_secs_f64();
            let paused = paused
                .map_or_else(String::new, |paused| format!(", {:.1} s of it to change hands", paused.as_secs_f64()));
            log(format_args!("{name}: runs on {node} now: {bytes} bytes in {total:.1} s{paused}"));
            Ok(Exit::Ok)
        }
        End::Failed(reason) => {
            let left = context.xl.find(name).unwrap_or_default();
            match left.iter().find(|row| row.name == xl::away(name)) {
                Some(row) => bail!(
                    "{name}: not moved: {reason}; its copy {} stands suspended here, and only xen-domctl destroy and create help",
                    row.name
                ),
                None => bail!("{name}: not moved, it runs here as before: {reason}"),
            }
        }
        End::Lost(reason) => {
            run.forget(name)?;
            bail!(
                "{name}: {node} took it over and could not start it: {reason}; it runs nowhere, start it with xen-domctl create"
            )
        }
    }
}

/// The member a domain is to go to, if it can.
fn destination<'a>(members: &'a [Member], own: &str, node: &str) -> Result<&'a Member, No> {
    let member = members.iter().find(|member| member.name == node);
    let member = member.ok_or_else(|| {
        let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        No(format!("{node}: not one of the cluster's nodes {}", names.join(", ")))
    })?;
    match member.state {
        _ if node == own => Err(No(format!("{node}: is this host"))),
        MemberState::Member => Ok(member),
        MemberState::Lost => Err(No(format!("{node}: is lost"))),
        MemberState::Absent | MemberState::Left => Err(No(format!("{node}: has not joined the cluster"))),
        MemberState::Fenced => Err(No(format!("{node}: was fenced and has not returned"))),
        MemberState::Held => Err(No(format!("{node}: is not let into the cluster: see cluster-stat"))),
    }
}

/// What goes along: the configuration, the volumes, and disks that must be there as they are here.
fn luggage(context: &Context, run: &RunDir, name: &str) -> anyhow::Result<(Start, Vec<Volume>)> {
    let domain = run.read(name)?;
    let domain = domain
        .ok_or_else(|| anyhow!("{}: is missing; was {name} started by xen-domctl?", run.config(name).display()))?;
    let surveyed = context.vg_tool.survey(&domain)?;
    if let Some(local) = surveyed.iter().find(|surveyed| !surveyed.clustered) {
        return Err(No(format!("{name}: its volume {} is in a group of this host alone", local.volume)).into());
    }
    let volumes: Vec<_> = surveyed.into_iter().map(|surveyed| surveyed.volume).collect();
    let mut paths = Vec::new();
    for disk in &domain.disks {
        match &disk.backing {
            _ if disk.volume().is_some_and(|volume| volumes.contains(&volume)) => {}
            Backing::Path(path) => paths.push(path.display().to_string()),
            Backing::Script(target) => {
                return Err(No(format!(
                    "{name}: nobody can tell whether its disk `{target}' is the same one elsewhere"
                ))
                .into());
            }
            Backing::Nothing => {}
        }
    }
    let names = volumes.iter().map(ToString::to_string).collect();
    Ok((Start { offer: 0, config: domain.to_xl(), volumes: names, paths }, volumes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, state: MemberState) -> Member {
        let (address, boot) = ("127.0.0.1:5405".into(), String::new());
        Member {
            id: 1,
            name: name.into(),
            address,
            votes: 1,
            state,
            role: nines_proto::ctl::Role::Voter,
            links: Vec::new(),
            since: None,
            incarnation: 1,
            boot,
        }
    }

    #[test]
    fn a_destination_is_another_member_that_is_there() {
        let members = [
            member("a", MemberState::Member),
            member("b", MemberState::Member),
            member("c", MemberState::Lost),
            member("d", MemberState::Absent),
        ];
        assert_eq!(destination(&members, "a", "b").unwrap().name, "b");
        for (node, wanted) in [
            ("a", "a: is this host"),
            ("c", "c: is lost"),
            ("d", "d: has not joined the cluster"),
            ("e", "e: not one of the cluster's nodes a, b, c, d"),
        ] {
            assert_eq!(destination(&members, "a", node).unwrap_err().0, wanted);
        }
    }
}
