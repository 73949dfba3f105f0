//! A few histories of each kind in every run of the unit tests; `cluster-sim` runs thousands.

use cluster_sim::{Faults, Plan, World};

fn run(seeds: std::ops::Range<u64>, nodes: u64, faults: Faults) {
    let mut grants = 0;
    for seed in seeds {
        let mut world = World::new(Plan::with(seed, nodes, faults), false);
        world.run();
        assert_eq!(world.check.violation, None, "seed {seed}");
        grants += world.counts.of("grants");
    }
    assert!(grants > 30, "{grants} grants: the histories were too dull");
}

#[test]
fn three_nodes_with_every_fault_keep_their_locks_apart() {
    run(0..10, 3, Faults::ALL);
}

#[test]
fn two_nodes_with_every_fault_keep_their_locks_apart() {
    run(1000..1008, 2, Faults::ALL);
}

#[test]
fn five_nodes_with_every_fault_keep_their_locks_apart() {
    run(2000..2002, 5, Faults::ALL);
}

#[test]
fn one_node_that_crashes_keeps_its_promises() {
    run(3000..3006, 1, Faults::ALL);
}

#[test]
fn a_network_that_only_reorders_loses_nothing() {
    run(4000..4005, 3, Faults { duplicate: true, reorder: true, sessions: true, ..Faults::NONE });
}

#[test]
fn nodes_that_crash_on_a_good_network_keep_their_promises() {
    run(5000..5006, 3, Faults { partition: false, drop: false, ..Faults::ALL });
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::new(Plan::of(seed), true);
        world.run();
        (world.trace.lines().to_vec(), world.counts.clone())
    };
    for seed in [7, 8, 9] {
        assert_eq!(history(seed), history(seed));
    }
    assert_ne!(history(7), history(8));
}

/// Histories that once broke a promise, by what was wrong.
fn kept(seed: u64) {
    let mut world = World::new(Plan::still(seed), false);
    world.run();
    assert_eq!(world.check.violation, None, "seed {seed}");
}

#[test]
fn a_node_that_lost_its_log_is_not_taken_for_its_former_run() {
    kept(100);
}

#[test]
fn a_new_run_is_not_told_what_the_former_one_asked_for() {
    kept(1590);
}

#[test]
fn a_crash_between_a_snapshot_and_its_log_spoils_nothing() {
    kept(2680);
}

#[test]
fn a_leader_that_votes_alone_has_its_term_on_disk_before_it_sends() {
    for seed in [135, 174] {
        let mut world = World::new(plain(seed), false);
        world.run();
        assert_eq!(world.check.violation, None, "seed {seed}");
        assert!(world.counts.of("configurations changed") > 0, "seed {seed}: votes were taken away");
    }
}

/// Histories of clusters that change, as they are without programs, leftovers and second networks.
fn plain(seed: u64) -> Plan {
    older(Plan { programs: false, two_links: false, leftovers: false, ..Plan::of(seed) })
}

/// A history as it is without sessions and what a switch or a device that lies adds to it.
fn older(plan: Plan) -> Plan {
    let conf = if plan.fabric { Plan::still(plan.seed).conf } else { plan.conf };
    Plan { conf, named: false, fabric: false, liars: false, identities: false, ..plan }
}

/// The same where the cluster changes.
fn kept_while_it_changes(seed: u64) {
    changes_and_keeps(plain(seed));
}

fn changes_and_keeps(plan: Plan) {
    let seed = plan.seed;
    let mut world = World::new(plan, false);
    world.run();
    assert_eq!(world.check.violation, None, "seed {seed}");
    assert!(world.counts.of("configurations changed") > 0, "seed {seed}: nothing changed");
}

#[test]
fn a_removed_node_stays_while_its_vote_may_be_needed() {
    kept_while_it_changes(1240);
}

#[test]
fn the_fencing_of_a_node_ends_with_its_removal() {
    kept_while_it_changes(1759);
}

#[test]
fn the_only_voter_cannot_be_fenced_and_whoever_asked_is_told() {
    kept_while_it_changes(3632);
}

#[test]
fn a_node_learns_where_the_leader_is_although_nobody_could_tell_it_when_it_greeted() {
    kept_while_it_changes(4746);
}

#[test]
fn the_votes_do_not_all_go_to_nodes_that_never_joined() {
    kept_while_it_changes(9647);
}

#[test]
fn a_vote_is_not_taken_where_those_left_have_nothing_yet() {
    kept_while_it_changes(11039);
}

#[test]
fn a_vote_is_not_taken_where_those_left_are_not_let_in() {
    changes_and_keeps(older(Plan::of(883)));
}

#[test]
fn nobody_waits_for_the_answer_of_a_daemon_that_ended_before_it_was_asked() {
    kept_while_it_changes(14656);
}

#[test]
fn a_removed_node_can_be_started_again_while_it_votes() {
    kept_while_it_changes(18750);
}

#[test]
fn a_node_gets_a_vote_when_it_would_use_it() {
    kept_while_it_changes(23081);
}

#[test]
fn a_node_fenced_before_it_ever_joined_has_no_log_that_could_be_removed() {
    changes_and_keeps(older(Plan::of(12876)));
}

#[test]
fn a_node_that_was_removed_and_added_again_counts_its_runs_anew() {
    for seed in [55438, 104_418] {
        changes_and_keeps(older(Plan::of(seed)));
    }
}

#[test]
fn the_word_that_lets_a_host_in_with_leftovers_is_good_for_one_boot() {
    changes_and_keeps(older(Plan::of(157_708)));
}

#[test]
fn a_log_that_is_lost_leaves_a_majority_that_has_one() {
    keeps(27496);
}

#[test]
fn a_node_that_lost_its_log_gives_no_vote_although_it_has_just_heard_of_its_former_run() {
    keeps(58767);
}

#[test]
fn an_acknowledgement_is_about_an_operation_that_was_there_when_it_was_given() {
    keeps(60583);
}

#[test]
fn a_directory_is_emptied_while_its_node_votes_and_nothing_is_lost() {
    changes_and_keeps(older(Plan::of(864_831)));
}

#[test]
fn a_node_that_was_set_up_and_votes_is_not_set_up_once_more() {
    changes_and_keeps(older(Plan::of(93753)));
}

#[test]
fn a_change_of_voters_is_durable_before_the_one_that_goes_hears_of_it() {
    changes_and_keeps(older(Plan::of(113_919)));
}

#[test]
fn nobody_starts_what_is_offered_to_another_host() {
    changes_and_keeps(older(Plan::of(953_203)));
}

fn keeps(seed: u64) {
    let mut world = World::new(older(Plan::of(seed)), false);
    world.run();
    assert_eq!(world.check.violation, None, "seed {seed}");
}

#[test]
fn the_fencing_of_a_node_that_was_just_removed_is_refused() {
    changes_and_keeps(older(Plan::of(42820)));
}

/// Histories of hosts behind a storage switch, by what was wrong.
fn kept_behind_a_switch(seed: u64) {
    let plan = Plan::of(seed);
    assert!(plan.fabric, "seed {seed}");
    let mut world = World::new(plan, false);
    world.run();
    assert_eq!(world.check.violation, None, "seed {seed}");
    assert!(world.counts.of("ports closed") > 0 && world.counts.of("ports opened") > 0, "seed {seed}");
}

#[test]
fn a_fenced_host_that_runs_on_is_not_given_its_disks_back() {
    kept_behind_a_switch(77);
}

#[test]
fn a_host_asks_for_its_disks_although_an_answer_from_before_its_fencing_comes_late() {
    kept_behind_a_switch(5227);
}

#[test]
fn a_host_has_nothing_to_write_with_before_its_own_agents_have_ended() {
    kept_behind_a_switch(3449);
}
