//! Histories that are told step by step, for what chance brings together too rarely.

use cluster_sim::{Faults, Plan, World};

/// A pair of hosts that go on alone when the other one is fenced, and have met.
fn pair(seed: u64) -> World {
    let mut world = World::quiet(Plan::pair(seed), true);
    world.go_on(5000);
    assert!(world.leads(1) || world.leads(2), "seed {seed}: the pair forms");
    world
}

fn well(world: &World) {
    let violation = &world.check.violation;
    assert_eq!(*violation, None, "{}", world.trace.lines().join("\n"));
}

#[test]
fn of_a_pair_that_lost_its_power_the_one_that_returns_waits_for_the_other() {
    for (seed, back) in (0..20).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let mut world = pair(seed);
        let other = 3 - back;
        world.takes(other, "r");
        world.go_on(1000);
        assert!(world.has(other, "r"), "seed {seed}");
        world.cut_power(1);
        world.cut_power(2);
        world.go_on(1000);
        world.switch_on(back);
        world.go_on(1000);
        world.takes(back, "r");
        world.go_on(60_000);
        assert!(!world.leads(back) && !world.has(back, "r"), "seed {seed}: nobody knows what the other one does");
        world.switch_on(other);
        world.go_on(10_000);
        assert!(world.has(back, "r"), "seed {seed}: with both there all goes on");
        assert_eq!(world.counts.of("forced recoveries"), 0, "seed {seed}");
        well(&world);
    }
}

#[test]
fn of_a_pair_the_one_that_was_left_behind_and_returns_alone_does_nothing() {
    for (seed, stale) in (0..20).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let mut world = pair(seed);
        let other = 3 - stale;
        world.cut_power(stale);
        world.go_on(20_000);
        assert!(world.leads(other), "seed {seed}: it went on alone");
        world.takes(other, "r");
        world.go_on(1000);
        assert!(world.has(other, "r"), "seed {seed}");
        // Both are off, and only the one returns that does not know what the other one did.
        world.cut_power(other);
        world.switch_on(stale);
        world.go_on(1000);
        world.takes(stale, "r");
        world.go_on(60_000);
        assert!(!world.leads(stale) && !world.has(stale, "r"), "seed {seed}: it missed what the other one did");
        world.switch_on(other);
        world.go_on(20_000);
        assert!(world.leads(1) || world.leads(2), "seed {seed}");
        assert_eq!(world.counts.of("forced recoveries"), 1, "seed {seed}");
        // Its clients went with the run that began with the old log.
        world.takes(stale, "r");
        world.go_on(5000);
        assert!(world.has(stale, "r"), "seed {seed}: with both there all goes on");
        well(&world);
    }
}

#[test]
fn one_of_two_networks_that_fails_changes_nothing() {
    for (seed, ring) in (0..20).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let plan = Plan { two_links: true, ..Plan::with(seed, 3, Faults::NONE) };
        let mut world = World::quiet(plan, true);
        world.go_on(3000);
        let elections = world.counts.of("elections");
        world.takes(1, "r");
        world.go_on(500);
        world.cut_network(ring);
        world.takes(2, "s");
        world.go_on(10_000);
        assert!(world.has(1, "r") && world.has(2, "s"), "seed {seed} network {ring}");
        let change = (world.counts.of("elections") - elections, world.counts.of("nodes lost"));
        assert_eq!(change, (0, 0), "seed {seed} network {ring}");
        world.cut_network(1 - ring);
        world.takes(3, "t");
        world.go_on(10_000);
        assert!(!world.has(3, "t"), "seed {seed}: with both networks cut nothing is granted");
        world.mend_networks();
        world.go_on(10_000);
        assert!(world.has(3, "t"), "seed {seed}");
        well(&world);
    }
}
