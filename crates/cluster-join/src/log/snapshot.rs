//! Snapshot files: `"5nsnap\0\1"`, u32 length, u32 crc32 (little endian), one protobuf snapshot.

use anyhow::{Context, ensure};
use protobuf::Message as _;
use raft::eraftpb::Snapshot;

const HEADER: [u8; 8] = *b"5nsnap\0\x01";

/// A snapshot as its file holds it.
///
/// # Errors
/// It does not encode, or is longer than 4 GiB.
pub fn encode(snapshot: &Snapshot) -> anyhow::Result<Vec<u8>> {
    let body = snapshot.write_to_bytes()?;
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads a snapshot file.
///
/// # Errors
/// It is not one, or was damaged.
pub fn decode(bytes: &[u8]) -> anyhow::Result<Snapshot> {
    let rest = bytes.strip_prefix(&HEADER).context("not a snapshot of this program and version")?;
    let (numbers, body) = rest.split_first_chunk::<8>().context("cut short")?;
    let [a, b, c, d, e, f, g, h] = *numbers;
    ensure!(u32::from_le_bytes([a, b, c, d]) as usize == body.len(), "not the length it says");
    ensure!(u32::from_le_bytes([e, f, g, h]) == crc32fast::hash(body), "its checksum is wrong");
    Ok(Snapshot::parse_from_bytes(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_cut_or_changed_anywhere_is_refused() {
        let mut snapshot = Snapshot { data: b"state".to_vec().into(), ..Snapshot::default() };
        snapshot.mut_metadata().index = 77;
        let bytes = encode(&snapshot).unwrap();
        assert_eq!(decode(&bytes).unwrap(), snapshot);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
            let mut changed = bytes.clone();
            changed[length] ^= 1;
            assert!(decode(&changed).is_err(), "byte {length}");
        }
    }
}
