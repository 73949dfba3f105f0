//! Having a node fenced, and asking a person before something that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nines_cli::{Exit, No, log};
use nines_proto::ctl::{Client, FenceOperation, Request, Value};

use crate::{Args, fences};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for the fencing and waits until it has happened. What is tried meanwhile, and why it
/// fails, goes to stderr.
pub fn fence(args: &Args, node: &str, why: &str) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.socket.as_deref())?;
    let mut watcher = Client::connect(args.socket.as_deref())?;
    let request = Request::Fence { node: node.into(), why: why.into() };
    let (sender, answered) = mpsc::channel();
    thread::spawn(move || {
        // Nobody waits for it any more when the time is up.
        let _ = sender.send(client.call(request, None));
    });
    let until = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut known = String::new();
    loop {
        let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
        match answered.recv_timeout(left) {
            Ok(answer) => return fenced(args, node, &answer?),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("{node}: the wait for its fencing broke"),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let seconds = args.timeout.unwrap_or_default();
            return Err(No(format!("{node}: not fenced after {seconds} s; the cluster goes on trying")).into());
        }
        // How far it is does not decide anything: the answer will.
        if let Ok(fences) = fences(&mut watcher)
            && let Some(operation) = fences.pending.iter().find(|operation| operation.node == node)
        {
            let state = progress(operation);
            if state != known {
                log(format_args!("{node}: {state}"));
                known = state;
            }
        }
    }
}

fn progress(operation: &FenceOperation) -> String {
    let FenceOperation { operation: number, attempts, state, .. } = operation;
    match (attempts, state.as_str()) {
        (0, "") => format!("fencing {number} is under way"),
        (0, state) => format!("fencing {number}: {state}"),
        (attempts, state) => format!("fencing {number}: {attempts} attempts in vain: {state}"),
    }
}

fn fenced(args: &Args, node: &str, answer: &Value) -> anyhow::Result<Exit> {
    let Value::Fenced { operation } = answer else { bail!("cluster-join answered another question: {answer:?}") };
    let line = if args.json { serde_json::to_string(answer)? } else { format!("{node}\tfenced\t{operation}") };
    writeln!(io::stdout(), "{line}").context("stdout")?;
    Ok(Exit::Ok)
}

/// Shows `what` and has a person type the node's name; without a terminal only `--yes` will do.
pub fn confirm(args: &Args, node: &str, what: &str) -> anyhow::Result<()> {
    log(format_args!("{what}"));
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{node}: there is nobody here to ask: add --yes if it is so");
    }
    write!(io::stderr(), "Type {node} to go on: ")?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).context("stdin")?;
    if typed.trim() == node { Ok(()) } else { Err(No(format!("{node}: not confirmed, nothing done")).into()) }
}
