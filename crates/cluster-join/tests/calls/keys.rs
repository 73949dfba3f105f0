use nines_proto::ctl::{ErrorKind, KeyEntry, KeyEvent, KeyOwner, Request, Value};

use crate::cluster::Cluster;

fn put(key: &str, value: &str) -> Request {
    Request::Put { key: key.into(), value: value.into(), if_revision: None, owner: KeyOwner::Cluster }
}

fn owned(key: &str, owner: KeyOwner) -> Request {
    Request::Put { key: key.into(), value: String::new(), if_revision: None, owner }
}

fn get(key: &str) -> Request {
    Request::Get { key: key.into(), stale: false }
}

fn watch(after: u64) -> Request {
    Request::Watch { prefix: "k".into(), after }
}

fn keys(cluster: &mut Cluster, node: u64) -> Vec<KeyEntry> {
    match cluster.call(node, Request::Keys { prefix: String::new(), stale: false }) {
        Ok(Value::Keys { entries, .. }) => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_node_wrote_every_node_reads() {
    let mut cluster = Cluster::new(3);
    assert_eq!(cluster.call(2, put("k", "1")), Ok(Value::Revision { revision: 1 }));
    for node in 1..=3 {
        let Ok(Value::Key { revision: 1, entry: Some(entry) }) = cluster.call(node, get("k")) else { panic!() };
        assert_eq!((entry.value.as_str(), entry.owner), ("1", None));
    }
    assert_eq!(cluster.call(1, get("none")), Ok(Value::Key { revision: 1, entry: None }));
    let taken = Request::Put { key: "k".into(), value: "2".into(), if_revision: Some(0), owner: KeyOwner::Cluster };
    assert_eq!(cluster.call(3, taken).unwrap_err().kind, ErrorKind::Changed);
    let delete = |if_revision| Request::Delete { key: "k".into(), if_revision };
    assert_eq!(cluster.call(1, delete(Some(1))), Ok(Value::Revision { revision: 2 }));
    assert_eq!(cluster.call(1, delete(None)).unwrap_err().kind, ErrorKind::Unknown);
}

#[test]
fn a_node_without_a_majority_reads_only_what_it_has_seen() {
    let mut cluster = Cluster::new(3);
    cluster.call(1, put("k", "1")).unwrap();
    cluster.settle();
    cluster.cut(2);
    cluster.settle();
    let other = if cluster.leader() == 1 { 3 } else { 1 };
    cluster.call(other, put("k", "2")).unwrap();
    assert_eq!(cluster.call(2, get("k")).unwrap_err().kind, ErrorKind::Inquorate);
    assert_eq!(cluster.call(2, put("k", "3")).unwrap_err().kind, ErrorKind::Inquorate);
    let stale = cluster.call(2, Request::Get { key: "k".into(), stale: true });
    assert!(matches!(stale, Ok(Value::Key { entry: Some(KeyEntry { revision: 1, .. }), .. })), "{stale:?}");
}

#[test]
fn keys_that_are_no_keys_and_values_that_are_too_long_are_refused() {
    let mut cluster = Cluster::new(1);
    for request in [put("", "1"), put("a b", "1"), put(&"k".repeat(256), "1"), put("k", &"v".repeat((16 << 10) + 1))] {
        assert_eq!(cluster.call(1, request).unwrap_err().kind, ErrorKind::Invalid);
    }
    cluster.call(1, put(&"k".repeat(255), &"v".repeat(16 << 10))).unwrap();
}

#[test]
fn a_key_goes_with_its_connection_and_a_hosts_key_stays() {
    let mut cluster = Cluster::new(3);
    cluster.ask(2, 7, 1, owned("mine", KeyOwner::Connection));
    cluster.ask(2, 7, 2, owned("ours", KeyOwner::Host));
    let entries = keys(&mut cluster, 1);
    assert_eq!(entries.iter().map(|entry| entry.owner.as_deref()).collect::<Vec<_>>(), [Some("n2"), Some("n2")]);
    cluster.close(2, 7);
    assert_eq!(keys(&mut cluster, 2).iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["ours"]);
    // A daemon that starts over ends its connections, not the boot of its host.
    cluster.ask(2, 8, 1, owned("mine", KeyOwner::Connection));
    cluster.settle();
    cluster.start(2);
    cluster.settle();
    assert_eq!(keys(&mut cluster, 1).iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["ours"]);
}

#[test]
fn a_watch_is_answered_at_once_or_when_there_is_something() {
    let mut cluster = Cluster::new(3);
    cluster.call(1, put("k1", "1")).unwrap();
    cluster.call(1, put("other", "1")).unwrap();
    let event =
        |key: &str, revision, value: Option<&str>| KeyEvent { key: key.into(), revision, value: value.map(Into::into) };
    cluster.settle();
    cluster.ask(3, 5, 1, watch(0));
    let events = vec![event("k1", 1, Some("1"))];
    assert_eq!(cluster.answer(3, 5, 1), Some(Ok(Value::Events { revision: 2, events })));
    cluster.ask(3, 5, 2, watch(2));
    cluster.call(1, put("unwatched", "1")).unwrap();
    cluster.settle();
    assert_eq!(cluster.answer(3, 5, 2), None);
    cluster.call(1, Request::Delete { key: "k1".into(), if_revision: None }).unwrap();
    cluster.settle();
    let events = vec![event("k1", 4, None)];
    assert_eq!(cluster.answer(3, 5, 2), Some(Ok(Value::Events { revision: 4, events })));
}

#[test]
fn a_watch_goes_on_over_a_change_of_leaders_and_a_snapshot_without_a_gap() {
    let mut cluster = Cluster::new(3);
    cluster.call(1, put("k", "0")).unwrap();
    cluster.settle();
    let leader = cluster.leader();
    let watcher = leader % 3 + 1;
    cluster.ask(watcher, 5, 1, watch(1));
    // First without the leader, which another one follows.
    cluster.cut(leader);
    cluster.settle();
    let third = 6 - leader - watcher;
    cluster.call(third, put("k", "1")).unwrap();
    cluster.settle();
    let Some(Ok(Value::Events { revision, events })) = cluster.answer(watcher, 5, 1) else { panic!() };
    assert_eq!((revision, events.len(), events[0].revision), (2, 1, 2));
    cluster.mend(leader);
    cluster.settle();
    // Then without the watcher, until only a snapshot helps it.
    cluster.ask(watcher, 5, 2, watch(revision));
    cluster.cut(watcher);
    cluster.settle();
    for round in 0..100 {
        cluster.call(third, put("k", &round.to_string())).unwrap();
    }
    cluster.mend(watcher);
    cluster.settle();
    let Some(Ok(Value::Events { revision, events })) = cluster.answer(watcher, 5, 2) else { panic!() };
    assert_eq!(revision, 102);
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), (3..=102).collect::<Vec<_>>());
    assert!(cluster.snapshots > 0);
}

#[test]
fn a_watch_that_is_too_far_behind_is_told_so() {
    let mut cluster = Cluster::new(1);
    for _ in 0..70 {
        cluster.call(1, put("k", &"v".repeat(16 << 10))).unwrap();
    }
    cluster.ask(1, 5, 1, watch(1));
    assert_eq!(cluster.answer(1, 5, 1).unwrap().unwrap_err().kind, ErrorKind::Gone);
}

#[test]
fn calls_that_wait_can_be_cancelled_and_end_with_their_connection() {
    let mut cluster = Cluster::new(1);
    cluster.ask(1, 5, 1, watch(0));
    cluster.ask(1, 5, 2, Request::Cancel { call: 1 });
    assert_eq!(cluster.answer(1, 5, 1).unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(cluster.answer(1, 5, 2), Some(Ok(Value::Done {})));
    cluster.ask(1, 5, 3, Request::Cancel { call: 1 });
    assert_eq!(cluster.answer(1, 5, 3).unwrap().unwrap_err().kind, ErrorKind::Unknown);
    // Another connection's calls are none of ours.
    cluster.ask(1, 5, 4, watch(0));
    cluster.ask(1, 6, 1, Request::Cancel { call: 4 });
    assert_eq!(cluster.answer(1, 6, 1).unwrap().unwrap_err().kind, ErrorKind::Unknown);
    cluster.close(1, 5);
    cluster.call(1, put("k", "1")).unwrap();
    assert_eq!(cluster.answer(1, 5, 4), None);
}

#[test]
fn too_many_watches_are_refused() {
    let mut cluster = Cluster::new(1);
    for id in 0..257 {
        cluster.ask(1, 5, id, watch(0));
    }
    assert_eq!(cluster.answer(1, 5, 256).unwrap().unwrap_err().kind, ErrorKind::Busy);
    for connection in 6..9 {
        for id in 0..256 {
            cluster.ask(1, connection, id, watch(0));
        }
    }
    cluster.ask(1, 9, 1, watch(0));
    assert_eq!(cluster.answer(1, 9, 1).unwrap().unwrap_err().kind, ErrorKind::Busy);
}

#[test]
fn a_put_whose_node_missed_its_decision_is_answered_with_what_was_decided() {
    let mut cluster = Cluster::new(3);
    cluster.call(1, put("k", "0")).unwrap();
    cluster.settle();
    let leader = cluster.leader();
    let (node, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // The proposal arrives, the news of its commitment does not.
    let lost = Request::Put { key: "k".into(), value: "mine".into(), if_revision: Some(1), owner: KeyOwner::Cluster };
    cluster.ask_and_cut(node, 5, 1, lost);
    cluster.settle();
    for round in 0..100 {
        cluster.call(other, put("k", &round.to_string())).unwrap();
    }
    cluster.mend(node);
    cluster.settle();
    assert_eq!(cluster.answer(node, 5, 1), Some(Ok(Value::Revision { revision: 2 })));
}

#[test]
fn the_audit_log_is_told_from_a_number_on_and_waits_for_more() {
    let mut cluster = Cluster::new(1);
    let log = |after, wait| Request::Log { after, wait };
    let last = cluster.engine(1).state().audit.last();
    let Ok(Value::Log(records)) = cluster.call(1, log(0, false)) else { panic!() };
    assert_eq!(records.len() as u64, last);
    assert_eq!(cluster.call(1, log(last, false)), Ok(Value::Log(vec![])));
    cluster.ask(1, 5, 1, log(last, true));
    assert_eq!(cluster.answer(1, 5, 1), None);
    cluster.ask(1, 5, 2, Request::Cancel { call: 1 });
    assert_eq!(cluster.answer(1, 5, 1).unwrap().unwrap_err().kind, ErrorKind::Cancelled);
}
