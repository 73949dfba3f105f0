//! What the two ends of a migration say to each other, inside one Noise session. The first byte
//! of a message is its kind; memory follows as it is, everything else as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::Volume;

/// Both ends of a session must say the same to the session layer.
pub const PURPOSE: &str = "fivenines migration";
/// Version 1: as described here.
pub const VERSION: u32 = 1;
/// Longest message: a domain's configuration, or a piece of its memory.
pub const MAX_MESSAGE: usize = 2 << 20;

/// The source's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// The source's name in cluster.conf.
    pub from: String,
    pub domain: String,
}

/// The target's greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u32,
    /// The target's name in cluster.conf.
    pub node: String,
}

/// All the target needs to know before the memory comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The number under which the domain's lock is offered to the target.
    pub offer: u64,
    /// The resolved configuration the domain runs from.
    pub config: String,
    /// Its volumes, as VG/LV.
    pub volumes: Vec<String>,
    /// Its other disks, which must be at the same path on the target.
    pub paths: Vec<String>,
}

impl Start {
    pub fn volumes(&self) -> Result<Vec<Volume>, String> {
        self.volumes.iter().map(|volume| volume.parse()).collect()
    }
}

/// Source to target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToTarget {
    Start(Start),
    Data(Vec<u8>),
    /// The source's copy is suspended for good: accept the lock and let it run.
    Go,
    /// Before `Go`: throw away what came.
    Cancel,
    /// The returned lock is taken.
    TookBack,
    /// The source's volumes are off.
    Released,
}

/// Target to source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSource {
    /// As far as can be told, the domain can come: start.
    Admitted,
    /// The volumes are active and xl is ready for the memory.
    Banner,
    /// The domain stands paused.
    Ready,
    Outcome(Outcome),
    /// The target's volumes are off.
    Released,
}

/// How it ended at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs there, under the target's lock.
    Running,
    /// It never ran there and its copy is gone.
    Failed { reason: String, lock: Lock },
}

/// What became of the domain's lock at a target that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// It was never accepted, and will not be.
    Untouched,
    /// The target asked for it and has no answer yet. When it turns out to have it, another
    /// outcome follows that returns it.
    Unsure,
    /// It was accepted, and is offered back under this number.
    Returned(u64),
}

impl ToTarget {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Start(start) => tagged(b'S', start),
            Self::Data(bytes) => {
                let mut message = Vec::with_capacity(bytes.len() + 1);
                message.push(b'D');
                message.extend_from_slice(bytes);
                message
            }
            Self::Go => b"G".to_vec(),
            Self::Cancel => b"C".to_vec(),
            Self::TookBack => b"T".to_vec(),
            Self::Released => b"R".to_vec(),
        }
    }

    pub fn decode(message: &[u8]) -> Result<Self, String> {
        match message.split_first() {
            Some((b'S', json)) => untagged(json).map(Self::Start),
            Some((b'D', bytes)) => Ok(Self::Data(bytes.to_vec())),
            Some((b'G', [])) => Ok(Self::Go),
            Some((b'C', [])) => Ok(Self::Cancel),
            Some((b'T', [])) => Ok(Self::TookBack),
            Some((b'R', [])) => Ok(Self::Released),
            _ => Err(unknown(message)),
        }
    }
}

impl ToSource {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Admitted => b"A".to_vec(),
            Self::Banner => b"B".to_vec(),
            Self::Ready => b"Y".to_vec(),
            Self::Outcome(outcome) => tagged(b'O', outcome),
            Self::Released => b"R".to_vec(),
        }
    }

    pub fn decode(message: &[u8]) -> Result<Self, String> {
        match message.split_first() {
            Some((b'A', [])) => Ok(Self::Admitted),
            Some((b'B', [])) => Ok(Self::Banner),
            Some((b'Y', [])) => Ok(Self::Ready),
            Some((b'O', json)) => untagged(json).map(Self::Outcome),
            Some((b'R', [])) => Ok(Self::Released),
            _ => Err(unknown(message)),
        }
    }
}

fn tagged(tag: u8, value: &impl Serialize) -> Vec<u8> {
    let mut message = vec![tag];
    serde_json::to_writer(&mut message, value).expect("plain structures have a JSON form, and a Vec takes it");
    message
}

fn untagged<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("a message that cannot be read: {error}"))
}

fn unknown(message: &[u8]) -> String {
    match message.first() {
        Some(tag) => format!("a message of unknown kind `{}' and {} bytes", tag.escape_ascii(), message.len()),
        None => "an empty message".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Start {
        Start {
            offer: 7,
            config: "name = \"g\"\n".into(),
            volumes: vec!["vg/a".into()],
            paths: vec!["/dev/sdb".into()],
        }
    }

    #[test]
    fn every_message_reads_back() {
        let to_target = [
            ToTarget::Start(start()),
            ToTarget::Data(vec![0, 255, 7]),
            ToTarget::Data(Vec::new()),
            ToTarget::Go,
            ToTarget::Cancel,
            ToTarget::TookBack,
            ToTarget::Released,
        ];
        for message in to_target {
            assert_eq!(ToTarget::decode(&message.encode()).unwrap(), message);
        }
        let failed = Outcome::Failed { reason: "no memory".into(), lock: Lock::Returned(8) };
        for message in [
            ToSource::Admitted,
            ToSource::Banner,
            ToSource::Ready,
            ToSource::Outcome(Outcome::Running),
            ToSource::Outcome(failed),
            ToSource::Released,
        ] {
            assert_eq!(ToSource::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn a_message_cut_at_any_length_is_an_error() {
        let whole = ToTarget::Start(start()).encode();
        for length in 0..whole.len() {
            assert!(ToTarget::decode(&whole[..length]).is_err(), "{length}");
        }
        assert!(ToTarget::decode(b"GG").is_err() && ToSource::decode(b"D").is_err());
    }

    #[test]
    fn volumes_of_a_peer_are_names_and_nothing_else() {
        let mut hostile = start();
        hostile.volumes.push("-an/../x".into());
        assert!(hostile.volumes().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (ToTarget::decode(&bytes), ToSource::decode(&bytes));
        }
    }
}
