//! cluster-sim: runs histories and says what they were worth.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use cluster_sim::{Counts, Plan, World};
use nines_cli::Exit;

/// Simulate a cluster under faults and check what it promises.
#[derive(Debug, Parser)]
struct Args {
    /// How many histories to run.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    histories: u64,
    /// The seed of the first one.
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u64,
    /// Run this history only.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// No cluster changes. Otherwise, in half of the larger ones people update the configuration, add
    /// and remove nodes, and have nodes leave.
    #[arg(long)]
    still: bool,
    /// Print all that happens in it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many threads; as many as there are processors by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What must have happened at least once in a thousand histories, or they prove nothing.
const WANTED: &[&str] = &[
    "grants",
    "conversions",
    "migrations",
    "elections",
    "daemon crashes",
    "power cuts",
    "partitions",
    "pauses",
    "logs refused",
    "identities refused",
    "session grants",
    "ports opened",
    "ports closed",
    "lies believed",
    "forced recoveries",
    "calls about keys",
    "changes watched",
    "cancels",
    "links cut",
    "boots with leftovers",
    "watchdogs closed",
];
/// The same where clusters change.
const WANTED_CHANGES: &[&str] =
    &["configurations changed", "leaves", "nodes added", "promotions", "removed logs that came back"];

/// Lines of a failed history's end that are shown.
const SHOWN: usize = 60;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() -> ExitCode {
    nines_cli::set_program("cluster-sim");
    match nines_cli::parse::<Args>() {
        Ok(args) => nines_cli::run("cluster-sim", || run(&args)),
        Err(code) => code,
    }
}

fn run(args: &Args) -> anyhow::Result<Exit> {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The process may end with this line.
        eprintln!("cluster-sim: seed {}: panic: replay it with --seed {} --trace", SEED.get(), SEED.get());
        usual(panic);
    }));
    if let Some(seed) = args.seed {
        return Ok(one(&plan(args, seed), args.trace));
    }
    let threads = args.threads.map_or_else(std::thread::available_parallelism, |threads| {
        threads.max(1).try_into().map_err(std::io::Error::other)
    })?;
    let (next, failed, total) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Counts::default()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads.get() {
            scope.spawn(|| {
                let mut counts = Counts::default();
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.histories {
                        break;
                    }
                    let seed = args.first + number;
                    SEED.set(seed);
                    let mut world = World::new(plan(args, seed), false);
                    world.run();
                    counts.add(&world.counts);
                    if world.check.violation.is_some() && !failed.swap(true, Ordering::Relaxed) {
                        one(&plan(args, seed), false);
                    }
                }
                total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&counts);
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print!("{total}");
    let seconds = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // for people
    let rate = total.of("histories") as f64 / seconds;
    println!("{rate:>12.0}  histories a second, on {threads} threads");
    if failed.into_inner() {
        return Ok(Exit::No);
    }
    let changes = if args.still { &[] } else { WANTED_CHANGES };
    let dull: Vec<&str> = WANTED.iter().chain(changes).filter(|what| total.of(what) == 0).copied().collect();
    anyhow::ensure!(args.histories < 1000 || dull.is_empty(), "never happened: {}", dull.join(", "));
    Ok(Exit::Ok)
}

fn plan(args: &Args, seed: u64) -> Plan {
    let plan = Plan::of(seed);
    Plan { reconfigures: plan.reconfigures && !args.still, ..plan }
}

/// Replays one history; says what went wrong, and how it came to it.
fn one(plan: &Plan, all: bool) -> Exit {
    let seed = plan.seed;
    SEED.set(seed);
    let mut world = World::new(plan.clone(), true);
    world.run();
    let lines = world.trace.lines();
    let skipped = if all { 0 } else { lines.len().saturating_sub(SHOWN) };
    let Some(violation) = &world.check.violation else {
        if all {
            println!("{:?}", plan.faults);
            lines.iter().for_each(|line| println!("{line}"));
        }
        println!("seed {seed}: every promise was kept");
        return Exit::Ok;
    };
    println!("{} nodes, {:?}", plan.conf.nodes.len(), plan.faults);
    lines.iter().skip(skipped).for_each(|line| println!("{line}"));
    eprintln!("cluster-sim: seed {seed}: {}: {}", violation.invariant, violation.what);
    eprintln!("cluster-sim: seed {seed}: replay it with --seed {seed} --trace");
    Exit::No
}
