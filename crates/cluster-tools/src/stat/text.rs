//! The screen and the table.

use std::io::{self, Write};

use nines_proto::ctl::{LockHolder, LockState, MemberState, Status, utc};

/// The cluster on one screen.
pub fn status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "cluster  {} (config {}), seen from {}", status.cluster, status.config_version, status.node)?;
    match &status.reason {
        None => writeln!(out, "quorate  yes")?,
        Some(reason) => writeln!(out, "quorate  no: {reason}")?,
    }
    writeln!(out, "votes    {} of {}, {} needed", status.votes, status.votes_expected, status.votes_needed)?;
    writeln!(
        out,
        "leader   {} (term {}, entry {})",
        status.leader.as_deref().unwrap_or("-"),
        status.term,
        status.applied
    )?;
    writeln!(out)?;
    let width = status.members.iter().map(|member| member.name.len()).max().unwrap_or(0).max(4);
    writeln!(out, "  id  {:width$}  state   votes  run  since", "node")?;
    for member in &status.members {
        let state = match member.state {
            MemberState::Member => "member",
            MemberState::Lost => "lost",
            MemberState::Absent => "absent",
            MemberState::Left => "left",
            MemberState::Fenced => "fenced",
            MemberState::Held => "held",
        };
        writeln!(
            out,
            "{:4}  {:width$}  {state:6}  {:5}  {:3}  {}",
            member.id,
            member.name,
            member.votes,
            member.incarnation,
            member.since.map_or_else(|| "-".into(), utc)
        )?;
    }
    let lost: Vec<&str> = status
        .members
        .iter()
        .filter(|member| member.state == MemberState::Lost)
        .map(|member| member.name.as_str())
        .collect();
    if !lost.is_empty() {
        writeln!(out, "\nlocks of {} stay with it until it returns: cluster-stat locks", lost.join(", "))?;
    }
    Ok(())
}

/// One line a holder or waiter: resource, state, node, mode, generation, since, kind, offer, note.
pub fn locks(out: &mut impl Write, locks: &[LockState]) -> io::Result<()> {
    for lock in locks {
        for holder in &lock.granted {
            line(out, &lock.resource, "granted", holder)?;
        }
        for waiter in &lock.waiting {
            line(out, &lock.resource, "waiting", waiter)?;
        }
    }
    Ok(())
}

fn line(out: &mut impl Write, resource: &str, state: &str, holder: &LockHolder) -> io::Result<()> {
    let kind = if holder.sticky { "host" } else { "connection" };
    let offer = holder.offered_to.as_ref().map_or_else(|| "-".into(), |(node, offer)| format!("{node}:{offer}"));
    let note = if holder.note.is_empty() { "-" } else { &holder.note };
    let LockHolder { node, mode, generation, since, .. } = holder;
    writeln!(out, "{resource}\t{state}\t{node}\t{mode}\t{generation}\t{since}\t{kind}\t{offer}\t{note}")
}
