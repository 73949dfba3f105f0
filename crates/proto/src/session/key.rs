//! The cluster's key file: who has it is one of us.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};

/// Fewest and most bytes of a key file.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=4096;

/// A 32-byte key, the BLAKE2s digest of the key file's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// The keys of a cluster while one takes another's place: sessions are accepted with any of them
/// and opened with the first one that the other side takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring(Vec<Key>);

/// Why a key file is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{}: mode {mode:04o} lets others read the cluster's key; chmod 0600 it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}: a key file holds 32 to 4096 random bytes, this one {length}; make one with: head -c 64 /dev/urandom > {}", path.display(), path.display())]
    Length { path: PathBuf, length: usize },
}

impl Key {
    /// Reads a key file: 32 to 4096 random bytes, readable by its owner alone.
    ///
    /// # Errors
    /// [`KeyError`], each naming the file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let fail = |source| KeyError::Read(path.to_path_buf(), source);
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode { path: path.to_path_buf(), mode });
        }
        let mut bytes = Vec::new();
        file.take(*LENGTHS.end() as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
        if !LENGTHS.contains(&bytes.len()) {
            return Err(KeyError::Length { path: path.to_path_buf(), length: bytes.len() });
        }
        Ok(Self::from_secret(&bytes))
    }

    /// The key made of a secret of any length.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(Blake2s256::digest(secret).into())
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Keyring {
    /// Reads the key file `path`, and beside it `path.next` and `path.old` where they exist.
    ///
    /// # Errors
    /// As [`Key::load`], for any of them.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let mut keys = vec![Key::load(path)?];
        for suffix in [".next", ".old"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            match Key::load(Path::new(&name)) {
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err(KeyError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(keys))
    }

    /// The main key first, then the others that are accepted.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Whether sessions are opened with this key.
    #[must_use]
    pub fn is_main(&self, key: &Key) -> bool {
        self.0.first() == Some(key)
    }
}

impl From<Key> for Keyring {
    fn from(key: Key) -> Self {
        Self(vec![key])
    }
}

/// Never prints the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
