//! What a daemon gives up once it serves: its capabilities, the file system, and the system calls
//! it does not use. Whoever takes it over gets what is left.
//!
//! In two steps. [`confine`] comes before threads are started, since the kernel confines the
//! calling thread and those it starts from then on; [`seal`] comes last, and is for all threads.
//! What a kernel lacks is told in words and left out: a disk that is served without a sandbox is
//! better than one that is not served.

mod calls;
mod files;

use std::io;
use std::path::PathBuf;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// What a packet daemon still needs once it serves. Folders mean everything beneath them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// More interfaces, files and devices are opened later: packet sockets, threads that wait.
    pub more: bool,
    /// Read from: folders or files.
    pub read: Vec<PathBuf>,
    /// With files or devices that are opened for reading and writing.
    pub write: Vec<PathBuf>,
    /// With files that are made, replaced and read.
    pub keep: Vec<PathBuf>,
    /// With files that are removed.
    pub clear: Vec<PathBuf>,
}

/// Gives up capabilities and the file system, for this thread and those it starts later. Returns
/// what could not be done, for people.
#[must_use]
pub fn confine(needs: &Needs) -> Vec<String> {
    let mut missing = Vec::new();
    // Memory is locked for the kernel's use without CAP_IPC_LOCK too.
    let _ = lock_limit();
    if let Err(error) = drop_capabilities(needs.more) {
        missing.push(format!("capabilities: {error}"));
    }
    if let Err(error) = set_no_new_privs() {
        missing.push(format!("no_new_privs: {error}"));
    }
    if let Err(error) = files::confine(needs) {
        missing.push(format!("landlock: {error}"));
    }
    missing
}

/// Gives up the system calls that are not needed, for all threads.
///
/// # Errors
/// In words: this kernel or this processor has no such filter.
pub fn seal(needs: &Needs) -> Result<(), String> {
    calls::seal(needs.more).map_err(|error| format!("seccomp: {error}"))
}

/// No limit, or as much as may be had.
fn lock_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
        .or_else(|_| setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard))
}

/// Keeps CAP_NET_RAW if there are sockets to open, and nothing else.
fn drop_capabilities(raw: bool) -> io::Result<()> {
    let failed = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    let have = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let keep: CapsHashSet = have.into_iter().filter(|cap| raw && *cap == Capability::CAP_NET_RAW).collect();
    // What a program started from here could get back; refused to who has no CAP_SETPCAP, and so
    // little to get back.
    for cap in caps::all() {
        let _ = caps::drop(None, CapSet::Bounding, cap);
    }
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Effective, &keep).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed)?;
    caps::clear(None, CapSet::Inheritable).map_err(failed)
}

#[cfg(test)]
mod tests;
