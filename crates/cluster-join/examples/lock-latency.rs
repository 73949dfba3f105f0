//! Times of lock and unlock calls over one connection: `lock-latency SOCKET COUNT` prints, tab-
//! separated, the medians and 99th percentiles of grant and release in microseconds.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::Exit;
use nines_proto::ctl::{Client, Mode};

fn main() -> ExitCode {
    nines_cli::run("lock-latency", measure)
}

fn measure() -> anyhow::Result<Exit> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().context("usage: lock-latency SOCKET COUNT")?;
    let count: usize = arguments.next().context("usage: lock-latency SOCKET COUNT")?.parse()?;
    anyhow::ensure!((1..=1_000_000).contains(&count), "{count} is not a number of rounds");
    let mut client = Client::connect(Some(Path::new(&socket)))?;
    let (mut grants, mut releases) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let start = Instant::now();
        client.lock("latency", Mode::Ex, Some(0), "lock-latency")?;
        grants.push(start.elapsed());
        let start = Instant::now();
        client.unlock("latency")?;
        releases.push(start.elapsed());
    }
    let part = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        times[(times.len() - 1) * percent / 100].as_micros()
    };
    println!(
        "{}\t{}\t{}\t{}",
        part(&mut grants, 50),
        part(&mut grants, 99),
        part(&mut releases, 50),
        part(&mut releases, 99)
    );
    Ok(Exit::Ok)
}
