//! `cluster-leave`: out of the cluster in an orderly way, or what holds this host back.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use nines_cli::{Exit, No, clean};
use nines_proto::ctl::{Client, Failure, KeyEntry, LockState};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

/// Take this host out of the cluster; the others do not fence it.
#[derive(Debug, Parser)]
#[command(name = "cluster-leave", version, about = "Take this host out of the cluster")]
struct Args {
    /// Out of the configuration as well: it cannot join again with its log
    #[arg(long)]
    remove: bool,
    /// Give back the locks and keys this host still has; stop what uses them first
    #[arg(long)]
    force: bool,
    /// Return when the daemon has ended
    #[arg(long)]
    wait: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    timeout: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-leave");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-leave", || leave(&args)),
        Err(code) => code,
    }
}

fn leave(args: &Args) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.socket.as_deref())?;
    let node = client.status()?.node;
    let patience = Duration::from_secs(args.timeout);
    let until = Instant::now() + patience;
    if let Err(error) = client.leave(args.remove, args.force, Some(patience)) {
        let Some(refusal) = error.refusal().cloned() else { return Err(error.into()) };
        return refused(&mut client, &node, &refusal, args.json);
    }
    if args.wait {
        wait_for_end(&client, until)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({"node": node, "left": true, "removed": args.remove}))?;
    } else {
        let what = if args.remove { "has left and is no longer in the configuration" } else { "has left" };
        writeln!(out, "{} {what}", clean(&node))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Until the daemon closes the connection, which it does by ending.
fn wait_for_end(client: &Client, until: Instant) -> anyhow::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("it has left, and cluster-join has not ended yet");
        }
        let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// Says no with the reason, and what is in the way with what ends it.
fn refused(client: &mut Client, node: &str, refusal: &Failure, json: bool) -> anyhow::Result<Exit> {
    // Whatever cannot be listed now is not in the list; the reason is the daemon's own.
    let locks = client.locks().unwrap_or_default();
    let keys = client.keys("", true).map(|(_, keys)| keys).unwrap_or_default();
    let obstacles = obstacles(node, &locks, &keys);
    let mut out = io::stdout().lock();
    for Obstacle { kind, name, note, command } in &obstacles {
        if json {
            writeln!(out, "{}", json!({"kind": kind, "name": name, "note": note, "command": command}))?;
        } else {
            let note = if note.is_empty() { "-" } else { note };
            writeln!(out, "{kind}\t{}\t{}\t{}", clean(name), clean(note), clean(command))?;
        }
    }
    out.flush()?;
    let hint = if obstacles.is_empty() { "" } else { "; end what is listed, or give it back with --force" };
    bail!(No(format!("{refusal}{hint}")))
}

/// Something this host has, and the command that gives it back.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    kind: &'static str,
    name: String,
    note: String,
    command: String,
}

fn obstacles(node: &str, locks: &[LockState], keys: &[KeyEntry]) -> Vec<Obstacle> {
    let mut list = Vec::new();
    for lock in locks {
        for holder in lock.granted.iter().filter(|holder| holder.node == node && holder.sticky) {
            let command = release(&lock.resource, holder.session.as_deref());
            list.push(Obstacle { kind: "lock", name: lock.resource.clone(), note: holder.note.clone(), command });
        }
    }
    for key in keys.iter().filter(|key| key.owner.as_deref() == Some(node)) {
        let command = "stop the program that set it".to_owned();
        list.push(Obstacle { kind: "key", name: key.key.clone(), note: String::new(), command });
    }
    list
}

/// What gives a lock back, by the names the programs give their locks.
fn release(resource: &str, session: Option<&str>) -> String {
    if let Some(domain) = resource.strip_prefix("D_") {
        return format!("xen-domctl migrate --live {domain} NODE, or xen-domctl shutdown {domain}");
    }
    // A volume's is the UUIDs of its group and its own.
    if resource.len() == 64 && resource.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return "vg-tool vgchange -an".into();
    }
    match session {
        Some(session) => format!("clvm-lock drop --session {session} {resource}"),
        None => format!("clvm-lock drop --host {resource}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nines_proto::ctl::{LockHolder, Mode};

    fn lock(resource: &str, node: &str, sticky: bool, session: Option<&str>) -> LockState {
        let holder = LockHolder {
            node: node.into(),
            mode: Mode::Ex,
            generation: 1,
            since: 0,
            sticky,
            session: session.map(str::to_owned),
            offered_to: None,
            note: "xl".into(),
        };
        LockState { resource: resource.into(), granted: vec![holder], waiting: Vec::new() }
    }

    #[test]
    fn what_this_host_has_is_listed_with_what_ends_it() {
        let volume = "a".repeat(64);
        let locks = [
            lock("D_web", "n1", true, None),
            lock(&volume, "n1", true, None),
            lock("job", "n1", true, Some("nightly")),
            lock("mine", "n1", true, None),
            lock("D_other", "n2", true, None),
            lock("V_vg", "n1", false, None),
        ];
        let key = |owner: Option<&str>| KeyEntry {
            key: "keeper/n1".into(),
            value: "x".into(),
            revision: 1,
            owner: owner.map(str::to_owned),
        };
        let list = obstacles("n1", &locks, &[key(Some("n1")), key(None), key(Some("n2"))]);
        let commands: Vec<(&str, &str)> = list.iter().map(|at| (at.kind, at.command.as_str())).collect();
        let wanted = [
            ("lock", "xen-domctl migrate --live web NODE, or xen-domctl shutdown web"),
            ("lock", "vg-tool vgchange -an"),
            ("lock", "clvm-lock drop --session nightly job"),
            ("lock", "clvm-lock drop --host mine"),
            ("key", "stop the program that set it"),
        ];
        assert_eq!(commands, wanted);
    }
}
