use nines_proto::ctl::{ErrorKind, Mode, Request, Value};

use crate::cluster::Cluster;

fn lock(mode: Mode, wait_ms: Option<u64>, session: Option<&str>) -> Request {
    Request::Lock {
        resource: "r".into(),
        mode,
        wait_ms,
        sticky: session.is_some(),
        session: session.map(Into::into),
        note: String::new(),
    }
}

fn unlock(value: Option<String>, session: Option<&str>) -> Request {
    Request::Unlock { resource: "r".into(), sticky: session.is_some(), session: session.map(Into::into), value }
}

fn generation(answer: Option<Result<Value, nines_proto::ctl::Failure>>) -> u64 {
    match answer {
        Some(Ok(Value::Granted { generation, .. })) => generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waiting_lock_call_that_is_cancelled_lets_the_next_one_pass() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, 5, 1, lock(Mode::Pr, None, None));
    generation(cluster.answer(1, 5, 1));
    cluster.ask(2, 5, 1, lock(Mode::Ex, None, None));
    cluster.ask(3, 5, 1, lock(Mode::Pr, None, None));
    cluster.settle();
    assert_eq!(cluster.answer(3, 5, 1), None);
    cluster.ask(2, 5, 2, Request::Cancel { call: 1 });
    assert_eq!(cluster.answer(2, 5, 1).unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(cluster.answer(2, 5, 2), Some(Ok(Value::Done {})));
    cluster.settle();
    generation(cluster.answer(3, 5, 1));
    // What was granted is not cancelled, and what gives up rights cannot be.
    cluster.ask(3, 5, 2, Request::Cancel { call: 1 });
    assert_eq!(cluster.answer(3, 5, 2).unwrap().unwrap_err().kind, ErrorKind::Unknown);
}

#[test]
fn a_session_has_its_lock_again_after_its_daemon_started_over() {
    let mut cluster = Cluster::new(3);
    let taken = cluster.call(2, lock(Mode::Ex, Some(0), Some("backup"))).unwrap();
    assert_eq!(cluster.call(2, lock(Mode::Ex, Some(0), Some("other"))).unwrap_err().kind, ErrorKind::Busy);
    let busy = cluster.call(1, lock(Mode::Ex, Some(0), None)).unwrap_err();
    assert_eq!(busy.holders[0].session.as_deref(), Some("backup"));
    cluster.settle();
    cluster.start(2);
    cluster.settle();
    assert_eq!(cluster.call(2, lock(Mode::Ex, Some(0), Some("backup"))), Ok(taken));
    assert_eq!(cluster.call(2, unlock(None, None)).unwrap_err().kind, ErrorKind::NotHeld);
    cluster.call(2, unlock(None, Some("backup"))).unwrap();
    cluster.call(1, lock(Mode::Ex, Some(0), None)).unwrap();
}

#[test]
fn a_value_block_travels_with_the_lock_and_is_in_doubt_after_a_death() {
    let mut cluster = Cluster::new(3);
    let digits = "0123456789ABCDEF".repeat(4);
    cluster.ask(1, 5, 1, lock(Mode::Nl, None, None));
    cluster.ask(2, 5, 1, lock(Mode::Ex, None, None));
    cluster.ask(2, 5, 2, unlock(Some(digits.clone()), None));
    cluster.settle();
    assert_eq!(cluster.answer(2, 5, 2), Some(Ok(Value::Done {})));
    let told = |cluster: &mut Cluster, node, connection| {
        cluster.ask(node, connection, 1, lock(Mode::Pw, None, None));
        cluster.settle();
        let Some(Ok(Value::Granted { value, .. })) = cluster.answer(node, connection, 1) else { panic!() };
        value
    };
    assert_eq!(told(&mut cluster, 3, 6), Some((digits.to_lowercase(), true)));
    cluster.close(3, 6);
    cluster.settle();
    assert_eq!(told(&mut cluster, 2, 7), Some((digits.to_lowercase(), false)));
    for value in ["", "00", &"0".repeat(63), &"g".repeat(64)] {
        cluster.ask(2, 7, 3, unlock(Some(value.into()), None));
        assert_eq!(cluster.answer(2, 7, 3).unwrap().unwrap_err().kind, ErrorKind::Invalid, "`{value}'");
    }
}

#[test]
fn two_readers_on_two_nodes_that_both_want_to_write_are_told_at_once() {
    let mut cluster = Cluster::new(3);
    let convert = Request::Convert {
        resource: "r".into(),
        mode: Mode::Ex,
        wait_ms: None,
        sticky: false,
        session: None,
        value: None,
    };
    for node in [1, 2] {
        cluster.ask(node, 5, 1, lock(Mode::Pr, None, None));
    }
    cluster.settle();
    cluster.ask(1, 5, 2, convert.clone());
    cluster.settle();
    cluster.ask(2, 5, 2, convert);
    cluster.settle();
    let refused = cluster.answer(2, 5, 2).unwrap().unwrap_err();
    assert_eq!((refused.kind, refused.holders[0].node.as_str()), (ErrorKind::Deadlock, "n1"));
    cluster.ask(2, 5, 3, unlock(None, None));
    cluster.settle();
    generation(cluster.answer(1, 5, 2));
}

#[test]
fn log_snapshot_and_state_do_not_grow_with_the_number_of_locks_there_were() {
    let mut cluster = Cluster::new(3);
    let mut sizes = Vec::new();
    for round in 0..3000 {
        cluster.ask(2, 5, 2 * round, lock(Mode::Ex, None, None));
        generation(cluster.answer(2, 5, 2 * round));
        cluster.ask(2, 5, 2 * round + 1, unlock(None, None));
        assert_eq!(cluster.answer(2, 5, 2 * round + 1), Some(Ok(Value::Done {})));
        if round % 500 == 499 {
            // A generation has a digit more now and then.
            sizes.push(cluster.engine(2).state().encode().unwrap().len() / 16);
        }
        for node in 1..=3 {
            let (log, snapshot) = cluster.disk(node);
            assert!(log < 64 << 10 && snapshot < 8 << 10, "round {round}: log {log}, snapshot {snapshot} bytes");
        }
    }
    sizes.dedup();
    assert!(sizes.len() <= 2, "{sizes:?}");
}
