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
        self.open()?.announce()
    }

    /// Opens what "ready" goes to, for a program that can open nothing by the time it is.
    ///
    /// # Errors
    /// The descriptor is not open for writing, or there is no such socket.
    pub fn open(self) -> io::Result<Announcement> {
        // /proc/self/fd reopens the same pipe without taking ownership of a raw descriptor.
        let open = |fd| File::options().write(true).open(format!("/proc/self/fd/{fd}"));
        let pipe =
            self.fd.map(|fd| open(fd).map_err(|error| unready(fd, &error)).map(|pipe| (fd, pipe))).transpose()?;
        let mut socket = None;
        if let Some(path) = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from)
            && path.is_absolute()
        {
            let unbound = UnixDatagram::unbound()?;
            unbound.connect(path)?;
            socket = Some(unbound);
        }
        Ok(Announcement { pipe, socket })
    }
}

/// A [`Ready`] that only has to be written.
#[derive(Debug)]
pub struct Announcement {
    pipe: Option<(u32, File)>,
    socket: Option<UnixDatagram>,
}

impl Announcement {
    /// Says "ready" once.
    ///
    /// # Errors
    /// Nobody reads the pipe, or the notify socket refuses the message.
    pub fn announce(self) -> io::Result<()> {
        if let Some((fd, mut pipe)) = self.pipe {
            pipe.write_all(b"\n").map_err(|error| unready(fd, &error))?;
        }
        if let Some(socket) = self.socket {
            socket.send(b"READY=1")?;
        }
        Ok(())
    }
}

/// Not a closed stdout, whatever its kind.
fn unready(fd: u32, error: &io::Error) -> io::Error {
    io::Error::other(format!("--ready-fd {fd}: {error}"))
}
