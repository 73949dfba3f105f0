//! What many lock operations leave behind: `lock-million SOCKET STATE PID [COUNT]` takes and gives
//! back a lock so many times (half a million pairs unless told otherwise) over a few connections
//! at once, and prints, tab-separated, operations so far, KiB in the state directory STATE and KiB
//! of memory that the daemon PID has, at the beginning, on the way and at the end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use nines_cli::Exit;
use nines_proto::ctl::{Client, Mode};

const USAGE: &str = "usage: lock-million SOCKET STATE PID [COUNT]";
/// Connections at once: their calls share writes to the log.
const CONNECTIONS: u64 = 32;

fn main() -> ExitCode {
    nines_cli::run("lock-million", count)
}

fn count() -> anyhow::Result<Exit> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().context(USAGE)?);
    let state = PathBuf::from(arguments.next().context(USAGE)?);
    let pid: u32 = arguments.next().context(USAGE)?.parse()?;
    let pairs: u64 = arguments.next().map_or(Ok(500_000), |count| count.parse())?;
    let done = AtomicU64::new(0);
    println!("0\t{}\t{}", disk(&state)?, memory(pid)?);
    for tenth in 1..=10 {
        let until = pairs * tenth / 10;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|number| {
                    let (done, socket) = (&done, &socket);
                    scope.spawn(move || work(socket, number, done, until))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a panic")))
        })?;
        println!("{}\t{}\t{}", 2 * until, disk(&state)?, memory(pid)?);
    }
    Ok(Exit::Ok)
}

fn work(socket: &Path, number: u64, done: &AtomicU64, until: u64) -> anyhow::Result<()> {
    let mut client = Client::connect(Some(socket))?;
    let resource = format!("million-{number}");
    while done.fetch_add(1, Ordering::Relaxed) < until {
        client.lock(&resource, Mode::Ex, None, "lock-million")?;
        client.unlock(&resource)?;
    }
    done.store(until, Ordering::Relaxed);
    Ok(())
}

/// Bytes that the directory's files have, in KiB.
fn disk(state: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in state.read_dir().with_context(|| state.display().to_string())? {
        // A log that is replaced at this moment is counted next time.
        bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
    }
    Ok(bytes / 1024)
}

fn memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
