//! A log file of any bytes behind the right header: damage is found, never believed or panicked at.
#![no_main]

use cluster_join::log::{HEADER, Loaded, Store, decode_snapshot, recover};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = [&HEADER[..], bytes].concat();
    if let Ok(log) = recover(&file) {
        assert!(log.length <= file.len());
        let again = recover(&file[..log.length]).expect("what was whole is whole");
        assert_eq!(again.entries, log.entries);
        let _ = Store::new(Default::default(), Loaded { snapshot: None, log });
    }
    let _ = decode_snapshot(bytes);
});
