//! What is printed, byte for byte, from made-up statuses.

use std::collections::BTreeMap;

use nines_proto::ctl::{
    FenceEnd, FenceNode, FenceOperation, FenceTested, Fences, KeyEntry, LinkState, LockHolder, LockState, Member,
    MemberState, Mode, Note, Role, Status,
};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_795_368_001;

fn member(id: u64, state: MemberState) -> Member {
    Member {
        id,
        name: format!("xen{id}.san"),
        address: format!("10.0.0.{id}:5405"),
        votes: 1,
        state,
        since: (state != MemberState::Absent).then_some(NOW - 11_525),
        incarnation: if state == MemberState::Absent { 0 } else { 43 + id },
        role: Role::Voter,
        links: Vec::new(),
        boot: String::new(),
    }
}

/// xen1 looks at itself and two others in these states.
fn status(states: [MemberState; 2], quorate: bool) -> Status {
    Status {
        version: 1,
        cluster: "build".into(),
        config_version: 3,
        node: "xen1.san".into(),
        quorate,
        reason: (!quorate).then(|| "1 of 3 votes, 2 needed: xen2.san and xen3.san lost".into()),
        votes: if quorate { 3 } else { 1 },
        votes_needed: 2,
        votes_expected: 3,
        leader: quorate.then(|| "xen2.san".into()),
        term: 7,
        applied: 812,
        notes: Vec::new(),
        counters: BTreeMap::new(),
        members: vec![member(1, MemberState::Member), member(2, states[0]), member(3, states[1])],
    }
}

fn well() -> Status {
    status([MemberState::Member; 2], true)
}

fn pending() -> Fences {
    let operation = FenceOperation {
        operation: 9,
        node: "xen3.san".into(),
        incarnation: 46,
        who: "leader xen2.san".into(),
        why: "silent for 1 s".into(),
        asked: NOW - 75,
        attempts: 2,
        state: "agent fence_ipmilan exited 1: no route".into(),
        ended: None,
        end: None,
    };
    let node = |id: u64| FenceNode {
        node: format!("xen{id}.san"),
        methods: vec![format!("power: ipmi{id} (fence_ipmilan)")],
        bound: Some(8),
        armed: id == 1,
        held: false,
        tested: Some(FenceTested { time: NOW - 60, good: true, really: false, what: "on".into() }),
    };
    Fences { pending: vec![operation], history: Vec::new(), nodes: vec![node(1), node(2), node(3)] }
}

fn shown(status: &Status, fences: &Fences) -> String {
    screen::text(status, fences, &screen::notes(status, fences, NOW), NOW)
}

#[test]
fn a_well_cluster_is_one_screen_that_says_so() {
    let wanted = "\
cluster  build (config 3), seen from xen1.san
well     yes
quorate  yes
votes    3 of 3, 2 needed
leader   xen2.san (term 7, entry 812)

  id  node      state   role     votes  run  links  fencing      since
   1  xen1.san  member  voter        1   44      -  -            2026-11-22 14:07:56 UTC  3h12m
   2  xen2.san  member  voter        1   45      -  -            2026-11-22 14:07:56 UTC  3h12m
   3  xen3.san  member  voter        1   46      -  -            2026-11-22 14:07:56 UTC  3h12m
";
    assert_eq!(shown(&well(), &Fences::default()), wanted);
}

#[test]
fn what_it_waits_for_stands_above_with_what_to_type() {
    let mut status = status([MemberState::Member, MemberState::Lost], true);
    status.members[1].role = Role::Learner;
    let link = |up: bool| LinkState { address: "10.1.0.2:5405".into(), up, since: Some(NOW - 30) };
    status.members[1].links = vec![link(true), link(false)];
    let wanted = "\
cluster  build (config 3), seen from xen1.san
well     no: 2 things to look at
quorate  yes
votes    3 of 3, 2 needed
leader   xen2.san (term 7, entry 812)

to look at
  xen3.san is being fenced for 1m15s (operation 9, attempt 3): agent fence_ipmilan exited 1: no route
      # cluster-fence --ack xen3.san
  the link to xen2.san at 10.1.0.2:5405 is down for 30s

  id  node      state   role     votes  run  links  fencing      since
   1  xen1.san  member  voter        1   44      -  armed        2026-11-22 14:07:56 UTC  3h12m
   2  xen2.san  member  learner      1   45    1/2  tested       2026-11-22 14:07:56 UTC  3h12m
   3  xen3.san  lost    voter        1   46      -  asked #9     2026-11-22 14:07:56 UTC  3h12m
";
    assert_eq!(shown(&status, &pending()), wanted);
}

#[test]
fn the_daemons_own_words_are_not_said_twice() {
    let mut status = status([MemberState::Lost; 2], false);
    let command = Some("cluster-fence --ack xen2.san".into());
    status.notes = vec![Note { what: "xen2.san: waiting for its fencing".into(), command }];
    let notes = screen::notes(&status, &Fences::default(), NOW);
    let said: Vec<&str> = notes.iter().map(|note| note.what.as_str()).collect();
    assert_eq!(said, ["xen2.san: waiting for its fencing", "xen3.san is lost"]);
    let text = screen::text(&status, &Fences::default(), &notes, NOW);
    assert!(text.contains("\nwell     no: nothing is granted\nquorate  no: 1 of 3 votes, 2 needed: xen2"), "{text}");
    assert!(text.contains("\nleader   - (term 7, entry 812)\n"), "{text}");
}

#[test]
fn a_cluster_has_the_number_cman_gave_it() {
    // As cman_tool status of version 6.1.0 printed it for clusters of these names.
    assert_eq!(cman::cluster_id("build"), 3240);
    assert_eq!(cman::cluster_id(""), 0);
    // Longer names fold into 16 bits.
    assert_eq!(cman::cluster_id("fifteen-letters"), 47083);
}

#[test]
fn cman_tool_status_is_printed_as_it_was() {
    let wanted = "\
Version: 6.2.0
Config Version: 3
Cluster Name: build
Cluster Id: 3240
Cluster Member: Yes
Cluster Generation: 135
Membership state: Cluster-Member
Nodes: 3
Expected votes: 3
Total votes: 3
Node votes: 1
Quorum: 2  
Active subsystems: 2
Flags: 
Ports Bound: 0  
Node name: xen1.san
Node ID: 1
Multicast addresses: 
Node addresses: 10.0.0.1 
";
    assert_eq!(cman::status(&well(), None, 2), wanted);
    let lost = cman::status(&status([MemberState::Lost, MemberState::Held], false), None, 1);
    assert!(
        lost.contains("\nNodes: 1\nExpected votes: 3\nTotal votes: 1\nNode votes: 1\nQuorum: 2 Activity blocked\n")
    );
    assert!(
        lost.contains("\nFlags: DisallowedNodes \n") && lost.ends_with("\nDisallowed nodes: xen3.san \n"),
        "{lost}"
    );
    let two = r#"<cluster name="build" config_version="3"><cman two_node="1" expected_votes="1"/><clusternodes>
        <clusternode name="xen1.san" nodeid="1"/><clusternode name="xen2.san" nodeid="2"/></clusternodes></cluster>"#;
    let conf = cluster_conf::Conf::parse("f", two).unwrap();
    let text = cman::status(&well(), Some(&conf), 1);
    assert!(text.contains("\nExpected votes: 1\n") && text.contains("\nFlags: 2node \n"), "{text}");
}

#[test]
fn cman_tool_nodes_is_printed_as_it_was() {
    let mut status = status([MemberState::Lost, MemberState::Absent], false);
    status.members[1].address = "[fe80::2]:5405".into();
    let wanted = "\
Node  Sts   Inc   Joined               Name
   1   M     44   2026-11-22 14:07:56  xen1.san
   2   X     45                        xen2.san
   3   X      0                        xen3.san
";
    assert_eq!(cman::nodes(&status, false), wanted);
    let wanted = "\
Node  Sts   Inc   Joined               Name
   1   M     44   2026-11-22 14:07:56  xen1.san
       Addresses: 10.0.0.1
   2   X     45                        xen2.san
       Addresses: fe80::2
   3   X      0                        xen3.san
       Addresses: 10.0.0.3
";
    assert_eq!(cman::nodes(&status, true), wanted);
}

fn lock(resource: &str, note: &str) -> LockState {
    let holder = |generation: u64| LockHolder {
        node: "xen1.san".into(),
        mode: Mode::Ex,
        generation,
        since: NOW,
        sticky: generation > 0,
        session: None,
        offered_to: (generation > 0).then(|| ("xen2.san".into(), 4)),
        note: note.into(),
    };
    LockState { resource: resource.into(), granted: vec![holder(5)], waiting: vec![holder(0)] }
}

#[test]
fn cman_tool_services_is_printed_as_it_was() {
    let wanted = "\
type             level name     id       state       
fence            0     default  00010001 none        
[1 2 3]
dlm              1     clvmd    00020001 none        
[1 2 3]
";
    let locks = [lock("V_vg", "")];
    assert_eq!(cman::services_text(&cman::services(&well(), &locks, &Fences::default())), wanted);
    let services = cman::services(&status([MemberState::Member, MemberState::Lost], true), &locks, &pending());
    let text = cman::services_text(&services);
    assert!(text.contains("\nfence            0     default  00010001 FAIL_START_WAIT\n[1 2]\n"), "{text}");
    assert!(text.contains("\ndlm              1     clvmd    00020001 FAIL_ALL_STOPPED\n[1 2]\n"), "{text}");
    assert_eq!(cman::services(&well(), &[], &Fences::default()).len(), 1);
}

#[test]
fn tables_are_a_record_a_line() {
    let text = tables::locks(&[lock("V_vg", ""), lock("D_web", "pid 1\txl\n")]).picture(&[0], Vec::new()).text;
    let wanted = "\
V_vg\tgranted\txen1.san\tEX\t5\t1795368001\thost\txen2.san:4\t-
V_vg\twaiting\txen1.san\tEX\t0\t1795368001\tconnection\t-\t-
D_web\tgranted\txen1.san\tEX\t5\t1795368001\thost\txen2.san:4\tpid 1\\txl\\n
D_web\twaiting\txen1.san\tEX\t0\t1795368001\tconnection\t-\tpid 1\\txl\\n
";
    assert_eq!(text, wanted);
    let mut fences = pending();
    let mut past = fences.pending[0].clone();
    (past.ended, past.end) = (Some(NOW), Some(FenceEnd::Acknowledged { who: "uid 0 on xen1.san".into() }));
    fences.history.push(past);
    fences.nodes.truncate(1);
    let wanted = "\
pending\t9\txen3.san\t46\t2026-11-22 17:18:46 UTC\t2\tleader xen2.san\tsilent for 1 s\t-\tagent fence_ipmilan exited 1: no route
ended\t9\txen3.san\t46\t2026-11-22 17:18:46 UTC\t2\tleader xen2.san\tsilent for 1 s\t2026-11-22 17:20:01 UTC\tacknowledged by uid 0 on xen1.san
node\txen1.san\tarmed\t8s\tpower: ipmi1 (fence_ipmilan)\tgood, asked 2026-11-22 17:19:01 UTC: on
";
    assert_eq!(tables::fences(&fences).picture(&[0], Vec::new()).text, wanted);
    let key = KeyEntry { key: "keeper/web".into(), value: "{}".into(), revision: 4, owner: None };
    assert_eq!(tables::keys(&[key]).picture(&[0], Vec::new()).text, "keeper/web\t4\t-\t{}\n");
}

#[test]
fn changes_are_told_and_what_only_grows_is_not() {
    let before = well();
    let mut after = status([MemberState::Member, MemberState::Lost], true);
    (after.applied, after.term) = (900, 8);
    let facts = |status: &Status| changes::of_status(status, &screen::notes(status, &Fences::default(), NOW));
    let mut out = Vec::new();
    changes::write(&mut out, NOW, &facts(&before), &facts(&after)).unwrap();
    let wanted = "\
2026-11-22 17:20:01 UTC\tnode xen3.san\tmember voter run 46\tlost voter run 46
2026-11-22 17:20:01 UTC\tnote xen.san is lost: its locks stay with it until it returns or is fenced\t-\tcluster-fence xen3.san
";
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
    let mut grown = before.clone();
    grown.applied += 1;
    assert_eq!(facts(&before), facts(&grown));
}

proptest! {
    /// Whatever a daemon says, no control character of it reaches the terminal.
    #[test]
    fn nothing_harmful_is_shown(name in "\\PC{0,8}[\\x00-\\x1f\\x7f\u{9b}\u{202e}]{0,3}\\PC{0,8}", number in any::<u64>()) {
        let mut status = status([MemberState::Lost, MemberState::Held], false);
        status.reason = Some(name.clone());
        status.cluster = name.clone();
        status.leader = Some(name.clone());
        (status.term, status.applied) = (number, number);
        let links = vec![LinkState { address: name.clone(), up: false, since: Some(number) }];
        for member in &mut status.members {
            (member.name, member.address) = (name.clone(), name.clone());
            (member.id, member.incarnation, member.since) = (number, number, Some(number >> 8));
            member.links = links.clone();
        }
        status.notes = vec![Note { what: name.clone(), command: Some(name.clone()) }];
        let mut fences = pending();
        (fences.pending[0].state, fences.pending[0].asked) = (name.clone(), number >> 8);
        let services = cman::services(&status, &[lock(&name, &name)], &fences);
        for text in [
            shown(&status, &fences),
            cman::status(&status, None, 1),
            cman::nodes(&status, true),
            cman::services_text(&services),
            tables::links(&status.members).picture(&[0], Vec::new()).text,
            tables::locks(&[lock(&name, &name)]).picture(&[0], Vec::new()).text,
        ] {
            let harmful = |c: &char| (c.is_control() && *c != '\n' && *c != '\t') || *c == '\u{202e}';
            prop_assert!(!text.chars().any(|c| harmful(&c)), "{text:?}");
        }
    }
}
