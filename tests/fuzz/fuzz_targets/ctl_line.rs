//! Lines of the control socket, in both directions; what is read is written again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nines_proto::ctl::{Answer, Call};

fuzz_target!(|line: &[u8]| {
    if let Ok(call) = serde_json::from_slice::<Call>(line) {
        let again = serde_json::to_vec(&call).expect("calls have a form");
        assert_eq!(serde_json::from_slice::<Call>(&again).expect("our own line"), call);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(line) {
        let again = serde_json::to_vec(&answer).expect("answers have a form");
        assert_eq!(serde_json::from_slice::<Answer>(&again).expect("our own line"), answer);
    }
});
