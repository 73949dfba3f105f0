//! A blocking client of the control socket, for the programs that ask one thing at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::{Answer, Call, Failure, MAX_LINE, Request, SOCKET, Status, Value, clients_file};

mod keys;
mod locks;
mod steer;

pub use locks::{Granted, Whose};

/// One connection to `cluster-join`. Dropping it frees the locks taken over it, the sticky ones
/// excepted.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
    next_id: u64,
    /// What has come of an answer that is not all here.
    line: Vec<u8>,
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
                Ok(Self { path, reader: BufReader::new(stream), next_id: 1, line: Vec::new(), _presence: presence })
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
        let id = self.ask(request)?;
        self.wait_for(id, deadline)
    }

    /// Sends one request; [`Client::wait_for`] has its answer. Answers come when there is
    /// something to say, and those nobody waits for are dropped.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the daemon went away.
    pub fn ask(&mut self, request: Request) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Call { id, request }).map_err(|error| self.failure(error.into(), None))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(|error| self.failure(error, None))?;
        Ok(id)
    }

    /// The answer to the request `id`, up to `deadline` when one is set. After
    /// [`ClientError::Slow`] it may be waited for again.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait_for(&mut self, id: u64, deadline: Option<Duration>) -> Result<Value, ClientError> {
        let answer = self.receive(id, deadline).map_err(|source| self.failure(source, deadline))?;
        Result::from(answer.outcome).map_err(ClientError::Refused)
    }

    /// Withdraws the request `id`, which waits; whoever waits for its answer is told
    /// [`super::ErrorKind::Cancelled`], unless it was decided before.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn cancel(&mut self, id: u64) -> Result<(), ClientError> {
        self.ask(Request::Cancel { call: id }).map(drop)
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

    fn receive(&mut self, id: u64, deadline: Option<Duration>) -> io::Result<Answer> {
        let until = deadline.map(|deadline| Instant::now() + deadline);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
            self.reader.get_ref().set_read_timeout(left)?;
            // What a deadline cuts short is the beginning of the next line that is read.
            let room = (MAX_LINE - self.line.len().min(MAX_LINE)) as u64;
            (&mut self.reader).take(room).read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: Answer = serde_json::from_slice(&std::mem::take(&mut self.line))?;
            // Answers to calls that were given up on earlier may still be on the way.
            if answer.id == id {
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

    fn done(&mut self, request: Request, deadline: Option<Duration>) -> Result<(), ClientError> {
        match self.call(request, deadline)? {
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
        // Who may only look acts on no lock.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}

/// For waiting until the daemon closes the connection.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}
