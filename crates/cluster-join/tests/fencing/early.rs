//! What is asked for before a host may hold anything.

use cluster_conf::{Conf, Device};
use cluster_join::engine::Watchdog;
use fence::Action;
use nines_proto::ctl::{ErrorKind, Mode, Request, Value};

use crate::cluster::{Cluster, lock};
use crate::watchdog;

/// Every host has a watchdog, and a port on a storage switch.
fn unfencing(conf: &mut Conf) {
    watchdog(conf);
    let port = Device { name: "port".into(), agent: "fence_port".into(), attributes: vec![] };
    conf.nodes.iter_mut().for_each(|node| node.unfence = vec![port.clone()]);
}

fn waits(wait_ms: u64) -> Request {
    let (resource, note) = ("disk".into(), String::new());
    Request::Lock { resource, mode: Mode::Ex, wait_ms: Some(wait_ms), sticky: true, note, session: None }
}

fn notes(cluster: &mut Cluster, node: u64) -> Vec<(String, Option<String>)> {
    let Ok(Value::Status(status)) = cluster.call(node, 99, Request::Status) else { panic!() };
    status.notes.into_iter().map(|note| (note.what, note.command)).collect()
}

#[test]
fn a_host_unfences_itself_when_it_has_joined_and_is_granted_nothing_before_that() {
    let mut cluster = Cluster::new(3, unfencing);
    let (_, other, node) = cluster.roles();
    let job = cluster.hosts[&node].jobs[0].clone();
    assert!(matches!(job.action, Action::Unfence(_)) && job.node == format!("n{node}"), "{job:?}");
    cluster.ask(node, 1, lock(true));
    let refusal = cluster.call(node, 2, waits(0)).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.message.as_str()),
        (ErrorKind::Busy, "disk: this host is not unfenced: its agents run")
    );
    cluster.pass(30_000);
    assert_eq!(cluster.hosts[&node].jobs.len(), 1, "one job at a time");
    assert!(notes(&mut cluster, node).is_empty());
    cluster.end_job(node, false);
    let (what, command) = notes(&mut cluster, node).remove(0);
    assert_eq!(what, "this host is not unfenced, so nothing is granted to it: said so");
    assert_eq!(command, Some(format!("on another member: cluster-fence unfence n{node}")));
    let again = cluster.until(5000, |cluster| !cluster.hosts[&node].jobs.is_empty());
    assert!((2900..3200).contains(&again), "{again} ms instead of override_time");
    assert!(!cluster.answered(node, 1) && cluster.hosts[&node].orders.is_empty(), "armed for nothing");
    cluster.end_job(node, true);
    cluster.until(1000, |cluster| cluster.answered(node, 1));
    assert!(matches!(cluster.hosts[&node].orders[0].1, Watchdog::Arm { .. }));
    assert!(notes(&mut cluster, node).is_empty());
    let log: Vec<_> = cluster.engine(other).state().audit.after(0).map(|record| record.kind.clone()).collect();
    assert!(log.contains(&"unfenced".to_owned()), "{log:?}");
    cluster.pass(30_000);
    assert!(cluster.hosts[&node].jobs.is_empty());
}

#[test]
fn a_host_that_another_one_unfences_is_granted_locks_as_well() {
    let mut cluster = Cluster::new(3, unfencing);
    let (_, other, node) = cluster.roles();
    cluster.end_job(other, true);
    cluster.end_job(node, false);
    cluster.ask(node, 1, lock(true));
    cluster.ask(other, 2, Request::Unfence { node: format!("n{node}") });
    cluster.until(1000, |cluster| !cluster.hosts[&other].jobs.is_empty());
    cluster.end_job(other, true);
    cluster.until(1000, |cluster| cluster.answered(node, 1) && cluster.answered(other, 2));
    cluster.pass(10_000);
    assert!(cluster.hosts[&node].jobs.is_empty(), "it has its access already");
}

#[test]
fn who_waits_for_a_host_to_be_unfenced_waits_no_longer_than_it_said() {
    let mut cluster = Cluster::new(3, unfencing);
    let (_, _, node) = cluster.roles();
    cluster.ask(node, 1, waits(2000));
    let waited = cluster.until(3000, |cluster| cluster.answered(node, 1));
    assert!((1900..2300).contains(&waited), "{waited} ms");
    cluster.ask(node, 2, waits(60_000));
    let cancelled = cluster.call(node, 3, Request::Cancel { call: 2 });
    assert!(matches!(cancelled, Ok(Value::Done {})), "{cancelled:?}");
    assert!(cluster.answered(node, 2));
}

#[test]
fn who_waits_for_a_lease_waits_no_longer_than_it_said() {
    let mut cluster = Cluster::new(3, watchdog);
    let (_, _, node) = cluster.roles();
    cluster.isolate(node);
    cluster.pass(3000);
    cluster.ask(node, 1, waits(2000));
    let waited = cluster.until(3000, |cluster| cluster.answered(node, 1));
    assert!((1900..2300).contains(&waited), "{waited} ms");
}
