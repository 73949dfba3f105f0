use super::*;

mod model;

/// One table and what its calls were answered with.
#[derive(Default)]
struct Story {
    table: Table,
    seq: u64,
    decided: Vec<Decided>,
}

fn connection(node: u64, connection: u64) -> Owner {
    Owner::connection(node, connection)
}

fn host(node: u64) -> Owner {
    Owner::host(node)
}

#[allow(clippy::needless_pass_by_value)] // stories read better
impl Story {
    fn ask(&mut self, owner: Owner, mode: Mode, now_or_never: bool, convert: bool) -> u64 {
        self.seq += 1;
        let asked =
            Asked { resource: "r", owner: &owner, mode, now_or_never, note: "", seq: self.seq, time: 1, value: None };
        if convert {
            self.table.convert(asked, &mut self.decided);
        } else {
            self.table.lock(asked, &mut self.decided);
        }
        self.seq
    }

    fn lock(&mut self, owner: Owner, mode: Mode) -> u64 {
        self.ask(owner, mode, false, false)
    }

    fn convert(&mut self, owner: Owner, mode: Mode) -> u64 {
        self.ask(owner, mode, false, true)
    }

    fn unlock(&mut self, owner: Owner) {
        self.table.unlock("r", &owner, None, 2, &mut self.decided).unwrap();
    }

    /// A conversion that gives up or keeps PW or EX and writes the value block.
    fn write(&mut self, owner: &Owner, mode: Mode, value: &str) -> Result<Value, Refusal> {
        self.seq += 1;
        let (seq, value) = (self.seq, Some(value));
        let asked = Asked { resource: "r", owner, mode, now_or_never: false, note: "", seq, time: 1, value };
        self.table.convert(asked, &mut self.decided);
        self.decided.pop().unwrap().result
    }

    /// What a new reader is told of the value block.
    fn value(&mut self) -> Option<Block> {
        let seq = self.ask(connection(9, 9), Mode::Nl, true, false);
        let told = self.decided.iter().find(|decided| decided.call.seq == seq).unwrap().result.clone();
        self.unlock(connection(9, 9));
        let Ok(Value::Granted { value, .. }) = told else { panic!("{told:?}") };
        value
    }

    /// What a call was answered with: a generation, a refusal, or nothing yet.
    fn answer(&self, seq: u64) -> Option<Result<u64, ErrorKind>> {
        let mut found = self.decided.iter().filter(|decided| decided.call.seq == seq);
        let answer = found.next().map(|decided| match &decided.result {
            Ok(Value::Granted { generation, value: None }) => Ok(*generation),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.kind),
        });
        assert!(found.next().is_none(), "call {seq} answered twice");
        answer
    }

    fn modes(&self) -> Vec<(Owner, Mode)> {
        self.table.list().flat_map(|(_, granted, _)| granted).map(|holder| (holder.owner, holder.mode)).collect()
    }
}

#[test]
fn requests_are_served_in_their_order() {
    let mut story = Story::default();
    let first = story.lock(connection(1, 1), Mode::Pr);
    let writer = story.lock(connection(2, 1), Mode::Ex);
    // Compatible with the holder, but the writer came first.
    let reader = story.lock(connection(3, 1), Mode::Pr);
    assert_eq!((story.answer(first), story.answer(writer), story.answer(reader)), (Some(Ok(1)), None, None));
    story.unlock(connection(1, 1));
    assert_eq!((story.answer(writer), story.answer(reader)), (Some(Ok(2)), None));
    story.unlock(connection(2, 1));
    assert_eq!(story.answer(reader), Some(Ok(3)));
}

#[test]
fn whoever_will_not_wait_is_told_who_is_in_the_way() {
    let mut story = Story::default();
    story.lock(connection(1, 7), Mode::Ex);
    let refused = story.ask(connection(2, 1), Mode::Cr, true, false);
    assert_eq!(story.answer(refused), Some(Err(ErrorKind::Busy)));
    let Some(Decided { result: Err(refusal), .. }) = story.decided.last() else { panic!() };
    assert_eq!((&refusal.holders[0].owner, refusal.holders[0].mode), (&connection(1, 7), Mode::Ex));
    // And a null lock is never refused.
    let null = story.ask(connection(2, 1), Mode::Nl, true, false);
    assert_eq!(story.answer(null), Some(Ok(2)));
}

#[test]
fn conversions_go_before_new_requests_and_down_ones_never_wait() {
    let mut story = Story::default();
    story.lock(connection(1, 1), Mode::Pr);
    story.lock(connection(2, 1), Mode::Pr);
    let waiting = story.lock(connection(3, 1), Mode::Pw);
    let up = story.convert(connection(1, 1), Mode::Ex);
    assert_eq!((story.answer(waiting), story.answer(up)), (None, None));
    let down = story.convert(connection(2, 1), Mode::Nl);
    assert!(matches!(story.answer(down), Some(Ok(_))));
    assert!(matches!(story.answer(up), Some(Ok(_))), "the conversion is first in line");
    assert_eq!(story.answer(waiting), None);
    story.unlock(connection(1, 1));
    assert!(matches!(story.answer(waiting), Some(Ok(_))));
}

#[test]
fn two_readers_that_both_want_to_write_do_not_wait_for_each_other() {
    let mut story = Story::default();
    story.lock(connection(1, 1), Mode::Pr);
    story.lock(connection(2, 1), Mode::Pr);
    let first = story.convert(connection(1, 1), Mode::Ex);
    let second = story.convert(connection(2, 1), Mode::Ex);
    assert_eq!((story.answer(first), story.answer(second)), (None, Some(Err(ErrorKind::Deadlock))));
    story.unlock(connection(2, 1));
    assert!(matches!(story.answer(first), Some(Ok(_))));
}

#[test]
fn a_withdrawn_call_leaves_no_trace_granted_or_not() {
    let mut story = Story::default();
    let granted = story.lock(connection(1, 1), Mode::Ex);
    let waiting = story.lock(connection(2, 1), Mode::Ex);
    let last = story.lock(connection(3, 1), Mode::Ex);
    let withdraw =
        |story: &mut Story, node, seq| story.table.withdraw("r", CallId { node, seq }, 3, &mut story.decided);
    withdraw(&mut story, 2, waiting);
    withdraw(&mut story, 1, granted);
    assert!(matches!(story.answer(last), Some(Ok(_))));
    let up = story.convert(connection(3, 1), Mode::Pr);
    // Giving up rights cannot be taken back, gaining them can.
    withdraw(&mut story, 3, up);
    assert_eq!(story.modes(), [(connection(3, 1), Mode::Pr)]);
    let up = story.convert(connection(3, 1), Mode::Ex);
    withdraw(&mut story, 3, up);
    assert_eq!(story.modes(), [(connection(3, 1), Mode::Pr)]);
    story.unlock(connection(3, 1));
    assert_eq!(story.table.count, 0);
    assert!(story.table.owned.is_empty() && story.table.resources.is_empty());
}

#[test]
fn a_sticky_lock_is_asked_for_again_without_being_granted_again() {
    let mut story = Story::default();
    let first = story.lock(host(1), Mode::Ex);
    let again = story.lock(host(1), Mode::Ex);
    assert_eq!((story.answer(first), story.answer(again)), (Some(Ok(1)), Some(Ok(1))));
    let other = story.lock(host(1), Mode::Cr);
    assert_eq!(story.answer(other), Some(Err(ErrorKind::Invalid)));
}

#[test]
fn a_lock_that_is_offered_is_not_told_to_its_giver_again_before_the_offer_is_retracted() {
    let mut story = Story::default();
    story.lock(host(1), Mode::Ex);
    let Ok(Value::Offered { offer }) = story.table.offer("r", &host(1), 2) else { panic!("not offered") };
    let again = story.lock(host(1), Mode::Ex);
    assert_eq!(story.answer(again), Some(Err(ErrorKind::Busy)));
    story.table.retract("r", &host(1), offer).unwrap();
    let again = story.lock(host(1), Mode::Ex);
    assert_eq!(story.answer(again), Some(Ok(1)));
}

#[test]
fn a_node_that_returns_frees_what_its_connections_held_and_after_a_reboot_all() {
    for (rebooted, left) in [(false, vec![(host(1), Mode::Cr)]), (true, vec![])] {
        let mut story = Story::default();
        story.lock(host(1), Mode::Cr);
        story.lock(connection(1, 4), Mode::Cr);
        let writer = story.lock(connection(2, 1), Mode::Ex);
        story.table.returned(1, rebooted, 5, &mut story.decided);
        assert_eq!(story.answer(writer).is_some(), rebooted);
        if !rebooted {
            assert_eq!(story.modes(), left);
        }
    }
}

#[test]
fn a_lost_node_keeps_what_it_holds_and_is_given_nothing() {
    let mut story = Story::default();
    story.lock(connection(1, 1), Mode::Ex);
    story.lock(connection(2, 1), Mode::Ex);
    let third = story.lock(connection(3, 1), Mode::Ex);
    story.table.stop_waiting(2, 5, &mut story.decided);
    story.unlock(connection(1, 1));
    assert!(matches!(story.answer(third), Some(Ok(_))));
    story.table.stop_waiting(3, 5, &mut story.decided);
    assert_eq!(story.modes(), [(connection(3, 1), Mode::Ex)]);
}

#[test]
fn an_offered_lock_has_one_owner_at_every_moment() {
    let mut story = Story::default();
    story.lock(host(1), Mode::Ex);
    let offered = story.table.offer("r", &host(1), 2).unwrap();
    let Value::Offered { offer } = offered else { panic!() };
    assert_eq!(story.table.offer("r", &host(1), 2), Ok(Value::Offered { offer }), "the same offer");
    let decided = &mut story.decided;
    assert_eq!(story.table.accept("r", &host(3), offer, 4, decided).unwrap_err().kind, ErrorKind::NotHeld);
    let taken = story.table.accept("r", &host(2), offer, 4, decided);
    assert!(matches!(taken, Ok(Value::Granted { generation, value: None }) if generation > offer));
    assert_eq!(story.table.accept("r", &host(2), offer, 4, decided), taken, "accepting twice is accepting once");
    assert_eq!(story.table.retract("r", &host(1), offer).unwrap_err().kind, ErrorKind::NotHeld);
    assert_eq!(story.modes(), [(host(2), Mode::Ex)]);
    assert!(story.table.owns(&host(2)) && !story.table.owns(&host(1)));
    story.unlock(host(2));
    assert_eq!(story.table.count, 0);
}

#[test]
fn a_retracted_offer_cannot_be_accepted() {
    let mut story = Story::default();
    story.lock(host(1), Mode::Ex);
    let Ok(Value::Offered { offer }) = story.table.offer("r", &host(1), 2) else { panic!() };
    assert_eq!(story.table.retract("r", &host(1), offer), Ok(Value::Done {}));
    assert!(story.table.accept("r", &host(2), offer, 4, &mut story.decided).is_err());
    assert_eq!(story.modes(), [(host(1), Mode::Ex)]);
}

#[test]
fn generations_only_grow_and_a_saved_table_is_the_same_table() {
    let mut story = Story::default();
    let mut last = 0;
    for round in 0..20 {
        let owner = connection(round % 3, round);
        let seq = story.lock(owner.clone(), Mode::ALL[(round % 5) as usize + 1]);
        let generation = story.answer(seq).unwrap().unwrap();
        assert!(generation > last);
        last = generation;
        let saved = serde_json::to_vec(&story.table).unwrap();
        assert_eq!(serde_json::from_slice::<Table>(&saved).unwrap(), story.table);
        story.unlock(owner);
    }
}

#[test]
fn the_table_has_an_end() {
    let mut table = Table::default();
    let mut decided = Vec::new();
    for seq in 0..=MAX_LOCKS as u64 {
        let resource = format!("r{seq}");
        let asked = Asked {
            resource: &resource,
            owner: &host(1),
            mode: Mode::Ex,
            now_or_never: true,
            note: "",
            seq: seq + 1,
            time: 1,
            value: None,
        };
        table.lock(asked, &mut decided);
    }
    assert!(decided[..MAX_LOCKS].iter().all(|decided| decided.result.is_ok()));
    assert_eq!(decided[MAX_LOCKS].result.as_ref().unwrap_err().kind, ErrorKind::Busy);
}

#[test]
fn a_lock_told_to_a_second_caller_stays_when_the_first_ones_call_is_withdrawn() {
    for second in [Story::lock, Story::convert] {
        let mut story = Story::default();
        let first = story.lock(host(1), Mode::Ex);
        let again = second(&mut story, host(1), Mode::Ex);
        assert_eq!(story.answer(again), story.answer(first));
        story.table.withdraw("r", CallId { node: 1, seq: first }, 3, &mut story.decided);
        assert_eq!(story.modes(), [(host(1), Mode::Ex)]);
    }
}

#[test]
fn sessions_of_a_host_are_owners_of_their_own() {
    let mut story = Story::default();
    let (one, two) = (Owner::session(1, "one"), Owner::session(1, "two"));
    let first = story.lock(one.clone(), Mode::Ex);
    let second = story.lock(two.clone(), Mode::Ex);
    let plain = story.ask(host(1), Mode::Ex, true, false);
    assert_eq!((story.answer(first), story.answer(second)), (Some(Ok(1)), None));
    assert_eq!(story.answer(plain), Some(Err(ErrorKind::Busy)));
    // The daemon starts over in the same boot: who waited has to ask again, who held has it.
    story.table.returned(1, false, 5, &mut story.decided);
    assert_eq!(story.answer(second), Some(Err(ErrorKind::Inquorate)));
    let again = story.lock(one.clone(), Mode::Ex);
    assert_eq!(story.answer(again), Some(Ok(1)));
    assert_eq!((story.table.owned_by(1), story.table.owned_by(2)), (1, 0));
    story.table.returned(1, true, 6, &mut story.decided);
    assert!(story.modes().is_empty() && story.table.owned_by(1) == 0);
}

#[test]
fn a_value_block_is_written_by_whoever_gives_up_pw_or_ex() {
    let mut story = Story::default();
    let writer = connection(1, 1);
    story.lock(connection(2, 2), Mode::Nl);
    story.lock(writer.clone(), Mode::Pw);
    assert_eq!(story.value(), None);
    story.write(&writer, Mode::Pw, "a").unwrap();
    assert_eq!(story.value(), Some(("a".into(), true)), "kept");
    assert_eq!(story.write(&writer, Mode::Ex, "b").unwrap_err().kind, ErrorKind::Invalid, "gained");
    story.write(&writer, Mode::Cr, "b").unwrap();
    assert_eq!(story.value(), Some(("b".into(), true)), "given up");
    assert_eq!(story.write(&writer, Mode::Cr, "c").unwrap_err().kind, ErrorKind::Invalid);
    let refused = story.table.unlock("r", &writer, Some("c"), 2, &mut story.decided).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    story.convert(writer.clone(), Mode::Ex);
    story.table.unlock("r", &writer, Some("c"), 2, &mut story.decided).unwrap();
    assert_eq!(story.value(), Some(("c".into(), true)));
    // It lasts as long as anybody has the resource.
    story.unlock(connection(2, 2));
    assert_eq!(story.value(), None);
}

#[test]
fn a_value_block_is_in_doubt_when_one_died_who_might_have_written_it() {
    for (mode, valid) in [(Mode::Pr, true), (Mode::Pw, false), (Mode::Ex, false)] {
        let mut story = Story::default();
        story.lock(connection(2, 2), Mode::Nl);
        story.lock(connection(1, 1), Mode::Ex);
        story.write(&connection(1, 1), mode, "a").unwrap();
        story.table.returned(1, false, 3, &mut story.decided);
        assert_eq!(story.value(), Some(("a".into(), valid)), "{mode}");
        story.lock(connection(3, 3), Mode::Ex);
        assert_eq!(story.value(), Some(("a".into(), valid)));
        story.write(&connection(3, 3), Mode::Nl, "b").unwrap();
        assert_eq!(story.value(), Some(("b".into(), true)));
    }
    // Whoever waited behind another of the dead node's calls is told so too.
    let mut story = Story::default();
    story.lock(connection(1, 1), Mode::Pw);
    story.write(&connection(1, 1), Mode::Pw, "a").unwrap();
    story.lock(connection(1, 2), Mode::Ex);
    story.lock(connection(2, 3), Mode::Cr);
    story.decided.clear();
    story.table.returned(1, true, 3, &mut story.decided);
    let told = story.decided.iter().find_map(|decided| match &decided.result {
        Ok(Value::Granted { value, .. }) => Some(value.clone()),
        _ => None,
    });
    assert_eq!(told, Some(Some(("a".into(), false))));
    // A call that is taken back wrote nothing and was about to write nothing.
    let mut story = Story::default();
    story.lock(connection(2, 2), Mode::Ex);
    story.write(&connection(2, 2), Mode::Nl, "a").unwrap();
    let seq = story.lock(connection(1, 1), Mode::Ex);
    story.table.withdraw("r", CallId { node: 1, seq }, 3, &mut story.decided);
    assert_eq!(story.value(), Some(("a".into(), true)));
}

#[test]
fn a_stream_of_readers_does_not_starve_a_writer() {
    let mut story = Story::default();
    story.lock(connection(1, 0), Mode::Pr);
    let writer = story.lock(connection(2, 0), Mode::Ex);
    let mut readers = Vec::new();
    for number in 1..=50 {
        readers.push(story.lock(connection(1, number), Mode::Pr));
    }
    assert_eq!(story.modes().len(), 1);
    story.unlock(connection(1, 0));
    assert!(matches!(story.answer(writer), Some(Ok(_))));
    story.unlock(connection(2, 0));
    let generations: Vec<u64> = readers.iter().map(|seq| story.answer(*seq).unwrap().unwrap()).collect();
    assert!(generations.is_sorted(), "in the order of their asking");
}

#[test]
fn no_conversion_waits_for_itself() {
    // Whoever would close the circle is told at once, whoever was first goes on when he can.
    for (held, wanted) in [(Mode::Pr, Mode::Ex), (Mode::Cw, Mode::Pr), (Mode::Pr, Mode::Pw), (Mode::Cr, Mode::Ex)] {
        let mut story = Story::default();
        for node in 1..=3 {
            story.lock(connection(node, 1), held);
        }
        let first = story.convert(connection(1, 1), wanted);
        let second = story.convert(connection(2, 1), wanted);
        assert_eq!(story.answer(first), None, "{held} to {wanted}");
        assert_eq!(story.answer(second), Some(Err(ErrorKind::Deadlock)), "{held} to {wanted}");
        story.unlock(connection(2, 1));
        story.unlock(connection(3, 1));
        assert!(matches!(story.answer(first), Some(Ok(_))), "{held} to {wanted}");
    }
}
