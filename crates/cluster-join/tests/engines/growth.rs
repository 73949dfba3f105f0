//! The configuration changes, and the voters follow it.

use nines_proto::ctl::{ErrorKind, MemberState, Mode, Request, Role, Value};

use crate::world::{World, plain, text};

fn lock(resource: &str, sticky: bool) -> Request {
    let (resource, note) = (resource.to_owned(), String::new());
    Request::Lock { resource, mode: Mode::Ex, wait_ms: Some(0), sticky, session: None, note }
}

fn leave(remove: bool, force: bool) -> Request {
    Request::Leave { remove, force }
}

/// Adds `id` to a running cluster: the update first, then the new host with the same file.
fn add(world: &mut World, version: u32, ids: &[u64], id: u64) {
    world.update(1, plain(version, ids)).unwrap();
    world.install(id, &plain(version, ids));
    world.start(id);
}

#[test]
fn one_node_grows_to_three_and_to_nine_of_which_seven_vote() {
    let mut world = World::new(&plain(1, &[1]), &[1]);
    world.quorate(&[1]);
    world.call(1, lock("r", true)).unwrap();
    for count in 2..=9 {
        let ids: Vec<u64> = (1..=count).collect();
        add(&mut world, u32::try_from(count).unwrap(), &ids, count);
        if count <= 7 {
            world.voters(&ids);
        }
    }
    world.until("nine members", |world| {
        let members = world.status(9).members;
        members.iter().filter(|member| member.state == MemberState::Member).count() == 9
    });
    world.voters(&[1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(world.status(1).members[8].role, Role::Learner);
    for id in 1..=9 {
        assert_eq!(world.hosts[&id].file, plain(9, &(1..=9).collect::<Vec<_>>()), "node {id}");
        assert_eq!(world.engine(id).state(), world.engine(1).state());
    }
    // A voter that leaves gives its vote to one that follows; one that is lost for long as well.
    world.call(3, leave(false, false)).unwrap();
    world.voters(&[1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(world.state_of(1, 3), Some(MemberState::Left));
    world.crash(5);
    world.voters(&[1, 2, 4, 6, 7, 8, 9]);
    // Both come back as what is free.
    world.start(5);
    world.start(3);
    world.until("members again", |world| [3, 5].iter().all(|id| world.state_of(1, *id) == Some(MemberState::Member)));
    world.voters(&[1, 2, 4, 6, 7, 8, 9]);
}

#[test]
fn nine_nodes_shrink_to_one_with_whoever_leads_among_those_removed() {
    let ids: Vec<u64> = (1..=9).collect();
    let mut world = World::new(&plain(1, &ids), &ids);
    world.quorate(&ids);
    let leader = world.leader().unwrap();
    let less: Vec<u64> = ids.iter().copied().filter(|id| *id != leader).take(3).collect();
    world.update(leader, plain(2, &less)).unwrap();
    world.voters(&less);
    world.until("the others end", |world| world.running() == less);
    for id in ids.iter().filter(|id| !less.contains(id)) {
        let why = world.hosts[id].exit.clone().unwrap();
        assert!(why.contains("configuration 2 has this node no more"), "node {id}: {why}");
    }
    let last = less[1];
    world.update(less[0], plain(3, &[last])).unwrap();
    world.until("alone", |world| world.running() == [last]);
    world.voters(&[last]);
    world.call(last, lock("r", false)).unwrap();
}

#[test]
fn a_node_is_replaced_while_it_is_down_and_stays_out_when_it_comes_back() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.voters(&[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    world.crash(3);
    world.until("3 is lost", |world| world.state_of(1, 3) == Some(MemberState::Lost));
    let nodes = world.update(1, plain(2, &[1, 2, 4])).unwrap();
    let stored: Vec<(bool, &str)> = nodes.iter().map(|node| (node.stored, node.why.as_str())).collect();
    assert_eq!(stored, [(true, ""), (true, ""), (false, "not a member yet")]);
    world.install(4, &plain(2, &[1, 2, 4]));
    world.start(4);
    world.voters(&[1, 2, 4]);
    // The old one knows nothing of that: nobody listens to it, and it is told why.
    world.start(3);
    world.wait(5);
    assert!(!world.status(3).quorate);
    assert!(world.refused[&(1, 3)].contains("not in cluster.conf (version 2"), "{:?}", world.refused);
    // It is wanted again, with its old log: it stays out, and a note says what to do.
    world.end(3);
    world.update(1, plain(3, &[1, 2, 3, 4])).unwrap();
    let identity = world.hosts[&3].identity.clone();
    world.hosts.get_mut(&3).unwrap().file = plain(3, &[1, 2, 3, 4]);
    world.start(3);
    world.wait(5);
    assert_ne!(world.state_of(1, 3), Some(MemberState::Member));
    let notes = world.status(1).notes;
    assert!(
        notes.iter().any(|note| note.what.contains("n3: its log is of a node that version 2 removed")),
        "{notes:?}"
    );
    assert_eq!(
        identity.map(|identity| identity.store),
        world.hosts[&3].identity.clone().map(|identity| identity.store)
    );
    // With an empty state directory it is a new node.
    world.end(3);
    world.install(3, &plain(3, &[1, 2, 3, 4]));
    world.start(3);
    world.voters(&[1, 2, 3, 4]);
}

#[test]
fn an_old_file_is_brought_up_to_date_and_a_newer_one_left_alone() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    world.end(3);
    let next = text(2, &[1, 2, 3], "<totem token=\"2000\"/>", |_| ">".into());
    world.update(2, next.clone()).unwrap();
    world.start(3);
    world.until("the new file", |world| world.hosts[&3].file == next);
    world.quorate(&[3]);
    world.end(3);
    world.hosts.get_mut(&3).unwrap().file = plain(9, &[1, 2, 3]);
    world.start(3);
    world.quorate(&[3]);
    world.wait(1);
    assert_eq!(world.hosts[&3].file, plain(9, &[1, 2, 3]));
    let status = world.status(3);
    assert_eq!(status.config_version, 2);
    assert!(status.notes[0].what.contains("has version 9, 2 is in force"), "{:?}", status.notes);
    // Another text under the version in force is replaced.
    world.end(3);
    world.hosts.get_mut(&3).unwrap().file = plain(2, &[1, 2, 3]);
    world.start(3);
    world.until("the text in force", |world| world.hosts[&3].file == next);
}

#[test]
fn a_node_that_missed_how_the_cluster_moved_on_is_led_to_it() {
    // 3 knows 1 and 2 only; the cluster becomes 2, 3, 4, 5 while it is down.
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    world.end(3);
    world.until("3 is lost", |world| world.state_of(1, 3) == Some(MemberState::Lost));
    for (version, id) in [(2, 4), (3, 5)] {
        let ids: Vec<u64> = (1..=id).collect();
        add(&mut world, version, &ids, id);
        world.until("it votes", |world| {
            world.status(1).members.iter().any(|member| member.id == id && member.role == Role::Voter)
        });
    }
    world.update(2, plain(4, &[2, 3, 4, 5])).unwrap();
    world.until("1 is gone", |world| !world.runs(1));
    world.start(3);
    world.voters(&[2, 3, 4, 5]);
    assert_eq!(world.hosts[&3].file, plain(4, &[2, 3, 4, 5]));
}

#[test]
fn an_update_interrupted_at_any_point_is_there_or_not_and_never_half() {
    for after in 0..12 {
        let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
        world.quorate(&[1, 2, 3]);
        world.wait(1);
        let leader = world.leader().unwrap();
        let next = text(2, &[1, 2, 3], "<totem token=\"1500\"/>", |_| ">".into());
        world.ask(leader, Request::ConfUpdate { text: next.clone() });
        for _ in 0..after / 2 {
            world.pass();
        }
        if after % 2 == 0 {
            world.end(leader);
        } else {
            world.crash(leader);
        }
        world.wait(4);
        world.start(leader);
        world.quorate(&[1, 2, 3]);
        world.wait(2);
        let versions: Vec<u32> = (1..=3).map(|id| world.status(id).config_version).collect();
        assert!(versions == [1, 1, 1] || versions == [2, 2, 2], "{versions:?}");
        let wanted = if versions[0] == 2 { &next } else { &plain(1, &[1, 2, 3]) };
        assert!((1..=3).all(|id| &world.hosts[&id].file == wanted), "interrupted after {after}");
    }
}

#[test]
fn what_cannot_be_a_successor_is_refused() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    let mut refused = |text: String| world.update(1, text).unwrap_err();
    assert_eq!(refused(plain(1, &[1, 2])).kind, ErrorKind::Changed);
    let bad = refused("<cluster name=\"w\"".into());
    assert!(bad.message.starts_with("cluster.conf:1:"), "{}", bad.message);
    assert!(refused(plain(2, &[1, 2]).replace("\"w\"", "\"x\"")).message.contains("is of cluster `x'"));
    assert!(
        refused(plain(2, &[1, 2]).replace("\"n2\"", "\"other\"")).message.contains("a new node takes a new nodeid")
    );
    assert!(refused(plain(2, &[7, 8])).message.contains("no node with a vote in it is a member now"));
    world.call(3, lock("r", false)).unwrap();
    let failure = world.update(1, plain(2, &[1, 2])).unwrap_err();
    assert!(failure.message.contains("n3, which holds the lock r"), "{}", failure.message);
    world.crash(2);
    world.crash(3);
    world.wait(3);
    assert_eq!(world.update(1, plain(2, &[1])).unwrap_err().kind, ErrorKind::Inquorate);
    assert!(matches!(world.call(1, Request::Conf { version: None }), Ok(Value::Conf(conf)) if conf.version == 1));
}

#[test]
fn who_may_only_look_is_not_told_how_fence_devices_are_opened() {
    let devices = "<fencedevices><fencedevice name=\"p\" agent=\"fence_x\" passwd=\"s3cret\"/></fencedevices>";
    let file = text(1, &[1], devices, |_| ">".into());
    let mut world = World::new(&file, &[1]);
    world.quorate(&[1]);
    let mut shown = |may_steer| match world.call_as(1, may_steer, Request::Conf { version: Some(1) }) {
        Ok(Value::Conf(conf)) => conf.text.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(true), file);
    assert_eq!(shown(false), file.replace("s3cret", "***"));
}

#[test]
fn an_update_tells_of_a_node_whose_disk_is_full_and_tries_again() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    world.full.insert(2);
    let next = text(2, &[1, 2, 3], "<!-- more -->", |_| ">".into());
    let nodes = world.update(1, next.clone()).unwrap();
    assert!(!nodes[1].stored && nodes[1].why.contains("no space left"), "{nodes:?}");
    assert!(nodes[0].stored && nodes[2].stored);
    world.full.clear();
    world.until("it is written", |world| world.hosts[&2].file == next);
    let Ok(Value::ConfHistory(history)) = world.call(2, Request::ConfHistory) else { panic!("no history") };
    assert_eq!(history.iter().map(|conf| conf.version).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn who_leaves_holds_nothing_is_not_lost_and_may_come_back() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    let leader = world.leader().unwrap();
    world.call(leader, lock("kept", true)).unwrap();
    let failure = world.call(leader, leave(false, false)).unwrap_err();
    assert!(failure.message.contains("holds the lock kept"), "{}", failure.message);
    world.call(leader, leave(false, true)).unwrap();
    world.until("it ends", |world| !world.runs(leader));
    let other = leader % 3 + 1;
    world.quorate(&[other]);
    assert_eq!(world.state_of(other, leader), Some(MemberState::Left));
    world.call(other, lock("kept", true)).unwrap();
    world.wait(5);
    assert_eq!(world.state_of(other, leader), Some(MemberState::Left));
    let kinds: Vec<&str> = world.engine(other).state().audit.after(0).map(|record| record.kind.as_str()).collect();
    assert!(kinds.contains(&"left"), "{kinds:?}");
    world.start(leader);
    world.until("it is back", |world| world.state_of(other, leader) == Some(MemberState::Member));
}

#[test]
fn who_leaves_for_good_is_in_nobodys_file_any_more() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    let leader = world.leader().unwrap();
    world.call(leader, leave(true, false)).unwrap();
    world.until("it ends", |world| !world.runs(leader));
    let rest: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    world.voters(&rest);
    for id in &rest {
        assert!(!world.hosts[id].file.contains(&format!("\"n{leader}\"")));
        assert!(world.hosts[id].file.contains("config_version=\"2\""));
    }
    // Two are left; one more goes, and the last one goes on alone.
    world.call(rest[0], leave(true, false)).unwrap();
    world.until("it ends", |world| !world.runs(rest[0]));
    world.voters(&[rest[1]]);
    world.call(rest[1], lock("r", false)).unwrap();
}

#[test]
fn a_witness_votes_leads_only_alone_and_holds_nothing() {
    let witness = |id| if id == 3 { "witness=\"1\">".into() } else { ">".into() };
    let mut world = World::new(&text(1, &[1, 2, 3], "", witness), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    for round in 0..4 {
        world.wait(2);
        world.until("a leader that is no witness", |world| world.leader().is_some_and(|leader| leader != 3));
        let leader = world.leader().unwrap();
        let failure = world.call(3, lock("r", false)).unwrap_err();
        assert!(failure.message.contains("n3 is a witness"), "{}", failure.message);
        // With the witness the other one of the pair goes on.
        world.end(leader);
        let other = 3 - leader;
        world.quorate(&[other, 3]);
        world.wait(2);
        world.call(other, lock(&format!("r{round}"), false)).unwrap();
        world.start(leader);
        world.quorate(&[1, 2, 3]);
    }
}

#[test]
fn the_only_voter_hands_its_vote_to_a_node_that_has_joined() {
    let mut world = World::new(&plain(1, &[1]), &[1]);
    world.quorate(&[1]);
    let handed = |version| text(version, &[1, 2], "", |id| if id == 1 { "votes=\"0\">".into() } else { ">".into() });
    // With that file and an empty log, node 2 would form a cluster of its own where it cannot reach node 1.
    let refusal = world.update(1, handed(2)).unwrap_err();
    assert!(refusal.message.contains("no node with a vote in it is a member now"), "{}", refusal.message);
    world.update(1, plain(2, &[1, 2])).unwrap();
    world.install(2, &plain(2, &[1, 2]));
    world.start(2);
    world.quorate(&[1, 2]);
    world.update(1, handed(3)).unwrap();
    world.voters(&[2]);
    world.until("the new one leads", |world| world.leader() == Some(2));
    world.quorate(&[1, 2]);
    world.call(1, lock("r", false)).unwrap();
}

#[test]
fn a_witness_that_asks_first_in_a_new_cluster_hurts_nobody() {
    for first in [1, 2, 3] {
        let witness = |id| if id == first { "witness=\"1\">".into() } else { ">".into() };
        let file = text(1, &[1, 2, 3], "", witness);
        let mut world = World::new(&file, &[first]);
        // Its patience is over long before the others begin to have any.
        world.wait(3);
        for id in [1, 2, 3].into_iter().filter(|id| *id != first) {
            world.install(id, &file);
            world.start(id);
        }
        world.quorate(&[1, 2, 3]);
        world.until("a leader that is no witness", |world| world.leader().is_some_and(|leader| leader != first));
    }
}

#[test]
fn a_vote_is_not_taken_where_no_majority_would_be_left() {
    let mut world = World::new(&plain(1, &[1, 2, 3]), &[1, 2, 3]);
    world.quorate(&[1, 2, 3]);
    world.wait(1);
    world.crash(3);
    world.until("3 is lost", |world| world.state_of(1, 3) == Some(MemberState::Lost));
    // Without 2 there would be 1 and the lost 3.
    world.update(1, text(2, &[1, 2, 3], "", |id| if id == 2 { "votes=\"0\">".into() } else { ">".into() })).unwrap();
    world.wait(3);
    let status = world.status(1);
    assert!(status.quorate && status.votes_expected == 3);
    assert!(status.notes.iter().any(|note| note.what.contains("n2 still votes")), "{:?}", status.notes);
    world.start(3);
    world.voters(&[1, 3]);
}
