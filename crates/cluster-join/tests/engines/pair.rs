//! Two nodes, of which one goes on without the other.

use cluster_join::engine::Event;
use fence::{Action as Do, End};
use nines_proto::ctl::{ErrorKind, FenceOperation, KeyOwner, MemberState, Mode, Request, Value};

use crate::world::{World, text};

fn pair_file(fenced: bool) -> String {
    let extra = "<cman two_node=\"1\" expected_votes=\"1\"/>\
        <fencedevices><fencedevice name=\"power\" agent=\"fence_x\"/></fencedevices>";
    let method = "><fence><method name=\"1\"><device name=\"power\"/></method></fence>";
    text(1, &[1, 2], extra, |_| if fenced { method.into() } else { ">".into() })
}

fn pair(fenced: bool) -> World {
    let mut world = World::new(&pair_file(fenced), &[1, 2]);
    world.quorate(&[1, 2]);
    world.wait(1);
    world
}

fn lock(world: &mut World, id: u64, resource: &str) -> Result<Value, nines_proto::ctl::Failure> {
    let (resource, note) = (resource.to_owned(), String::new());
    let request = Request::Lock { resource, mode: Mode::Ex, wait_ms: Some(0), sticky: true, session: None, note };
    world.call(id, request)
}

fn pending(world: &mut World, id: u64) -> FenceOperation {
    match world.call(id, Request::Fences) {
        Ok(Value::Fences(fences)) => fences.pending.into_iter().next().expect("nothing is pending"),
        other => panic!("{other:?}"),
    }
}

fn acknowledge(world: &mut World, id: u64, newest: bool) -> Result<Value, nines_proto::ctl::Failure> {
    let FenceOperation { operation, node, incarnation, .. } = pending(world, id);
    world.call(id, Request::FenceAck { node, operation, incarnation, newest })
}

fn done(world: &mut World) {
    let (id, job) = world.jobs.pop().unwrap();
    assert!(matches!(job.action, Do::Fence(_)) && job.number >= 1 << 63);
    let end = End::Done { method: "1".into(), what: "off".into() };
    world.tell(id, Event::Fenced { number: job.number, end });
}

#[test]
fn either_node_goes_on_alone_after_the_other_was_fenced_and_takes_it_back_later() {
    for victim in [1, 2] {
        let survivor = 3 - victim;
        let mut world = pair(true);
        lock(&mut world, victim, "held").unwrap();
        lock(&mut world, survivor, "mine").unwrap();
        world.crash(victim);
        let crashed = world.now;
        world.until("a fencing", |world| !world.jobs.is_empty());
        // The node with the lower id begins at once, the other one lets it.
        let waited = world.now - crashed;
        assert!(if survivor == 1 { waited < 2000 } else { (6000..7500).contains(&waited) }, "{waited} ms");
        let reason = world.status(survivor).reason.unwrap();
        assert!(reason.contains("is being fenced"), "{reason}");
        assert_eq!(lock(&mut world, survivor, "held").unwrap_err().kind, ErrorKind::Inquorate);
        done(&mut world);
        world.quorate(&[survivor]);
        world.until("recovery", |world| lock(world, survivor, "held").is_ok());
        let kinds: Vec<String> =
            world.engine(survivor).state().audit.after(0).map(|record| record.kind.clone()).collect();
        assert!(
            ["forced", "fenced", "recovered"].iter().all(|kind| kinds.iter().any(|other| other == kind)),
            "{kinds:?}"
        );
        // A reboot of the survivor changes nothing.
        world.crash(survivor);
        world.start(survivor);
        world.quorate(&[survivor]);
        world.wait(2);
        assert!(world.jobs.is_empty());
        // The other one is back with its old log, which it drops.
        world.start(victim);
        world.voters(&[1, 2]);
        assert!(world.hosts[&victim].lines.iter().any(|line| line.contains("log is dropped")));
        assert_eq!(world.engine(1).state(), world.engine(2).state());
        assert_eq!(world.state_of(1, victim), Some(MemberState::Member));
        // And now the other way round.
        world.wait(1);
        world.crash(survivor);
        world.until("a fencing", |world| !world.jobs.is_empty());
        done(&mut world);
        world.quorate(&[victim]);
        assert_eq!(world.engine(victim).state().forced, (2, victim));
        world.start(survivor);
        world.voters(&[1, 2]);
    }
}

#[test]
fn a_failed_or_missing_fence_leaves_it_to_a_person() {
    let mut world = pair(true);
    world.crash(2);
    for _ in 0..3 {
        world.until("a fencing", |world| !world.jobs.is_empty());
        let (id, job) = world.jobs.pop().unwrap();
        world.tell(id, Event::Fenced { number: job.number, end: End::Failed { what: "fence_x exited 1".into() } });
    }
    let reason = world.status(1).reason.unwrap();
    assert!(reason.contains("not fenced after 3 attempts (fence_x exited 1)"), "{reason}");
    assert!(reason.contains("cluster-fence --ack n2"), "{reason}");
    let operation = pending(&mut world, 1);
    let wrong = Request::FenceAck { node: "n2".into(), operation: operation.operation, incarnation: 7, newest: false };
    assert_eq!(world.call(1, wrong).unwrap_err().kind, ErrorKind::Changed);
    acknowledge(&mut world, 1, false).unwrap();
    world.quorate(&[1]);

    let mut world = pair(false);
    world.crash(1);
    world.wait(10);
    assert!(world.jobs.is_empty());
    assert!(world.status(2).reason.unwrap().contains("has no fence method"));
    acknowledge(&mut world, 2, false).unwrap();
    world.quorate(&[2]);
}

#[test]
fn a_node_that_starts_alone_goes_on_only_by_a_persons_word() {
    let mut world = pair(true);
    lock(&mut world, 1, "held").unwrap();
    world.crash(1);
    world.crash(2);
    world.start(2);
    world.wait(30);
    assert!(world.jobs.is_empty() && !world.status(2).quorate);
    assert!(world.status(2).reason.unwrap().contains("it may have gone on without this node"));
    let failure = acknowledge(&mut world, 2, false).unwrap_err();
    assert!(failure.message.contains("--i-am-the-newest"), "{}", failure.message);
    acknowledge(&mut world, 2, true).unwrap();
    world.quorate(&[2]);
    world.until("recovery", |world| lock(world, 2, "held").is_ok());
}

#[test]
fn a_stale_node_that_starts_alone_gets_nowhere_and_follows_when_the_other_is_back() {
    for late_ends in [false, true] {
        stale_node_returns(late_ends);
    }
}

fn stale_node_returns(late_ends: bool) {
    let mut world = pair(true);
    world.late_ends = late_ends;
    world.crash(2);
    world.until("a fencing", |world| !world.jobs.is_empty());
    done(&mut world);
    world.quorate(&[1]);
    let (key, value) = ("since".to_owned(), "alone".to_owned());
    world.call(1, Request::Put { key, value, if_revision: None, owner: KeyOwner::Cluster }).unwrap();
    world.crash(1);
    world.start(2);
    world.wait(20);
    assert!(!world.status(2).quorate && world.jobs.is_empty());
    world.start(1);
    world.voters(&[1, 2]);
    assert!(world.hosts[&2].lines.iter().any(|line| line.contains("log is dropped")));
    let found = world.call(2, Request::Get { key: "since".into(), stale: false }).unwrap();
    assert!(matches!(found, Value::Key { entry: Some(entry), .. } if entry.value == "alone"));
}

#[test]
fn a_peer_that_is_heard_again_before_it_was_fenced_is_a_member_as_before() {
    let mut world = pair(true);
    world.cut(1, 2);
    world.until("a fencing", |world| !world.jobs.is_empty());
    world.mend();
    world.quorate(&[1, 2]);
    done(&mut world);
    world.wait(3);
    world.voters(&[1, 2]);
    assert_eq!(world.engine(1).state().forced, (0, 0));
}

#[test]
fn who_crashes_after_the_decision_and_before_its_effect_carries_it_out_at_its_next_start() {
    let mut world = pair(true);
    world.crash(2);
    world.until("a fencing", |world| !world.jobs.is_empty());
    let before = (world.hosts[&1].snapshot.clone(), world.hosts[&1].log.clone());
    done(&mut world);
    world.crash(1);
    // Only the identity was written.
    let host = world.hosts.get_mut(&1).unwrap();
    assert_eq!(host.identity.as_ref().map(|identity| identity.forced.epoch), Some(1));
    (host.snapshot, host.log) = before;
    world.start(1);
    world.quorate(&[1]);
    assert_eq!(world.engine(1).state().forced, (1, 1));
}

#[test]
fn one_of_two_leaves_and_the_other_goes_on_at_once() {
    for leaver in [1, 2] {
        let mut world = pair(true);
        world.call(leaver, Request::Leave { remove: false, force: false }).unwrap();
        world.until("it ends", |world| !world.runs(leaver));
        let other = 3 - leaver;
        world.voters(&[other]);
        lock(&mut world, other, "r").unwrap();
        world.wait(10);
        assert!(world.jobs.is_empty());
        world.start(leaver);
        world.voters(&[1, 2]);
    }
}

#[test]
fn both_went_on_alone_and_neither_believes_the_other() {
    let mut world = pair(false);
    world.cut(1, 2);
    world.wait(10);
    acknowledge(&mut world, 1, false).unwrap();
    acknowledge(&mut world, 2, false).unwrap();
    world.quorate(&[1, 2]);
    world.mend();
    world.wait(5);
    assert!(world.refused[&(1, 2)].contains("went on alone, and so did this node"), "{:?}", world.refused);
}
