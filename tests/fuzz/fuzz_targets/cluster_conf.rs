//! cluster.conf from any bytes; what is accepted keeps the rules the rest relies on.
#![no_main]

use cluster_conf::{Conf, MAX_NODES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(conf) = Conf::parse("cluster.conf", text) else { return };
    assert!((1..=15).contains(&conf.name.len()));
    assert!((1..=MAX_NODES).contains(&conf.nodes.len()) && !conf.voters().is_empty());
    assert!(conf.nodes.windows(2).all(|pair| pair[0].id < pair[1].id));
    let _ = conf.find("node1.example.org");
});
