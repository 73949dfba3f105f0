use nines_proto::ctl::{FenceEnd, Mode, Value};

use super::fence::{Ended, News};
use super::{Command, Effect, Op, State};

const TIME: u64 = 1000;

struct World {
    state: State,
    seq: [u64; 4],
    effects: Vec<Effect>,
}

impl World {
    /// Three members, of which the third holds a sticky lock that the first waits for.
    fn new() -> Self {
        let mut world = Self { state: State::default(), seq: [0; 4], effects: Vec::new() };
        for node in 1..=3 {
            world.joined(node, 1, "a");
        }
        world.lock(3, None);
        world.lock(1, Some(9));
        world
    }

    fn apply(&mut self, command: Command) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.state.apply(command, &mut effects);
        self.effects.extend(effects.iter().cloned());
        effects
    }

    fn joined(&mut self, node: u64, incarnation: u64, boot: &str) -> bool {
        self.joins(node, incarnation, boot, false)
    }

    fn joins(&mut self, node: u64, incarnation: u64, boot: &str, unclean: bool) -> bool {
        let (boot, store) = (format!("{boot}{node}"), format!("s{node}"));
        let effects = self.apply(Command::Joined { node, incarnation, boot, store, unclean, time: TIME });
        let joined = effects.iter().any(|effect| matches!(effect, Effect::Joined { .. }));
        if joined && incarnation > 1 {
            self.seq[usize::try_from(node).unwrap()] = 0;
        }
        joined
    }

    fn call(&mut self, node: u64, call: Op) -> Vec<Effect> {
        let incarnation = self.state.members[&node].incarnation;
        let seq = &mut self.seq[usize::try_from(node).unwrap()];
        *seq += 1;
        let seq = *seq;
        self.apply(Command::Call { node, incarnation, seq, time: TIME, call })
    }

    fn lock(&mut self, node: u64, connection: Option<u64>) -> Vec<Effect> {
        let (resource, note) = ("disk".into(), String::new());
        self.call(node, Op::Lock { resource, connection, session: None, mode: Mode::Ex, now_or_never: false, note })
    }

    fn lost(&mut self, node: u64) {
        let incarnation = self.state.members[&node].incarnation;
        self.apply(Command::Lost { node, incarnation, time: TIME });
    }

    fn asked(&mut self, node: u64, incarnation: u64) -> Option<u64> {
        let (name, who, why) = (format!("n{node}"), "leader n1".into(), "lost".into());
        self.apply(Command::FenceAsked { node, name, incarnation, who, why, time: TIME });
        self.state.fencing.pending(node).map(|operation| operation.number)
    }

    fn done(&mut self, operation: u64, incarnation: u64, end: Ended, time: u64) {
        self.apply(Command::FenceDone { operation, incarnation, end, time });
    }

    fn ack(&mut self, operation: u64, incarnation: u64) -> Vec<Effect> {
        let (name, who) = ("n3".into(), "uid 0 on n1".into());
        self.call(1, Op::FenceAck { node: 3, name, operation, incarnation, who })
    }

    /// Whom the lock belongs to.
    fn holder(&self) -> u64 {
        self.state.locks.list().next().unwrap().1[0].owner.node
    }

    fn last_end(&self) -> Option<FenceEnd> {
        self.state.fencing.history().next_back().and_then(|operation| operation.end.clone())
    }

    /// Without who came and went.
    fn audit(&self) -> Vec<String> {
        let kinds = self.state.audit.after(0).map(|record| record.kind.clone());
        kinds.filter(|kind| !["joined", "lost"].contains(&kind.as_str())).collect()
    }
}

fn agent() -> Ended {
    Ended::Agent { method: "power".into(), by: "n1".into(), what: "off".into() }
}

fn answered(effects: &[Effect]) -> Option<bool> {
    effects.iter().find_map(|effect| match effect {
        Effect::Decided(decided) => Some(decided.result.is_ok()),
        _ => None,
    })
}

#[test]
fn locks_are_free_in_the_very_step_that_confirms_a_fencing() {
    let mut world = World::new();
    assert_eq!(world.asked(3, 1), None, "a present node is not fenced");
    world.lost(3);
    assert_eq!(world.asked(3, 7), None, "another incarnation is not lost");
    let operation = world.asked(3, 1).unwrap();
    assert_eq!(world.asked(3, 1), Some(operation), "one operation is enough");
    assert_eq!(world.holder(), 3);
    let end = agent();
    let effects = world.apply(Command::FenceDone { operation, incarnation: 1, end, time: TIME });
    assert_eq!(world.holder(), 1);
    let freed = |effect: &&Effect| matches!(effect, Effect::Decided(decided) if decided.call.node == 1);
    assert!(effects.iter().any(|effect| freed(&effect)) && world.state.members[&3].fenced);
    assert_eq!(world.audit(), ["fence-asked", "fenced", "recovered"]);
}

#[test]
fn a_lost_node_that_holds_nothing_is_only_lost() {
    let mut world = World::new();
    world.lost(2);
    assert_eq!(world.asked(2, 1), None);
    assert!(!world.state.protected(2));
}

#[test]
fn failures_are_counted_once_and_told_now_and_then() {
    let mut world = World::new();
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    for attempt in [0, 0, 1, 5, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
        world.done(operation, 1, Ended::Failed { attempt, what: "no answer".into() }, TIME);
    }
    let pending = world.state.fencing.pending(3).unwrap();
    assert_eq!((pending.attempts, pending.state.as_str()), (11, "no answer"));
    assert_eq!(world.audit(), ["fence-asked", "fence-failed", "fence-failed"]);
    assert_eq!(world.holder(), 3);
}

#[test]
fn results_for_other_operations_and_incarnations_change_nothing() {
    let mut world = World::new();
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    let before = world.state.clone();
    world.done(operation + 1, 1, agent(), TIME);
    world.done(operation, 2, agent(), TIME);
    assert_eq!(world.state, before);
    // It returns in the same boot, takes its lock along, and a late result finds nothing to do.
    assert!(world.joined(3, 1, "a"));
    assert_eq!(world.last_end(), Some(FenceEnd::Void));
    world.done(operation, 1, agent(), TIME);
    assert_eq!((world.holder(), world.state.members[&3].present), (3, true));
    world.lost(3);
    assert_eq!(world.asked(3, 1), Some(operation + 1));
    world.done(operation, 1, agent(), TIME);
    assert_eq!(world.holder(), 3);
}

#[test]
fn another_boot_is_the_end_of_the_one_to_be_fenced() {
    let mut world = World::new();
    world.lost(3);
    world.asked(3, 1).unwrap();
    assert!(world.joined(3, 2, "b"));
    assert_eq!((world.last_end(), world.holder()), (Some(FenceEnd::Returned), 1));
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::Fence(News::Fenced { node: 3, .. }))));
}

#[test]
fn a_fenced_boot_never_joins_again_and_its_calls_are_ignored() {
    let mut world = World::new();
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    world.done(operation, 1, agent(), TIME);
    assert!(!world.joined(3, 1, "a") && !world.joined(3, 2, "a"));
    let before = world.state.clone();
    assert_eq!(world.lock(3, None), []);
    assert_eq!(world.state, before);
    assert!(world.joined(3, 3, "b"));
    assert!(!world.state.members[&3].fenced);
}

#[test]
fn a_lost_node_is_given_nothing_until_it_is_back() {
    let mut world = World::new();
    world.lost(2);
    assert_eq!(answered(&world.lock(2, None)), None);
    assert!(!world.state.holds_anything(2));
    assert!(world.joined(2, 1, "a"));
    world.seq[2] = 0;
    world.lock(2, None);
    assert!(world.state.holds_anything(2));
}

#[test]
fn an_acknowledgement_names_its_operation_and_incarnation() {
    let mut world = World::new();
    assert_eq!(answered(&world.ack(1, 1)), Some(false));
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    assert_eq!(answered(&world.ack(operation + 1, 1)), Some(false));
    assert_eq!(answered(&world.ack(operation, 2)), Some(false));
    assert_eq!(world.holder(), 3);
    let effects = world.ack(operation, 1);
    let done = Ok(Value::Fenced { operation });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Decided(decided) if decided.result == done)));
    assert_eq!(world.holder(), 1);
    assert_eq!(world.last_end(), Some(FenceEnd::Acknowledged { who: "uid 0 on n1".into() }));
}

#[test]
fn only_an_armed_node_is_reset_by_its_watchdog() {
    let mut world = World::new();
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    world.done(operation, 1, Ended::Watchdog { bound_ms: 9000 }, TIME);
    assert_eq!(world.holder(), 3);
    assert!(world.joined(3, 1, "a"));
    assert_eq!(answered(&world.call(3, Op::Armed { name: "n3".into(), armed: true })), Some(true));
    world.done(operation, 1, Ended::Watchdog { bound_ms: 9000 }, TIME);
    assert!(world.state.members[&3].present, "a member with a lease is not dead");
    world.lost(3);
    let operation = world.asked(3, 1).unwrap();
    world.done(operation, 1, Ended::Watchdog { bound_ms: 9000 }, TIME);
    assert_eq!((world.holder(), world.last_end()), (1, Some(FenceEnd::Watchdog)));
    assert!(!world.state.members[&3].armed);
}

#[test]
fn a_watchdog_stays_armed_while_something_is_held_and_across_a_restart() {
    let mut world = World::new();
    world.call(3, Op::Armed { name: "n3".into(), armed: true });
    assert_eq!(answered(&world.call(3, Op::Armed { name: "n3".into(), armed: false })), Some(false));
    assert!(world.joined(3, 2, "a") && world.state.members[&3].armed);
    world.call(3, Op::Unlock { resource: "disk".into(), connection: None, session: None, value: None });
    assert_eq!(answered(&world.call(3, Op::Armed { name: "n3".into(), armed: false })), Some(true));
    assert!(!world.state.protected(3));
    world.call(3, Op::Armed { name: "n3".into(), armed: true });
    assert!(world.state.protected(3), "an armed node is about to hold something");
    assert!(world.joined(3, 3, "b") && !world.state.members[&3].armed);
}

#[test]
fn a_node_fenced_by_agents_twice_in_ten_minutes_waits_for_a_person() {
    let mut world = World::new();
    let fence = |world: &mut World, incarnation, boot: &str, time| {
        if world.joined(3, incarnation, boot) && incarnation > 1 {
            world.lock(3, None);
        }
        world.lost(3);
        let operation = world.asked(3, incarnation);
        if let Some(operation) = operation {
            world.done(operation, incarnation, agent(), time);
        }
        operation.is_some()
    };
    world.lost(1);
    assert!(fence(&mut world, 1, "a", TIME));
    assert!(fence(&mut world, 2, "b", TIME + 601));
    assert!(world.state.members[&3].held.is_none(), "the first was long ago");
    assert!(fence(&mut world, 3, "c", TIME + 700));
    assert!(world.state.members[&3].held.is_some());
    assert!(!world.joined(3, 4, "d"));
    let (name, who) = ("n3".into(), "uid 0 on n2".into());
    world.call(2, Op::Unfence { node: 3, name, who, devices: false, after: None });
    assert!(world.joined(3, 4, "d"));
    assert!(world.audit().contains(&"held".to_owned()) && world.audit().contains(&"released".to_owned()));
}

#[test]
fn a_node_that_never_came_is_fenced_as_incarnation_zero() {
    let mut world = World::new();
    world.state.members.remove(&3);
    let operation = world.asked(3, 0).unwrap();
    world.done(operation, 0, agent(), TIME);
    assert_eq!(world.asked(3, 0), None, "once is enough");
    assert!(world.joined(3, 1, "a"));
    let mut world = World::new();
    world.state.members.remove(&3);
    world.asked(3, 0).unwrap();
    assert!(world.joined(3, 1, "a"));
    assert_eq!(world.last_end(), Some(FenceEnd::Void));
}

#[test]
fn a_person_may_have_a_member_fenced_and_is_told_how_it_ended() {
    let mut world = World::new();
    let ask = |node: u64| Op::Fence { node, name: format!("n{node}"), who: "uid 0 on n1".into(), why: "odd".into() };
    assert_eq!(answered(&world.call(1, ask(1))), Some(false), "nobody fences himself");
    assert_eq!(answered(&world.call(1, ask(3))), None);
    let call = crate::lock::CallId { node: 1, seq: world.seq[1] };
    let operation = world.state.fencing.pending(3).unwrap().number;
    assert_eq!(world.state.fencing.outcome(call).map(|operation| operation.number), Some(operation));
    // A living node that cannot be fenced is left alone.
    world.done(operation, 1, Ended::Failed { attempt: 0, what: "no answer".into() }, TIME);
    assert_eq!((world.last_end(), world.holder()), (Some(FenceEnd::Void), 3));
    assert_eq!(answered(&world.call(1, ask(3))), None);
    let operation = world.state.fencing.pending(3).unwrap().number;
    world.done(operation, 1, agent(), TIME);
    assert_eq!((world.holder(), world.state.members[&3].present), (1, false));
    assert_eq!(answered(&world.call(1, ask(3))), Some(false), "it is fenced already");
}

#[test]
fn leftovers_hold_a_node_until_they_are_gone() {
    let mut world = World::new();
    world.lost(3);
    let held = |why: &str| Command::Held { node: 3, name: "n3".into(), why: why.into(), time: TIME };
    world.apply(held("it has domain web1"));
    world.apply(held("it has domain web1"));
    assert_eq!(world.audit(), ["held"]);
    assert_eq!(world.state.members[&3].held.as_ref().map(|hold| hold.firm), Some(false));
    assert_eq!(world.holder(), 3, "nothing is free because of it");
    assert!(world.joined(3, 2, "b") && world.state.members[&3].held.is_none());
}

#[test]
fn a_person_s_word_lets_one_boot_in_with_leftovers() {
    let mut world = World::new();
    world.lost(3);
    assert!(!world.joins(3, 2, "b", true), "nobody said so");
    world.apply(Command::Held { node: 3, name: "n3".into(), why: "it has domain web1".into(), time: TIME });
    let (name, who) = ("n3".into(), "uid 0 on n1".into());
    world.call(1, Op::Unfence { node: 3, name, who, devices: false, after: None });
    // Both were proposed before the first was decided.
    assert!(world.joins(3, 2, "b", true) && !world.joins(3, 3, "c", true));
    assert_eq!((world.state.members[&3].incarnation, world.holder()), (2, 1));
    assert!(world.joins(3, 4, "b", true), "in the same boot they are its own");
}

#[test]
fn what_a_snapshot_carries_is_the_whole_of_it() {
    let mut world = World::new();
    world.lost(3);
    world.call(1, Op::Armed { name: "n1".into(), armed: true });
    let operation = world.asked(3, 1).unwrap();
    world.done(operation, 1, Ended::Failed { attempt: 0, what: "no answer".into() }, TIME);
    assert_eq!(State::decode(&world.state.encode().unwrap()).unwrap(), world.state);
    world.done(operation, 1, agent(), TIME);
    assert_eq!(State::decode(&world.state.encode().unwrap()).unwrap(), world.state);
}

#[test]
fn a_pair_s_survivor_may_bring_a_fencing_of_its_own() {
    let mut world = World::new();
    world.lost(3);
    let apply = |world: &mut World, incarnation| {
        let (mut decided, mut effects) = (Vec::new(), Vec::new());
        let end = FenceEnd::Agent { method: "power".into(), by: "n1".into() };
        world.state.confirmed_outside(3, "n3", incarnation, end, "n1", "alone", TIME, &mut decided, &mut effects);
        decided.len()
    };
    assert_eq!((apply(&mut world, 2), world.holder()), (0, 3));
    assert_eq!((apply(&mut world, 1), world.holder()), (1, 1));
    assert_eq!(apply(&mut world, 1), 0);
}

#[test]
fn what_unfence_devices_said_before_a_fencing_counts_for_nothing_after_it() {
    let mut world = World::new();
    let unfence =
        |after| Op::Unfence { node: 3, name: "n3".into(), who: "a".into(), devices: true, after: Some(after) };
    let after = world.state.fencing.last();
    world.lost(3);
    world.apply(Command::FenceAsked {
        node: 3,
        name: "n3".into(),
        incarnation: 1,
        who: "leader".into(),
        why: "lost".into(),
        time: TIME,
    });
    let operation = world.state.fencing.pending(3).unwrap().number;
    let end = Ended::Agent { method: "port".into(), by: "n1".into(), what: String::new() };
    world.apply(Command::FenceDone { operation, incarnation: 1, end, time: TIME });
    // Its devices were asked before that, and the call comes late.
    let effects = world.call(2, unfence(after));
    let refused = |effect: &Effect| matches!(effect, Effect::Decided(decided) if decided.result.is_err());
    assert!(effects.iter().any(refused), "{effects:?}");
    assert!(!world.state.members[&3].unfenced);
    assert!(world.joined(3, 2, "b") && !world.state.members[&3].unfenced);
    world.call(2, unfence(operation));
    assert!(world.state.members[&3].unfenced);
}
