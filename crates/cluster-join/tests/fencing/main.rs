//! Who is fenced when and by whom, and how long leases last: engines as the daemon runs them,
//! on a clock of the test's own.

mod cluster;
mod early;

use std::time::Duration;

use cluster::{Cluster, lock};
use cluster_conf::{Bound, Conf, Watchdog as WatchdogConf};
use cluster_join::engine::Watchdog;
use nines_proto::ctl::{FenceEnd, MemberState, Request, Value};

fn usual(_: &mut Conf) {}

/// Self-fencing and nothing else.
fn watchdog(conf: &mut Conf) {
    conf.watchdog = Some(WatchdogConf {
        device: "/dev/watchdog".into(),
        timeout: Duration::from_secs(5),
        quorum_grace: Duration::ZERO,
    });
    for node in &mut conf.nodes {
        node.methods.clear();
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

#[test]
fn the_leader_runs_the_agents_again_until_they_succeed_and_only_then_is_the_lock_free() {
    let mut cluster = Cluster::new(3, usual);
    let (leader, other, victim) = cluster.roles();
    cluster.call(victim, 1, lock(true)).unwrap();
    cluster.ask(other, 2, lock(false));
    cluster.isolate(victim);
    cluster.until(3000, |cluster| !cluster.hosts[&leader].jobs.is_empty());
    assert!(cluster.hosts[&other].jobs.is_empty() && cluster.hosts[&victim].jobs.is_empty());
    assert_eq!(cluster.hosts[&leader].jobs[0].node, format!("n{victim}"));
    cluster.pass(60_000);
    assert_eq!(cluster.hosts[&leader].jobs.len(), 1, "one job at a time");
    cluster.end_job(leader, false);
    let again = cluster.until(5000, |cluster| !cluster.hosts[&leader].jobs.is_empty());
    assert!((3000..3200).contains(&again), "{again} ms instead of override_time");
    assert!(!cluster.answered(other, 2));
    cluster.end_job(leader, true);
    let granted = cluster.until(1000, |cluster| cluster.answered(other, 2));
    assert!(granted <= 100, "{granted} ms from the agent's success to the grant");
}

#[test]
fn a_new_leader_runs_pending_jobs_and_a_result_of_the_former_one_counts_as_well() {
    let mut cluster = Cluster::new(3, usual);
    let (leader, other, victim) = cluster.roles();
    cluster.call(victim, 1, lock(true)).unwrap();
    cluster.isolate(victim);
    cluster.until(3000, |cluster| !cluster.hosts[&leader].jobs.is_empty());
    cluster.isolate(leader);
    cluster.pass(3000);
    // Two of three are needed: the other one alone starts nothing.
    assert!(cluster.hosts[&other].jobs.is_empty());
    cluster.mend();
    cluster.isolate(victim);
    cluster.end_job(leader, true);
    cluster.until(3000, |cluster| cluster.engine(other).state().members[&victim].fenced);
}

#[test]
fn a_boot_that_was_fenced_ends_when_it_hears_of_it() {
    let mut cluster = Cluster::new(3, usual);
    let (leader, other, victim) = cluster.roles();
    cluster.call(victim, 1, lock(true)).unwrap();
    cluster.isolate(victim);
    cluster.until(3000, |cluster| !cluster.hosts[&leader].jobs.is_empty());
    // The agent says so and is wrong.
    cluster.end_job(leader, true);
    cluster.pass(1000);
    cluster.mend();
    cluster.until(3000, |cluster| cluster.hosts[&victim].exit.is_some());
    assert!(cluster.hosts[&victim].exit.as_ref().unwrap().contains("has been fenced"));
    assert!(cluster.hosts[&other].exit.is_none());
    assert!(!cluster.engine(other).state().members[&victim].present);
}

#[test]
fn a_node_that_comes_back_between_two_attempts_is_a_member_again() {
    let mut cluster = Cluster::new(3, usual);
    let (leader, _, victim) = cluster.roles();
    cluster.call(victim, 1, lock(true)).unwrap();
    cluster.isolate(victim);
    cluster.until(3000, |cluster| !cluster.hosts[&leader].jobs.is_empty());
    cluster.mend();
    cluster.pass(2000);
    assert!(!cluster.engine(leader).state().members[&victim].present, "agents may be switching it off just now");
    cluster.end_job(leader, false);
    cluster.until(2000, |cluster| cluster.engine(leader).state().members[&victim].present);
    let end = cluster.engine(leader).state().fencing.history().next_back().unwrap().end.clone();
    assert_eq!(end, Some(FenceEnd::Void));
    cluster.pass(10_000);
    assert!(cluster.hosts[&leader].jobs.is_empty());
}

#[test]
fn a_node_that_never_came_is_fenced_after_the_join_delay_unless_the_start_is_clean() {
    let mut cluster = Cluster::new(2, usual);
    let fencing = |cluster: &Cluster| (1..=2).any(|node| !cluster.hosts[&node].jobs.is_empty());
    assert!(!fencing(&cluster));
    let delay = cluster.until(10_000, fencing);
    assert!((3000..7000).contains(&delay), "{delay} ms");
    let mut cluster = Cluster::new(2, |conf| conf.fence_daemon.clean_start = true);
    cluster.pass(20_000);
    assert!(!fencing(&cluster));
    let mut cluster = Cluster::new(2, |conf| conf.fence_daemon.post_join_delay = None);
    cluster.pass(20_000);
    assert!(!fencing(&cluster));
}

#[test]
fn an_acknowledgement_is_refused_while_any_member_hears_the_node() {
    let mut cluster = Cluster::new(3, |conf| conf.nodes.iter_mut().for_each(|node| node.methods.clear()));
    let (leader, other, victim) = cluster.roles();
    cluster.call(victim, 1, lock(true)).unwrap();
    cluster.cut(leader, victim);
    cluster.until(3000, |cluster| cluster.engine(leader).state().fencing.pending(victim).is_some());
    let ack = |cluster: &Cluster| {
        let operation = cluster.engine(leader).state().fencing.pending(victim).unwrap();
        let (operation, incarnation) = (operation.number, operation.incarnation);
        Request::FenceAck { node: format!("n{victim}"), operation, incarnation, newest: false }
    };
    let request = ack(&cluster);
    let refusal = cluster.call(leader, 2, request).unwrap_err().message;
    assert_eq!(refusal, format!("n{victim}: n{other} hears it: it is not off"));
    cluster.isolate(victim);
    cluster.pass(1500);
    let request = ack(&cluster);
    assert!(matches!(cluster.call(leader, 3, request), Ok(Value::Fenced { .. })));
    let Ok(Value::Status(status)) = cluster.call(leader, 4, Request::Status) else { panic!() };
    let member = status.members.iter().find(|member| member.id == victim).unwrap();
    assert_eq!((member.state, status.notes), (MemberState::Fenced, vec![]));
}

#[test]
fn a_host_is_armed_before_it_is_granted_anything_and_disarmed_when_it_holds_nothing() {
    let mut cluster = Cluster::new(3, watchdog);
    let (_, other, node) = cluster.roles();
    cluster.pass(20_000);
    assert!(cluster.hosts.values().all(|host| host.orders.is_empty()), "nobody holds anything");
    cluster.call(node, 1, lock(true)).unwrap();
    assert!(matches!(cluster.hosts[&node].orders[0].1, Watchdog::Arm { .. }));
    assert!(cluster.engine(other).state().members[&node].armed);
    cluster.pass(20_000);
    let unlock = Request::Unlock { resource: "disk".into(), sticky: true, session: None, value: None };
    cluster.call(node, 2, unlock).unwrap();
    let disarmed = |cluster: &Cluster| cluster.hosts[&node].orders.last().unwrap().1 == Watchdog::Disarm;
    let after = cluster.until(12_000, disarmed);
    assert!((9900..10_500).contains(&after), "{after} ms");
    assert!(!cluster.engine(other).state().members[&node].armed);
    cluster.call(node, 3, lock(true)).unwrap();
    assert!(matches!(cluster.hosts[&node].orders.last().unwrap().1, Watchdog::Arm { .. } | Watchdog::Pet { .. }));
}

#[test]
fn what_an_armed_node_held_is_free_after_its_reset_and_within_the_bound() {
    for victim_leads in [false, true] {
        let mut cluster = Cluster::new(3, watchdog);
        let (leader, other, follower) = cluster.roles();
        let victim = if victim_leads { leader } else { follower };
        let bound = Bound::of(&cluster.conf).unwrap();
        cluster.call(victim, 1, lock(true)).unwrap();
        cluster.ask(other, 2, lock(false));
        cluster.pass(3000);
        let begin = cluster.now;
        cluster.isolate(victim);
        cluster.until(20_000, |cluster| cluster.answered(other, 2));
        let reset = cluster.fed_until(victim) + 5000;
        assert!(cluster.fed_until(victim) <= begin + 1000, "fed after its lease");
        assert!(reset + ms(bound.decide) <= cluster.now, "granted before the reset: {} {reset}", cluster.now);
        let most = if victim_leads { ms(bound.after_election()) + 2500 } else { ms(bound.after_lease()) + 100 };
        assert!(cluster.now <= begin + most, "{} ms", cluster.now - begin);
        let announced = cluster.hosts[&victim].reset.clone().unwrap();
        assert!(announced.why.starts_with("no lease: "), "{announced:?}");
        let history = cluster.engine(other).state().fencing.history().next_back().unwrap().end.clone();
        assert_eq!(history, Some(FenceEnd::Watchdog));
    }
}

#[test]
fn an_answer_that_was_long_under_way_prolongs_nothing() {
    let mut cluster = Cluster::new(3, watchdog);
    let (_, _, node) = cluster.roles();
    cluster.call(node, 1, lock(true)).unwrap();
    cluster.slow.insert(node, 400);
    cluster.pass(5000);
    // The newest answer is at least as old as its way; the lease counts from the question.
    assert!(cluster.fed_until(node) <= cluster.now + 1000 - 400, "{} {}", cluster.fed_until(node), cluster.now);
    assert!(cluster.fed_until(node) > cluster.now);
}

#[test]
fn a_lease_that_is_back_in_time_takes_back_the_announced_reset() {
    let mut cluster = Cluster::new(3, watchdog);
    let (leader, other, node) = cluster.roles();
    cluster.call(node, 1, lock(true)).unwrap();
    for one in [leader, other, node] {
        cluster.isolate(one);
    }
    cluster.until(3000, |cluster| cluster.hosts[&node].reset.is_some());
    cluster.mend();
    cluster.until(4000, |cluster| cluster.hosts[&node].reset.is_none());
    assert!(cluster.engine(node).state().members[&node].armed);
}
