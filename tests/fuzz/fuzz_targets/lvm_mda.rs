//! A metadata area header from any bytes; whatever it says, a new text never lands on the
//! committed one, on the header, or outside the area.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lvm2_format::crc;
use lvm2_format::mda::Header;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first_chunk::<4>() else { return };
    let size = u64::from(u32::from_le_bytes(*size));
    let mut sector = [0; 512];
    let length = bytes.len().min(512 - 24);
    sector[24..24 + length].copy_from_slice(&bytes[..length]);
    sector[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    sector[20..24].copy_from_slice(&1u32.to_le_bytes());
    sector[24..32].copy_from_slice(&4096u64.to_le_bytes());
    let sum = crc(&sector[4..]);
    sector[..4].copy_from_slice(&sum.to_le_bytes());
    let Ok(header) = Header::parse(4096, &sector) else { return };
    assert_eq!(Header::parse(4096, &header.encode()), Ok(header));
    let Ok(offset) = header.place(size) else { return };
    let Ok(new) = header.ranges(offset, size) else { return };
    let end = header.start + header.size;
    for range in new.iter().filter(|range| !range.is_empty()) {
        assert!(range.start >= 4096 + 512 && range.end <= end);
    }
    let Some(slot) = header.committed() else { return };
    for old in header.ranges(slot.offset, slot.size).into_iter().flatten().filter(|range| !range.is_empty()) {
        for range in new.iter().filter(|range| !range.is_empty()) {
            assert!(range.end <= old.start || old.end <= range.start);
        }
    }
});
