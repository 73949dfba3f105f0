//! What a node is told by another: greetings and messages, and the commands inside the log.
#![no_main]

use cluster_join::peer::{Hello, Peer};
use cluster_join::state::{Command, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Hello::decode(bytes);
    if let Ok(message) = Peer::decode(bytes, 1, 2) {
        let again = message.encode().expect("messages have a form");
        assert_eq!(Peer::decode(&again, 1, 2).expect("our own message"), message);
    }
    let mut state = State::decode(bytes).unwrap_or_default();
    if let Ok(commands) = serde_json::from_slice::<Vec<Command>>(bytes) {
        let mut effects = Vec::new();
        commands.into_iter().for_each(|command| state.apply(command, &mut effects));
    }
    let saved = state.encode().expect("states have a form");
    assert_eq!(State::decode(&saved).expect("our own state"), state);
});
