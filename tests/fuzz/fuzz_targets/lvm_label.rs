//! The first four sectors of a device from any bytes; what is accepted survives being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvm2_format::{Label, crc};

fuzz_target!(|bytes: &[u8]| {
    let _ = Label::find(bytes);
    // Almost no input has a right checksum: give it one, so that what lies behind is reached.
    let mut sector = [0; 512];
    let length = bytes.len().min(512);
    sector[..length].copy_from_slice(&bytes[..length]);
    sector[..8].copy_from_slice(b"LABELONE");
    sector[8..16].copy_from_slice(&1u64.to_le_bytes());
    sector[24..32].copy_from_slice(b"LVM2 001");
    let sum = crc(&sector[20..]);
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    let Ok(label) = Label::parse(1, &sector) else { return };
    assert!(!label.data.is_empty());
    if let Ok(written) = label.encode() {
        assert_eq!(Label::parse(1, &written).as_ref(), Ok(&label));
    }
});
