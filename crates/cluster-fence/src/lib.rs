//! Fencing for people and scripts: ask for it, acknowledge it, test the devices, look back.
#![forbid(unsafe_code)]

mod ack;
mod args;
mod ask;
mod show;

pub use args::{Args, Command, Task};

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use nines_cli::{Exit, log};
use nines_proto::ctl::{Client, ClientError, ErrorKind, Fences, Request, Value};

/// How long the daemon may take for what it knows by itself.
const SOON: Duration = Duration::from_secs(10);

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    nines_cli::set_program("cluster-fence");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-fence", || run(&args)),
        Err(code) => code,
    }
}

fn run(args: &Args) -> anyhow::Result<Exit> {
    let done = match args.task()? {
        Task::Fence { node, why } => ask::fence(args, &node, &why),
        Task::Acknowledge { node } => ack::acknowledge(args, &node),
        Task::Other(Command::List) => list(args, show::list),
        Task::Other(Command::History) => list(args, show::history),
        Task::Other(Command::Test { node, really }) => test(args, &node, really),
        Task::Other(Command::Unfence { node }) => unfence(args, &node),
    };
    match done {
        Err(error) => refused(error),
        done => done,
    }
}

/// A refusal that answers the question is a no; one of the question itself is an error.
fn refused(error: anyhow::Error) -> anyhow::Result<Exit> {
    let refusal = error.downcast_ref::<ClientError>().and_then(ClientError::refusal);
    match refusal.map(|refusal| refusal.kind) {
        None | Some(ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Stopping) => Err(error),
        Some(_) => {
            log(format_args!("{error:#}"));
            Ok(Exit::No)
        }
    }
}

fn fences(client: &mut Client) -> anyhow::Result<Fences> {
    match client.call(Request::Fences, Some(SOON))? {
        Value::Fences(fences) => Ok(fences),
        other => bail!("cluster-join answered another question: {other:?}"),
    }
}

fn list(args: &Args, show: impl Fn(&Fences, bool) -> serde_json::Result<String>) -> anyhow::Result<Exit> {
    let fences = fences(&mut Client::connect(args.socket.as_deref())?)?;
    io::stdout().write_all(show(&fences, args.json)?.as_bytes())?;
    Ok(Exit::Ok)
}

fn test(args: &Args, node: &str, really: bool) -> anyhow::Result<Exit> {
    if really {
        ask::confirm(args, node, &format!("{node} will be switched off and on by its fence devices now."))?;
    }
    let mut client = Client::connect(args.socket.as_deref())?;
    match client.call(Request::FenceTest { node: node.into(), really }, None)? {
        Value::Tested(tested) => {
            let line = if args.json { serde_json::to_string(&tested)? } else { show::tested(node, &tested) };
            writeln!(io::stdout(), "{line}").context("stdout")?;
            Ok(if tested.good { Exit::Ok } else { Exit::No })
        }
        other => bail!("cluster-join answered another question: {other:?}"),
    }
}

fn unfence(args: &Args, node: &str) -> anyhow::Result<Exit> {
    Client::connect(args.socket.as_deref())?.call(Request::Unfence { node: node.into() }, None)?;
    Ok(Exit::Ok)
}
