//! LVM2's flock protocol: one file per volume group and one for everything that is not in a
//! group, removed by the last user, so every holder checks that its file is still the one there.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::stop::{Context, Result, Stop};

/// Shared for reading, exclusive for changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Shared,
    Exclusive,
}

/// A held lock; dropping it gives it back.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    lock: Option<Flock<File>>,
}

impl FileLock {
    /// Takes `name` (`V_vg`, `P_global`) in the locking directory; waits as long as it takes,
    /// unless `wait` is false.
    ///
    /// # Errors
    /// The directory or file cannot be made, or the lock is taken and waiting is not wanted.
    pub fn take(dir: &Path, name: &str, kind: Kind, wait: bool) -> Result<Self> {
        if !dir.exists() {
            fs::create_dir_all(dir).at(dir.display())?;
        }
        let path = dir.join(name);
        // Whoever wants the lock passes through the side file first, a writer keeps it while it
        // waits: a stream of readers cannot starve it.
        let aside = Self::flock(&dir.join(format!("{name}:aux")), FlockArg::LockExclusive, wait)?;
        if kind == Kind::Shared {
            drop(aside);
            return Self::flock(&path, FlockArg::LockShared, wait);
        }
        Self::flock(&path, FlockArg::LockExclusive, wait)
    }

    fn flock(path: &Path, arg: FlockArg, wait: bool) -> Result<Self> {
        let arg = match arg {
            _ if wait => arg,
            FlockArg::LockShared => FlockArg::LockSharedNonblock,
            _ => FlockArg::LockExclusiveNonblock,
        };
        loop {
            let file = File::options().read(true).append(true).create(true).mode(0o700).open(path).at(path.display())?;
            let mut held = file;
            let lock = loop {
                match Flock::lock(held, arg) {
                    Ok(lock) => break lock,
                    Err((file, Errno::EINTR)) => held = file,
                    Err((_, errno)) => {
                        return Err(Stop::failed(format_args!("{}: flock failed: {}", path.display(), errno.desc())));
                    }
                }
            };
            // While we waited the file may have been removed and made anew.
            if is_same(&lock, path) {
                return Ok(Self { path: path.to_path_buf(), lock: Some(lock) });
            }
        }
    }
}

fn is_same(lock: &File, path: &Path) -> bool {
    match (lock.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // Removed only while nobody else holds it; whoever waits finds another inode and retries.
        if lock.relock(FlockArg::LockExclusiveNonblock).is_ok() && is_same(&lock, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let take = |kind| FileLock::take(dir.path(), "V_vg", kind, false);
        let one = take(Kind::Shared).unwrap();
        let two = take(Kind::Shared).unwrap();
        assert!(take(Kind::Exclusive).is_err());
        drop(one);
        drop(two);
        let writer = take(Kind::Exclusive).unwrap();
        assert!(take(Kind::Shared).is_err());
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the files are removed");
    }

    #[test]
    fn a_file_removed_while_waiting_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let holder = FileLock::take(dir.path(), "V_vg", Kind::Exclusive, true).unwrap();
        let path = dir.path().to_path_buf();
        let waiter = std::thread::spawn(move || FileLock::take(&path, "V_vg", Kind::Exclusive, true).unwrap());
        // The waiter holds the side file from when it begins to wait.
        while FileLock::flock(&dir.path().join("V_vg:aux"), FlockArg::LockExclusive, false).is_ok() {
            std::thread::yield_now();
        }
        drop(holder);
        let lock = waiter.join().unwrap();
        assert!(is_same(lock.lock.as_ref().unwrap(), &dir.path().join("V_vg")));
    }
}
