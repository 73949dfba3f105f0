//! A power switch for the hosts, as a machine room has one: asked over TCP, it cuts or restores a
//! host's power. `fence_lab` is its fence agent.
//!
//! One line in each direction: `status node1`, `off node1` or `on node1`, answered by `on`, `off`
//! or `error: CAUSE` when it is done.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nines_cli::{Exit, Ready, log};

use crate::host;
use crate::state::{Lab, Node};

/// Longest request, and how long a connection may take for it.
const MAX_LINE: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(5);
/// Most requests at a time.
const MOST: usize = 8;

/// Serves until it is killed.
///
/// # Errors
/// The address cannot be listened on.
pub fn serve(lab: &Lab, listen: SocketAddr, delay: Duration, ready_fd: Option<u32>) -> Result<Exit> {
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("{listen}: not in the lab's network? try: lab net lab power"))?;
    Ready::new(ready_fd).announce().context("--ready-fd")?;
    let busy = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log(format_args!("{listen}: {error}"));
                    continue;
                }
            };
            if busy.fetch_add(1, Ordering::SeqCst) >= MOST {
                busy.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let busy = &busy;
            scope.spawn(move || {
                if let Err(error) = answer(lab, &stream, delay) {
                    log(format_args!("{error:#}"));
                }
                busy.fetch_sub(1, Ordering::SeqCst);
            });
        }
    })
}

fn answer(lab: &Lab, stream: &TcpStream, delay: Duration) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE)).context("socket")?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).context("request")?;
    // A switch is slow: relays, a management processor that wakes up.
    std::thread::sleep(delay);
    let said = match switch(lab, line.trim()) {
        Ok(state) => state.to_owned(),
        Err(error) => format!("error: {error:#}"),
    };
    log(format_args!("{}: {said}", line.trim()));
    let mut stream = stream;
    stream.write_all(format!("{said}\n").as_bytes()).context("answer")
}

fn switch(lab: &Lab, request: &str) -> Result<&'static str> {
    let (verb, name) = request.split_once(' ').context("not a request")?;
    let node: Node = name.parse().map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let settings = node.of(lab)?;
    let _lock = (verb != "status").then(|| lab.lock()).transpose()?;
    match verb {
        "status" => {}
        "off" => host::kill(lab, node)?,
        "on" if host::running(lab, node)?.is_none() => host::start(lab, node, &settings)?,
        "on" => {}
        other => bail!("{other}: not a request"),
    }
    Ok(if host::running(lab, node)?.is_some() { "on" } else { "off" })
}
