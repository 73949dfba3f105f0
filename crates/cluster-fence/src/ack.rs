//! A person's word that a node is off.
//!
//! It is about one fencing of one run of the node, shown before it is given and sent with it, so
//! that a word meant for yesterday's failure, or for another node, is none for today's.

use std::io::{self, Write};

use anyhow::{Context, bail};
use nines_cli::{Exit, No};
use nines_proto::ctl::{Client, FenceOperation, Request, utc};

use crate::ask::confirm;
use crate::{Args, fences};

pub fn acknowledge(args: &Args, node: &str) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.socket.as_deref())?;
    let pending = fences(&mut client)?.pending;
    let (operation, incarnation) = match chosen(args, node, &pending)? {
        Some(operation) => {
            confirm(args, node, &statement(operation))?;
            (operation.operation, operation.incarnation)
        }
        // Without a majority nothing is pending that could be named; the run is the last one seen.
        None => {
            let members = client.status()?.members;
            let member = members.iter().find(|member| member.name == node);
            let seen = member.with_context(|| format!("{node} is not one of the cluster's nodes"))?.incarnation;
            let incarnation = args.incarnation.unwrap_or(seen);
            confirm(args, node, &alone(node, incarnation))?;
            (args.operation.unwrap_or_default(), incarnation)
        }
    };
    let newest = args.i_am_the_newest;
    client.call(Request::FenceAck { node: node.into(), operation, incarnation, newest }, None)?;
    if !args.json {
        writeln!(io::stdout(), "{node}\tacknowledged\t{operation}").context("stdout")?;
    }
    Ok(Exit::Ok)
}

/// The fencing that is meant; none where this host decides alone.
fn chosen<'a>(args: &Args, node: &str, pending: &'a [FenceOperation]) -> anyhow::Result<Option<&'a FenceOperation>> {
    let of_node: Vec<_> = pending.iter().filter(|operation| operation.node == node).collect();
    let meant = |operation: &&&FenceOperation| {
        args.operation.is_none_or(|number| number == operation.operation)
            && args.incarnation.is_none_or(|run| run == operation.incarnation)
    };
    let mut found = of_node.iter().filter(meant);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(Some(only)),
        (Some(_), Some(_)) => bail!("{node}: several fencings are pending: choose one with --operation"),
        (None, _) if !of_node.is_empty() => {
            let shown: Vec<String> = of_node.iter().map(|operation| name(operation)).collect();
            Err(No(format!("{node}: what is pending is {}: nothing acknowledged", shown.join(", "))).into())
        }
        (None, _) if args.i_am_the_newest => Ok(None),
        (None, _) => {
            let waits: Vec<&str> = pending.iter().map(|operation| operation.node.as_str()).collect();
            let others = if waits.is_empty() { "no node".into() } else { waits.join(", ") };
            Err(No(format!("{node}: its fencing is not waited for, but that of {others}: nothing to acknowledge"))
                .into())
        }
    }
}

fn name(operation: &FenceOperation) -> String {
    format!("fencing {} of run {}", operation.operation, operation.incarnation)
}

/// What the one who acknowledges says.
fn statement(operation: &FenceOperation) -> String {
    let FenceOperation { node, who, why, asked, attempts, state, .. } = operation;
    let tried = match (attempts, state.as_str()) {
        (_, "") => String::new(),
        (attempts, state) => format!("\n  {attempts} attempts; last: {state}"),
    };
    format!(
        "{node}: {}, asked for at {} by {who}: {why}{tried}\n{}",
        name(operation),
        utc(*asked),
        promise(node, operation.incarnation)
    )
}

fn alone(node: &str, incarnation: u64) -> String {
    format!(
        "{node}: this host has no majority and would go on without {node}.\n{}\n\
         You also say that {node} has accepted nothing that this host does not know: what it has is thrown away.",
        promise(node, incarnation)
    )
}

fn promise(node: &str, incarnation: u64) -> String {
    let run = if incarnation == 0 { "any run of it".into() } else { format!("its run {incarnation}") };
    format!(
        "You say that {node} has been off since: that {run} has ended, and that nothing it started\n\
         can still write to a disk. Its locks and domains go to other hosts at once. If it is\n\
         running, volumes will be destroyed."
    )
}
