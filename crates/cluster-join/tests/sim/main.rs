//! Whole histories of a cluster in one process: engines as the daemon runs them, on disks that
//! lose what was not synced, over a network that drops, delays, doubles and reorders, with nodes
//! that crash at any point of a write and come back, and clients that lock and unlock all the
//! while. One seed is one history; what fails prints it.

#![allow(clippy::cast_possible_truncation)] // small numbers out of a generator

mod check;
mod world;

use world::{Faults, World};

fn run(seeds: std::ops::Range<u64>, nodes: usize, faults: Faults) {
    // More histories where there is time for them: SEEDS=20 runs twenty times as many.
    let times = std::env::var("SEEDS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let seeds = seeds.start..seeds.start + (seeds.end - seeds.start) * times;
    let mut grants = 0;
    for seed in seeds {
        println!("seed {seed}");
        let mut world = World::new(seed, nodes, faults);
        for _ in 0..500 {
            world.chaos();
        }
        world.heal();
        grants += world.check.grants();
    }
    assert!(grants > 100, "{grants} grants: the histories were too dull");
}

#[test]
fn three_nodes_with_every_fault_keep_their_locks_apart() {
    run(0..60, 3, Faults::ALL);
}

#[test]
fn two_nodes_with_every_fault_keep_their_locks_apart() {
    run(1000..1030, 2, Faults::ALL);
}

#[test]
fn five_nodes_with_every_fault_keep_their_locks_apart() {
    run(2000..2006, 5, Faults::ALL);
}

#[test]
fn one_node_that_crashes_keeps_its_promises() {
    run(3000..3020, 1, Faults::ALL);
}

#[test]
fn a_network_that_only_reorders_loses_nothing() {
    run(4000..4015, 3, Faults { crash: false, partition: false, drop: false, ..Faults::ALL });
}

#[test]
fn nodes_that_crash_on_a_good_network_keep_their_promises() {
    run(5000..5020, 3, Faults { partition: false, drop: false, ..Faults::ALL });
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::new(seed, 3, Faults::ALL);
        for _ in 0..1000 {
            world.chaos();
        }
        world.check.history()
    };
    assert_eq!(history(7), history(7));
}
