//! The control socket of `cluster-join`: one JSON object a line in each direction.
//!
//! A client writes [`Call`]s and reads one [`Answer`] for each, matched by `id`; answers to calls
//! that wait (a lock in use) come when they come, so several may be outstanding. Closing the
//! connection withdraws what is waiting and frees the locks the connection holds; locks taken
//! with `sticky` belong to the host and stay. cluster-ctl(5) specifies every field.

use std::path::{Path, PathBuf};

mod call;
mod client;
mod fences;
mod keys;
mod status;
mod utc;

pub use call::{Answer, Call, ErrorKind, Failure, Mode, Outcome, Request, Value};
pub use client::{Client, ClientError, Granted, Whose};
pub use fences::{FenceEnd, FenceNode, FenceOperation, FenceTested, Fences};
pub use keys::{AuditRecord, ConfEntry, ConfStored, KeyEntry, KeyEvent, KeyOwner, MAX_KEY, MAX_VALUE};
pub use status::{LinkState, LockHolder, LockState, Member, MemberState, Note, Role, Status};
pub use utc::utc;

/// Version of the conversation; `status` answers with it, and it grows when a field changes its
/// meaning.
pub const VERSION: u32 = 1;

/// Where `cluster-join` listens unless told otherwise; `$CLUSTER_SOCKET` overrides it for clients.
pub const SOCKET: &str = "/run/cluster/cluster-join.sock";

/// Longest line either side accepts, in bytes: a lock list of ten thousand entries fits.
pub const MAX_LINE: usize = 4 << 20;

/// Longest resource name in bytes, as long as LVM's longest volume group name with a prefix.
pub const MAX_RESOURCE: usize = 255;

/// The file beside the socket on which every client holds a shared flock(2) for as long as it
/// has a connection, or still acts on a lock of one that broke. A starting `cluster-join` waits
/// for it before it lets the cluster free the locks of its former run.
#[must_use]
pub fn clients_file(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".clients");
    name.into()
}

/// Longest note on a lock, in bytes.
pub const MAX_NOTE: usize = 255;

/// Longest name of a session of sticky locks, in bytes.
pub const MAX_SESSION: usize = 64;

/// Hexadecimal digits of a lock's value block, which has 32 bytes as the kernel's DLM's does.
pub const VALUE_DIGITS: usize = 64;

/// Longest call, in bytes, of a client that may look but not steer; of the others it is
/// [`MAX_LINE`]. `cluster-join` hangs up on a client that sends more without a newline.
pub const MAX_CALL: usize = 64 << 10;
