//! Telling the one who started a daemon that it is ready to serve.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where "ready" goes: a file descriptor named on the command line (`--ready-fd N`, the s6
/// convention: one newline, then closed), and the socket in `$NOTIFY_SOCKET` (systemd's).
#[derive(Debug, Default)]
pub struct Ready {
    fd: Option<u32>,
}

impl Ready {
    /// `fd` is the descriptor number the starter gave, if any.
    #[must_use]
    pub fn new(fd: Option<u32>) -> Self {
        Self { fd }
    }

    /// Says "ready" once; consumes the announcement.
    ///
    /// # Errors
    /// The descriptor is not open for writing, or the notify socket refuses the message.
    pub fn announce(self) -> io::Result<()> {
        if let Some(fd) = self.fd {
            // /proc/self/fd reopens the same pipe without taking ownership of a raw descriptor.
            let told = File::options()
                .write(true)
                .open(format!("/proc/self/fd/{fd}"))
                .and_then(|mut pipe| pipe.write_all(b"\n"));
            // Not a closed stdout, whatever its kind.
            told.map_err(|error| io::Error::other(format!("--ready-fd {fd}: {error}")))?;
        }
        if let Some(path) = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from)
            && path.is_absolute()
        {
            UnixDatagram::unbound()?.send_to(b"READY=1", path)?;
        }
        Ok(())
    }
}
