//! `/run/lvm/hints`: LVM2 remembers there which devices are physical volumes. Whoever changes that
//! must make LVM2 forget, or it will not look at a new one.

use std::fs::{self, File};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

const RUN_DIR: &str = "/run/lvm";

/// Hints out of use; dropping it lets LVM2 make new ones.
#[derive(Debug)]
pub struct Hints {
    _lock: Option<Flock<File>>,
}

impl Hints {
    /// Empties the hints and keeps LVM2 from writing them until this is dropped. Where LVM2 has
    /// never run there are none.
    #[must_use]
    pub fn forget() -> Self {
        Self { _lock: Self::clear(Path::new(RUN_DIR)) }
    }

    fn clear(dir: &Path) -> Option<Flock<File>> {
        if !dir.exists() {
            return None;
        }
        // Readers that see this file do without hints, so the lock below comes soon.
        let _ = File::create(dir.join("nohints"));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("hints"));
        let lock = file.ok().and_then(|file| Flock::lock(file, FlockArg::LockExclusive).ok());
        let _ = fs::remove_file(dir.join("nohints"));
        if let Some(lock) = &lock {
            let _ = lock.set_len(0);
        }
        let _ = File::create(dir.join("newhints"));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_emptied_and_new_ones_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hints"), "scan:/dev/loop0").unwrap();
        let lock = Hints::clear(dir.path());
        assert!(lock.is_some());
        assert_eq!(fs::read(dir.path().join("hints")).unwrap(), b"");
        assert!(dir.path().join("newhints").exists() && !dir.path().join("nohints").exists());
        assert!(Hints::clear(&dir.path().join("absent")).is_none());
    }
}
