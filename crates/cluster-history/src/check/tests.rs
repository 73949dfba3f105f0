use nines_proto::ctl::{ErrorKind, Mode};

use super::*;
use crate::record::Operation;

/// A client's operation on the lock or key `r`: from, to (0: no answer), what and the answer.
type Row = (usize, u64, u64, u64, Asked, Option<Answered>);

/// The history of clients that all live to its end.
fn history(mut rows: Vec<Row>) -> History {
    let clients = rows.iter().map(|row| row.0).max().map_or(0, |most| most + 1);
    for client in 0..clients {
        let last = rows.iter().filter(|row| row.0 == client).map(|row| (row.1, row.4 == Asked::Close)).max();
        if let Some((session, false)) = last {
            rows.push((client, session, 1_000_000_000, 0, Asked::Close, None));
        }
    }
    killed(rows)
}

/// The history of clients of which those that do not close were killed.
fn killed(rows: Vec<Row>) -> History {
    let clients = rows.iter().map(|row| row.0).max().map_or(0, |most| most + 1);
    let operation = |(client, session, called, returned, asked, answered): Row| Operation {
        client,
        session,
        called: called * 1_000_000,
        asked,
        answered: answered.map(|answered| (returned * 1_000_000, answered)),
    };
    let mut operations: Vec<Operation> = rows.into_iter().map(operation).collect();
    operations.sort_by_key(|operation| (operation.client, operation.called));
    History { clients: (0..clients).map(|client| format!("c{client}")).collect(), operations }
}

fn lock(mode: Mode) -> Asked {
    Asked::Lock { resource: "r".into(), mode, wait: true }
}

fn try_lock(mode: Mode) -> Asked {
    Asked::Lock { resource: "r".into(), mode, wait: false }
}

fn convert(mode: Mode) -> Asked {
    Asked::Convert { resource: "r".into(), mode, wait: true }
}

fn unlock() -> Asked {
    Asked::Unlock { resource: "r".into() }
}

fn put(value: &str, if_revision: Option<u64>) -> Asked {
    Asked::Put { key: "r".into(), value: value.into(), if_revision }
}

fn get() -> Asked {
    Asked::Get { key: "r".into() }
}

#[allow(clippy::unnecessary_wraps)] // as the rows have it
fn granted(generation: u64) -> Option<Answered> {
    Some(Answered::Granted { generation })
}

#[allow(clippy::unnecessary_wraps)] // as the rows have it
fn refused(kind: ErrorKind) -> Option<Answered> {
    Some(Answered::Refused(kind))
}

#[allow(clippy::unnecessary_wraps)] // as the rows have it
fn wrote(revision: u64) -> Option<Answered> {
    Some(Answered::Wrote { revision })
}

#[allow(clippy::unnecessary_wraps)] // as the rows have it
fn seen(revision: u64, entry: Option<(&str, u64)>) -> Option<Answered> {
    Some(Answered::Seen { revision, entry: entry.map(|(value, of)| (value.into(), of)) })
}

const DONE: Option<Answered> = Some(Answered::Done);
use Mode::{Cr, Cw, Ex, Pr, Pw};

#[track_caller]
fn good(rows: Vec<Row>) {
    let history = history(rows);
    let report = check(&history);
    assert_eq!(report.verdict(), Verdict::Good, "{}", report.text(&history));
}

/// The subjects of the violations.
#[track_caller]
fn bad(rows: Vec<Row>) -> Vec<String> {
    let history = history(rows);
    let report = check(&history);
    assert_eq!(report.verdict(), Verdict::Bad, "{}", report.text(&history));
    report.violations.into_iter().map(|violation| violation.subject).collect()
}

#[test]
fn turns_one_after_another_are_good() {
    good(vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (1, 1, 5, 25, lock(Ex), granted(2)),
        (0, 1, 15, 20, unlock(), DONE),
        (1, 1, 30, 40, unlock(), DONE),
        (0, 1, 35, 50, lock(Pr), granted(3)),
        (1, 1, 45, 52, lock(Pr), granted(4)),
        (2, 1, 46, 53, lock(Cr), granted(5)),
    ]);
}

#[test]
fn two_exclusive_holders_are_found() {
    let rows = vec![(0, 1, 0, 10, lock(Ex), granted(1)), (1, 1, 5, 25, lock(Ex), granted(2))];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn modes_exclude_as_the_table_says() {
    for first in Mode::ALL {
        for second in Mode::ALL {
            let rows = vec![(0, 1, 0, 10, lock(first), granted(1)), (1, 1, 5, 25, lock(second), granted(2))];
            if first.compatible(second) { good(rows) } else { drop(bad(rows)) }
        }
    }
}

#[test]
fn the_order_of_grants_is_their_generations_not_their_answers() {
    // The unlock between the two had time enough only in one order.
    good(vec![
        (0, 1, 0, 30, lock(Ex), granted(1)),
        (1, 1, 0, 90, lock(Ex), granted(2)),
        (0, 1, 40, 50, unlock(), DONE),
    ]);
    let rows =
        vec![(0, 1, 0, 30, lock(Ex), granted(2)), (1, 1, 0, 90, lock(Ex), granted(1)), (0, 1, 40, 50, unlock(), DONE)];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn an_unlock_without_an_answer_may_have_happened_later_or_never() {
    good(vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (0, 1, 20, 0, unlock(), None),
        (1, 1, 25, 900, lock(Ex), granted(2)),
        (2, 1, 30, 31, try_lock(Ex), refused(ErrorKind::Busy)),
    ]);
    // But not before it was asked.
    let rows =
        vec![(0, 1, 0, 10, lock(Ex), granted(1)), (1, 1, 12, 18, lock(Ex), granted(2)), (0, 1, 20, 0, unlock(), None)];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn a_closed_connection_frees_but_not_before_it_closes() {
    good(vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (0, 1, 20, 0, Asked::Close, None),
        (1, 1, 12, 30, lock(Ex), granted(2)),
        (0, 2, 25, 60, lock(Pr), granted(3)),
        (1, 1, 40, 50, unlock(), DONE),
    ]);
    let rows = vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (0, 1, 20, 0, Asked::Close, None),
        (1, 1, 12, 19, lock(Ex), granted(2)),
    ];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn a_client_that_was_killed_holds_until_it_was_last_heard_of_at_least() {
    let verdict = |heard: u64| {
        let other = || Asked::Lock { resource: "other".into(), mode: Pr, wait: false };
        let rows = vec![
            (0, 1, 0, 10, lock(Ex), granted(1)),
            (0, 1, heard, heard, other(), refused(ErrorKind::Inquorate)),
            (1, 1, 5, 30, lock(Ex), granted(2)),
        ];
        check(&killed(rows)).verdict()
    };
    assert_eq!((verdict(25), verdict(40)), (Verdict::Good, Verdict::Bad));
}

#[test]
fn conversions_go_up_when_alone_and_down_at_any_time() {
    good(vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (0, 1, 20, 30, convert(Pr), granted(2)),
        (1, 1, 5, 35, lock(Pr), granted(3)),
        (1, 1, 40, 60, unlock(), DONE),
        (0, 1, 50, 70, convert(Ex), granted(4)),
    ]);
    let rows = vec![
        (0, 1, 0, 10, lock(Pr), granted(1)),
        (1, 1, 5, 15, lock(Pr), granted(2)),
        (0, 1, 20, 30, convert(Pw), granted(3)),
    ];
    assert_eq!(bad(rows), ["lock r"]);
    // Unheard, down, and so nobody was wronged.
    good(vec![
        (0, 1, 0, 10, lock(Ex), granted(1)),
        (0, 1, 20, 0, convert(Cr), None),
        (1, 1, 21, 35, lock(Cw), granted(3)),
    ]);
}

#[test]
fn a_refusal_needs_somebody_in_the_way() {
    let rows = vec![(0, 1, 0, 10, try_lock(Ex), refused(ErrorKind::Busy))];
    assert_eq!(bad(rows), ["lock r"]);
    good(vec![
        (0, 1, 0, 10, lock(Pr), granted(1)),
        (1, 1, 20, 30, try_lock(Ex), refused(ErrorKind::Busy)),
        (0, 1, 25, 35, unlock(), DONE),
    ]);
    let rows = vec![
        (0, 1, 0, 10, lock(Pr), granted(1)),
        (0, 1, 15, 18, unlock(), DONE),
        (1, 1, 20, 30, try_lock(Ex), refused(ErrorKind::Busy)),
    ];
    assert_eq!(bad(rows), ["lock r"]);
    // One that waits in vain stands in the way of others until it is certainly gone.
    good(vec![
        (0, 1, 0, 10, lock(Pr), granted(1)),
        (2, 1, 5, 19, lock(Ex), refused(ErrorKind::Timeout)),
        (1, 1, 20, 30, try_lock(Pr), refused(ErrorKind::Busy)),
        (2, 1, 35, 40, lock(Pr), granted(2)),
    ]);
    let rows = vec![
        (0, 1, 0, 10, lock(Pr), granted(1)),
        (2, 1, 5, 19, lock(Ex), refused(ErrorKind::Timeout)),
        (2, 1, 35, 40, lock(Pr), granted(2)),
        (1, 1, 50, 60, try_lock(Pr), refused(ErrorKind::Busy)),
    ];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn a_lock_must_not_vanish_under_its_holder() {
    let rows = vec![(0, 1, 0, 10, lock(Pw), granted(1)), (0, 1, 20, 30, unlock(), refused(ErrorKind::NotHeld))];
    assert_eq!(bad(rows), ["lock r"]);
}

#[test]
fn generations_grow_across_resources() {
    let other = || Asked::Lock { resource: "other".into(), mode: Ex, wait: true };
    let rows = vec![(0, 1, 0, 10, lock(Ex), granted(5)), (1, 1, 20, 30, other(), granted(4))];
    assert_eq!(bad(rows), ["generations"]);
    let rows = vec![(0, 1, 0, 10, lock(Ex), granted(5)), (1, 1, 5, 30, other(), granted(5))];
    assert_eq!(bad(rows), ["generations"]);
    good(vec![(0, 1, 0, 10, lock(Ex), granted(5)), (1, 1, 9, 30, other(), granted(4))]);
}

#[test]
fn a_register_is_read_as_it_was_last_written() {
    good(vec![
        (0, 1, 0, 5, get(), seen(0, None)),
        (0, 1, 6, 10, put("a", Some(0)), wrote(1)),
        (1, 1, 7, 20, put("b", Some(0)), refused(ErrorKind::Changed)),
        (1, 1, 25, 30, put("c", Some(1)), wrote(2)),
        (0, 1, 26, 40, get(), seen(2, Some(("c", 2)))),
        (2, 1, 28, 29, get(), seen(1, Some(("a", 1)))),
    ]);
    let stale = vec![
        (0, 1, 0, 10, put("a", None), wrote(1)),
        (0, 1, 20, 30, put("b", None), wrote(2)),
        (1, 1, 40, 50, get(), seen(2, Some(("a", 1)))),
    ];
    assert_eq!(bad(stale), ["key r"]);
    let both = vec![
        (0, 1, 0, 10, put("a", None), wrote(1)),
        (0, 1, 20, 30, put("b", Some(1)), wrote(2)),
        (1, 1, 20, 30, put("c", Some(1)), wrote(3)),
    ];
    assert_eq!(bad(both), ["key r"]);
}

#[test]
fn a_write_without_an_answer_is_seen_once_or_not_at_all() {
    let begin = || {
        vec![
            (0, 1, 0, 10, put("a", None), wrote(1)),
            (0, 1, 20, 0, put("b", Some(1)), None),
            (0, 2, 30, 40, get(), seen(1, Some(("a", 1)))),
        ]
    };
    good(begin());
    let mut rows = begin();
    rows.push((1, 1, 50, 60, get(), seen(2, Some(("b", 2)))));
    good(rows.clone());
    rows.push((1, 1, 70, 80, get(), seen(2, Some(("a", 1)))));
    assert_eq!(bad(rows), ["key r"]);
    // Not seen, and yet the reason that a condition was not met.
    let mut rows = begin();
    rows.push((1, 1, 50, 60, put("c", Some(1)), refused(ErrorKind::Changed)));
    good(rows);
}

#[test]
fn a_deleted_key_is_gone() {
    let delete = || Asked::Delete { key: "r".into(), if_revision: None };
    good(vec![
        (0, 1, 0, 10, put("a", None), wrote(1)),
        (0, 1, 20, 30, delete(), wrote(2)),
        (0, 1, 40, 50, delete(), refused(ErrorKind::Unknown)),
        (0, 1, 60, 70, get(), seen(2, None)),
    ]);
    let rows = vec![
        (0, 1, 0, 10, put("a", None), wrote(1)),
        (0, 1, 20, 30, delete(), wrote(2)),
        (1, 1, 60, 70, get(), seen(2, Some(("a", 1)))),
    ];
    assert_eq!(bad(rows), ["key r"]);
}

/// A long history of `clients` that take turns, some at once, some unheard, ended by `last`.
fn long(count: u64, last: Option<Row>) -> History {
    let mut rows = Vec::new();
    let (mut now, mut generation) = (0, 0);
    while (rows.len() as u64) < count {
        // Eight readers together, whose answers overtake each other, then one writer.
        for reader in 0..8usize {
            let order = (reader as u64 * 5) % 8;
            let begun = now + reader as u64;
            let ended = now + 20 + order;
            rows.push((reader, 1 + now, begun, ended, lock(Pr), granted(generation + 1 + reader as u64)));
            let unlocked = if reader == 3 { None } else { DONE };
            rows.push((reader, 1 + now, now + 30 + order, now + 50 + order, unlock(), unlocked));
            rows.push((reader, 1 + now, now + 60, 0, Asked::Close, None));
        }
        rows.push((8, 1 + now, now + 5, now + 80, lock(Ex), granted(generation + 9)));
        rows.push((8, 1 + now, now + 81, now + 85, unlock(), DONE));
        (now, generation) = (now + 90, generation + 9);
    }
    if let Some((client, session, called, returned, asked, _)) = last {
        rows.push((client, session + now, now + called, now + returned, asked, granted(generation + 1)));
        rows.push((client + 1, session + now, now + called, now + returned, lock(Cw), granted(generation + 2)));
    }
    history(rows)
}

#[test]
fn a_hundred_thousand_operations_are_checked_to_the_end() {
    let history = long(100_000, None);
    let report = check(&history);
    assert_eq!(report.verdict(), Verdict::Good, "{}", report.text(&history));
}

#[test]
fn of_a_long_bad_history_only_what_is_wrong_is_shown() {
    let history = long(100_000, Some((10, 1, 1, 9, lock(Ex), None)));
    let report = check(&history);
    assert_eq!(report.verdict(), Verdict::Bad);
    assert_eq!(report.violations.len(), 1, "{}", report.text(&history));
    let shown: Vec<usize> = report.violations[0].window.iter().map(|id| history.operations[*id].client).collect();
    assert_eq!(shown, [10, 11], "{}", report.text(&history));
}
