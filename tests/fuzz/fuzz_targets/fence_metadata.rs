//! A fence agent's metadata from any bytes; what is accepted can be held against a device.
#![no_main]

use cluster_conf::Device;
use fence::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(metadata) = Metadata::parse(bytes) else { return };
    assert!(!metadata.name.is_empty());
    let names = metadata.parameters.iter().map(|parameter| (parameter.name.clone(), "1".to_owned()));
    let attributes = names.chain([("colour".to_owned(), "red".to_owned())]).collect();
    let device = Device { name: "d".into(), agent: "fence_x".into(), attributes };
    let _ = (metadata.complaints(&device), metadata.reboots());
});
