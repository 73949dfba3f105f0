//! A blocking client of the control socket, for the programs that ask one thing at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::{Answer, Call, Failure, LockState, MAX_LINE, Mode, Request, SOCKET, Status, Value, clients_file};

/// One connection to `cluster-join`. Dropping it frees the locks taken over it, the sticky ones
/// excepted.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
    next_id: u64,
    /// Tells a restarted daemon that whoever acted on its locks is still there. Dropped last.
    _presence: Option<Flock<File>>,
}

/// Why a call over the socket has no value.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon is not there.
    #[error("{}: is cluster-join running?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The conversation broke; locks held over it are gone.
    #[error("{}: the connection to cluster-join broke", path.display())]
    Broken { path: PathBuf, source: io::Error },
    /// The daemon is there and has not answered.
    #[error("{}: cluster-join has not answered within {} s: is its disk slow?", path.display(), waited.as_secs())]
    Slow { path: PathBuf, waited: Duration },
    /// The daemon says no.
    #[error("{0}")]
    Refused(Failure),
}

impl ClientError {
    /// The daemon's refusal, when that is what this is.
    #[must_use]
    pub fn refusal(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Client {
    /// Connects to `socket`, or to `$CLUSTER_SOCKET`, or to [`SOCKET`].
    ///
    /// # Errors
    /// [`ClientError::Connect`] when nothing listens there.
    pub fn connect(socket: Option<&Path>) -> Result<Self, ClientError> {
        let path = socket
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("CLUSTER_SOCKET").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(SOCKET));
        let connected = UnixStream::connect(&path).and_then(|stream| Ok((stream, presence(&path)?)));
        match connected {
            Ok((stream, presence)) => {
                Ok(Self { path, reader: BufReader::new(stream), next_id: 1, _presence: presence })
            }
            Err(source) => Err(ClientError::Connect { path, source }),
        }
    }

    /// Sends one request and waits for its answer, up to `deadline` when one is set.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the daemon went away, [`ClientError::Slow`] when the deadline
    /// passed, [`ClientError::Refused`] when it says no.
    pub fn call(&mut self, request: Request, deadline: Option<Duration>) -> Result<Value, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let answer = self.exchange(&Call { id, request }, deadline).map_err(|source| self.failure(source, deadline))?;
        Result::from(answer.outcome).map_err(ClientError::Refused)
    }

    fn failure(&self, source: io::Error, deadline: Option<Duration>) -> ClientError {
        let path = self.path.clone();
        match (source.kind(), deadline) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(waited)) => ClientError::Slow { path, waited },
            // A closed pipe means to the programs that their reader has enough. This is not that.
            (io::ErrorKind::BrokenPipe, _) => {
                ClientError::Broken { path, source: io::Error::new(io::ErrorKind::ConnectionReset, "it went away") }
            }
            _ => ClientError::Broken { path, source },
        }
    }

    fn exchange(&mut self, call: &Call, deadline: Option<Duration>) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(call)?;
        line.push(b'\n');
        self.reader.get_ref().set_read_timeout(deadline)?;
        self.reader.get_mut().write_all(&line)?;
        loop {
            let mut line = Vec::new();
            (&mut self.reader).take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: Answer = serde_json::from_slice(&line)?;
            // Answers to calls that were given up on earlier may still be on the way.
            if answer.id == call.id {
                return Ok(answer);
            }
        }
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(Request::Status, Some(Duration::from_secs(10)))? {
            Value::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn locks(&mut self) -> Result<Vec<LockState>, ClientError> {
        match self.call(Request::Locks, Some(Duration::from_secs(10)))? {
            Value::Locks(locks) => Ok(locks),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Takes a lock for this connection; answers its generation.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lock(&mut self, resource: &str, mode: Mode, wait_ms: Option<u64>, note: &str) -> Result<u64, ClientError> {
        self.granted(Request::Lock {
            resource: resource.into(),
            mode,
            wait_ms,
            sticky: false,
            session: None,
            note: note.into(),
        })
    }

    /// Takes a lock for this host, which keeps it after the connection closes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lock_sticky(
        &mut self,
        resource: &str,
        mode: Mode,
        wait_ms: Option<u64>,
        note: &str,
    ) -> Result<u64, ClientError> {
        self.granted(Request::Lock {
            resource: resource.into(),
            mode,
            wait_ms,
            sticky: true,
            session: None,
            note: note.into(),
        })
    }

    /// Changes the mode of a lock this host keeps.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn convert_sticky(&mut self, resource: &str, mode: Mode, wait_ms: Option<u64>) -> Result<u64, ClientError> {
        self.granted(Request::Convert {
            resource: resource.into(),
            mode,
            wait_ms,
            sticky: true,
            session: None,
            value: None,
        })
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn unlock(&mut self, resource: &str) -> Result<(), ClientError> {
        self.done(Request::Unlock { resource: resource.into(), sticky: false, session: None, value: None })
    }

    /// [`Client::unlock`] that gives up waiting for the answer after `deadline`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn unlock_within(&mut self, resource: &str, deadline: Duration) -> Result<(), ClientError> {
        match self.call(
            Request::Unlock { resource: resource.into(), sticky: false, session: None, value: None },
            Some(deadline),
        )? {
            Value::Done {} => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// # Errors
    /// As [`Client::call`].
    pub fn unlock_sticky(&mut self, resource: &str) -> Result<(), ClientError> {
        self.done(Request::Unlock { resource: resource.into(), sticky: true, session: None, value: None })
    }

    /// Offers a sticky lock to the host `to`; answers the offer's number.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn offer(&mut self, resource: &str, to: &str) -> Result<u64, ClientError> {
        match self.call(Request::Offer { resource: resource.into(), to: to.into() }, None)? {
            Value::Offered { offer } => Ok(offer),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Becomes the owner of a lock offered to this host; answers the new generation.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn accept(&mut self, resource: &str, offer: u64) -> Result<u64, ClientError> {
        self.granted(Request::Accept { resource: resource.into(), offer })
    }

    /// Withdraws an offer; refused with `not-held` when it was accepted before.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn retract(&mut self, resource: &str, offer: u64) -> Result<(), ClientError> {
        self.done(Request::Retract { resource: resource.into(), offer })
    }

    fn granted(&mut self, request: Request) -> Result<u64, ClientError> {
        match self.call(request, None)? {
            Value::Granted { generation, .. } => Ok(generation),
            other => Err(self.unexpected(&other)),
        }
    }

    fn done(&mut self, request: Request) -> Result<(), ClientError> {
        match self.call(request, None)? {
            Value::Done {} => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, value: &Value) -> ClientError {
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("an answer to another question: {value:?}"));
        ClientError::Broken { path: self.path.clone(), source }
    }
}

/// The shared lock of [`clients_file`]; none where the daemon made no such file.
fn presence(socket: &Path) -> io::Result<Option<Flock<File>>> {
    match File::open(clients_file(socket)) {
        Ok(file) => Flock::lock(file, FlockArg::LockShared).map(Some).map_err(|(_, errno)| errno.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// For waiting until the daemon closes the connection.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}
