use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn connection(node: u64, connection: u64) -> Option<Owner> {
    Some(Owner { node, connection: Some(connection) })
}

fn host(node: u64) -> Option<Owner> {
    Some(Owner { node, connection: None })
}

fn names(keys: &Keys, prefix: &str) -> Vec<String> {
    keys.list(prefix).map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn a_key_changes_only_from_the_revision_that_was_seen() {
    let mut keys = Keys::default();
    assert_eq!(keys.put("a", "1".into(), Some(0), None), Ok(1));
    assert_eq!(keys.put("a", "2".into(), Some(0), None).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(keys.put("a", "2".into(), Some(1), None), Ok(2));
    assert_eq!(keys.delete("a", Some(1)).unwrap_err().message, "a: at revision 2, no longer at 1");
    assert_eq!(keys.delete("a", Some(2)), Ok(3));
    assert_eq!(keys.delete("a", None).unwrap_err().kind, ErrorKind::Unknown);
    assert_eq!(keys.put("a", "3".into(), Some(2), None).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(keys.put("a", "3".into(), None, None), Ok(4));
}

#[test]
fn a_prefix_lists_its_keys_and_no_others() {
    let mut keys = Keys::default();
    for key in ["b/1", "a", "b/2", "b", "c", "b0"] {
        keys.put(key, String::new(), None, None).unwrap();
    }
    assert_eq!(names(&keys, "b/"), ["b/1", "b/2"]);
    assert_eq!(names(&keys, "").len(), 6);
    assert_eq!(names(&keys, "d").len(), 0);
}

#[test]
fn keys_go_with_their_connection_their_incarnation_and_their_boot() {
    let mut keys = Keys::default();
    for (key, owner) in [("c1", connection(1, 1)), ("c2", connection(1, 2)), ("h1", host(1)), ("h2", host(2))] {
        keys.put(key, String::new(), None, owner).unwrap();
    }
    keys.put("cluster", String::new(), None, None).unwrap();
    assert_eq!((keys.owned_by(1), keys.owned_by(2), keys.owned_by(3)), (3, 1, 0));
    keys.close(Owner { node: 1, connection: Some(1) });
    assert_eq!(names(&keys, ""), ["c2", "cluster", "h1", "h2"]);
    assert_eq!(keys.drop_node(1, false), 1);
    assert_eq!(names(&keys, ""), ["cluster", "h1", "h2"]);
    // Whoever sets a key last owns it.
    keys.put("h1", String::new(), None, host(2)).unwrap();
    assert_eq!(keys.drop_node(1, true), 0);
    assert_eq!(keys.drop_node(2, true), 2);
    assert_eq!(names(&keys, ""), ["cluster"]);
    assert!(keys.owned.is_empty());
    let last: Vec<_> = keys.events(7).unwrap().map(|event| (event.key.as_str(), event.value.is_some())).collect();
    assert_eq!(last, [("h1", true), ("h1", false), ("h2", false)]);
}

#[test]
fn the_key_space_has_an_end_in_number_and_in_bytes() {
    let mut keys = Keys::default();
    for number in 0..MAX_KEYS {
        keys.put(&format!("{number}"), String::new(), None, None).unwrap();
    }
    let refused = keys.put("one more", String::new(), None, None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Busy);
    keys.put("7", "changed".into(), None, None).unwrap();
    let mut keys = Keys::default();
    let value = "x".repeat(16 << 10);
    let full = (0..).take_while(|number| keys.put(&format!("{number:04}"), value.clone(), None, None).is_ok()).count();
    assert_eq!(full, MAX_TOTAL / (value.len() + 4));
    assert!(keys.fill().1 <= MAX_TOTAL);
    let refused = keys.put("one more", value.clone(), None, None).unwrap_err();
    assert!(refused.message.contains("at most 4194304"), "{}", refused.message);
    keys.delete("0000", None).unwrap();
    keys.put("one more", value, None, None).unwrap();
}

#[test]
fn whoever_watches_misses_nothing_or_is_told_so() {
    let mut keys = Keys::default();
    for number in 0..MAX_EVENTS + 10 {
        keys.put("k", number.to_string(), None, None).unwrap();
    }
    assert!(keys.events(9).is_none());
    assert_eq!(keys.events(10).unwrap().map(|event| event.revision).next(), Some(11));
    assert_eq!(keys.events(10).unwrap().count(), MAX_EVENTS);
    assert_eq!(keys.events(keys.revision()).unwrap().count(), 0);
    assert_eq!(keys.events(keys.revision() + 5).unwrap().count(), 0);
    // Large values push out more.
    let value = "x".repeat(16 << 10);
    for _ in 0..100 {
        keys.put("k", value.clone(), None, None).unwrap();
    }
    assert!(keys.event_bytes <= MAX_EVENT_BYTES && keys.events.len() < 100);
    assert!(keys.events(keys.revision() - 100).is_none());
}

#[test]
fn results_are_kept_for_as_many_calls_as_can_be_on_their_way() {
    let mut keys = Keys::default();
    for seq in 1..=MAX_RESULTS as u64 + 1 {
        let result = keys.put("k", String::new(), (seq == 2).then_some(0), None);
        keys.ended(1, seq, &result);
    }
    assert_eq!(keys.result(1, 1), None);
    assert_eq!(keys.result(1, 2), Some(Err(ErrorKind::Changed)));
    assert_eq!(keys.result(1, 3), Some(Ok(2)));
    assert_eq!(keys.result(2, 3), None);
}

#[derive(Debug, Clone)]
enum Do {
    Put(u8, u8, Option<u64>, Option<Owner>),
    Delete(u8),
    Close(Owner),
    Drop(u64, bool),
}

fn deeds() -> impl Strategy<Value = Vec<Do>> {
    let owner = || {
        prop_oneof![
            Just(None),
            (1..3u64).prop_map(host),
            (1..3u64, 1..3u64).prop_map(|(node, number)| connection(node, number)),
        ]
    };
    let deed = prop_oneof![
        6 => (0..6u8, any::<u8>(), prop::option::of(0..20u64), owner()).prop_map(|(key, value, revision, owner)| Do::Put(key, value, revision, owner)),
        2 => (0..6u8).prop_map(Do::Delete),
        1 => owner().prop_filter_map("an owner", |owner| owner.map(Do::Close)),
        1 => (1..3u64, any::<bool>()).prop_map(|(node, rebooted)| Do::Drop(node, rebooted)),
    ];
    prop::collection::vec(deed, 1..80)
}

proptest! {
    /// A plain map that does the same, and is rebuilt from the events alone, ends up equal.
    #[test]
    fn the_key_space_is_a_map_and_its_events_tell_all_of_it(deeds in deeds()) {
        let mut keys = Keys::default();
        let mut model: BTreeMap<String, (String, u64, Option<Owner>)> = BTreeMap::new();
        let mut revision = 0;
        for deed in deeds {
            match deed {
                Do::Put(key, value, wanted, owner) => {
                    let (key, value) = (format!("k{key}"), value.to_string());
                    let now = model.get(&key).map_or(0, |entry| entry.1);
                    let result = keys.put(&key, value.clone(), wanted, owner);
                    prop_assert_eq!(result.is_ok(), wanted.is_none_or(|wanted| wanted == now));
                    if let Ok(new) = result {
                        revision += 1;
                        prop_assert_eq!(new, revision);
                        model.insert(key, (value, revision, owner));
                    }
                }
                Do::Delete(key) => {
                    let key = format!("k{key}");
                    let known = model.remove(&key).is_some();
                    revision += u64::from(known);
                    prop_assert_eq!(keys.delete(&key, None).is_ok(), known);
                }
                Do::Close(owner) => {
                    let before = model.len();
                    model.retain(|_, entry| entry.2 != Some(owner));
                    revision += (before - model.len()) as u64;
                    keys.close(owner);
                }
                Do::Drop(node, rebooted) => {
                    let before = model.len();
                    let goes = |owner: &Owner| owner.node == node && (rebooted || owner.connection.is_some());
                    model.retain(|_, entry| !entry.2.as_ref().is_some_and(goes));
                    revision += (before - model.len()) as u64;
                    prop_assert_eq!(keys.drop_node(node, rebooted), before - model.len());
                }
            }
            prop_assert_eq!(keys.revision(), revision);
        }
        let state: BTreeMap<_, _> = keys.list("").map(|(key, entry)| (key.to_owned(), (entry.value.clone(), entry.revision, entry.owner))).collect();
        prop_assert_eq!(&state, &model);
        let mut told = BTreeMap::new();
        for (event, revision) in keys.events(0).unwrap().zip(1..) {
            prop_assert_eq!(event.revision, revision);
            match &event.value {
                Some(value) => told.insert(event.key.clone(), value.clone()),
                None => told.remove(&event.key),
            };
        }
        prop_assert_eq!(told, model.into_iter().map(|(key, entry)| (key, entry.0)).collect::<BTreeMap<_, _>>());
        prop_assert_eq!(keys.fill().1, keys.list("").map(|(key, entry)| key.len() + entry.value.len()).sum::<usize>());
        let saved = serde_json::to_vec(&keys).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Keys>(&saved).unwrap(), keys);
    }
}
