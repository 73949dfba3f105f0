//! The control socket: lines of JSON from this host's clients, cluster-ctl(5).

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::count::{Cause, Counters};
use crate::engine::Caller;
use anyhow::{Context, bail};
use nines_proto::ctl::{self, Answer, Call, Failure, MAX_CALL, MAX_LINE, Outcome};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group};

/// Most connections at once.
const MAX_CONNECTIONS: usize = 512;
/// Most of them that may only look.
const MAX_LOOKING: usize = 128;
/// Answers that wait to be read; a client that lets more pile up is hung up on.
const MAX_UNREAD: usize = 2 * MAX_LINE;

/// How long clients of a former run may take to notice that it is gone; clvm-lock kills its
/// command after two seconds. A host whose watchdog the former run armed is reset by it unless
/// this run has a lease before its timeout, so this is not longer than it must be.
const FORMER_CLIENTS: Duration = Duration::from_millis(2500);

/// What came over the socket.
#[derive(Debug)]
pub enum Heard {
    Call { caller: Caller, call: Call },
    Closed { connection: u64 },
}

/// The socket and its connections.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    counters: Arc<Counters>,
    /// Accepting failed: not polled for once, so that the failure is not all this process does.
    resting: bool,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    may_steer: bool,
    uid: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Nothing more is read; it ends when the output is written.
    ending: bool,
}

impl Control {
    /// Listens at `path`, for this process's user and, to look only, for the members of `group`. A
    /// socket that a dead daemon left is replaced, one that answers is not.
    ///
    /// # Errors
    /// Another daemon answers there, the place does not take a socket, or there is no such group.
    pub fn bind(path: &Path, group: Option<&str>, counters: Arc<Counters>) -> anyhow::Result<Self> {
        let name = path.display();
        let group = group.map(find_group).transpose()?;
        make_directory(path)?;
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => bail!("{name}: exists and is not a socket"),
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => bail!("{name}: another daemon answers there"),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).with_context(|| format!("{name}"))?;
                }
                Err(error) => return Err(error).with_context(|| format!("{name}")),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{name}")),
        }
        // The process's umask keeps everybody else out from the first moment on.
        let listener = UnixListener::bind(path).with_context(|| format!("{name}"))?;
        listener.set_nonblocking(true)?;
        if let Some(group) = group {
            chown(path, None, Some(group.as_raw())).with_context(|| format!("{name}: --group"))?;
            fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(|| format!("{name}"))?;
        }
        Ok(Self { path: path.into(), listener, connections: BTreeMap::new(), next: 1, counters, resting: false })
    }

    /// Waits until the clients of a former run are gone, so that none still acts on a lock that
    /// the cluster frees when this run joins. One that stays longer than it may is left behind.
    ///
    /// # Errors
    /// The file they hold cannot be made or locked.
    pub fn wait_for_former_clients(socket: &Path) -> anyhow::Result<()> {
        make_directory(socket)?;
        let path = ctl::clients_file(socket);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{}", path.display()))?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => return Ok(()),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(errno).with_context(|| format!("{}", path.display())),
        };
        nines_cli::log(format_args!("waiting for clients of the former run to end"));
        let (gone, waiting) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("clients".into()).spawn(move || {
            // Nobody listens any more when it took too long; the lock goes with the thread.
            let _ = gone.send(Flock::lock(file, FlockArg::LockExclusive).is_ok());
        })?;
        if waiting.recv_timeout(FORMER_CLIENTS).is_err() {
            nines_cli::log(format_args!("some did not end within {} seconds", FORMER_CLIENTS.as_secs_f32()));
        }
        Ok(())
    }

    /// What to poll, and for what; `None` is the listener.
    pub fn poll_list(&self) -> Vec<(Option<u64>, BorrowedFd<'_>, PollFlags)> {
        let mut list = Vec::with_capacity(self.connections.len() + 1);
        if self.connections.len() < MAX_CONNECTIONS && !self.resting {
            list.push((None, self.listener.as_fd(), PollFlags::POLLIN));
        }
        for (id, connection) in &self.connections {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, !connection.ending);
            flags.set(PollFlags::POLLOUT, !connection.output.is_empty());
            list.push((Some(*id), connection.stream.as_fd(), flags));
        }
        list
    }

    /// Takes the connections that wait, if `any` do.
    ///
    /// # Errors
    /// The kernel does not say who connected.
    pub fn accept(&mut self, any: bool) -> anyhow::Result<()> {
        self.resting = false;
        if !any {
            return Ok(());
        }
        while self.connections.len() < MAX_CONNECTIONS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                // No descriptors or memory left: the clients there are may give some back.
                Err(_) => {
                    self.resting = true;
                    break;
                }
            };
            stream.set_nonblocking(true)?;
            let peer = getsockopt(&stream, PeerCredentials).context("SO_PEERCRED")?;
            let may_steer = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
            let looking = || self.connections.values().filter(|connection| !connection.may_steer).count();
            if !may_steer && looking() >= MAX_LOOKING {
                // Who only looks must not keep out who steers.
                self.counters.add(Cause::HungUp);
                continue;
            }
            let connection =
                Connection { stream, may_steer, uid: peer.uid(), input: Vec::new(), output: Vec::new(), ending: false };
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
        Ok(())
    }

    /// Reads what a connection has to say.
    pub fn read(&mut self, id: u64, heard: &mut Vec<Heard>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut buffer = [0; 16 << 10];
        // What came before has no newline.
        let mut seen = connection.input.len();
        // One buffer a turn, so that nobody talks all the time.
        match connection.stream.read(&mut buffer) {
            Ok(0) => connection.ending = true,
            Ok(length) => connection.input.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.close(id, heard),
        }
        while let Some(end) = connection.input[seen..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = connection.input.drain(..=seen + end).collect();
            seen = 0;
            match serde_json::from_slice::<Call>(&line) {
                Ok(call) => heard.push(Heard::Call {
                    caller: Caller {
                        connection: id,
                        may_steer: connection.may_steer,
                        who: format!("uid {}", connection.uid),
                    },
                    call,
                }),
                Err(error) => connection.complain(&format!("not a call: {error}")),
            }
        }
        // A configuration may be a megabyte; only those who could stop this process may send one.
        let most = if connection.may_steer { MAX_LINE } else { MAX_CALL };
        if connection.input.len() > most {
            connection.complain(&format!("a line of more than {most} bytes"));
            connection.input = Vec::new();
            connection.ending = true;
            self.counters.add(Cause::HungUp);
        }
    }

    /// Writes what a connection has waiting; ends one that has nothing left to say or hear.
    pub fn write(&mut self, id: u64, heard: &mut Vec<Heard>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let broken = connection.flush().is_err();
        let unread = connection.output.len() > MAX_UNREAD;
        if broken || unread || (connection.ending && connection.output.is_empty()) {
            if unread {
                self.counters.add(Cause::HungUp);
            }
            self.close(id, heard);
        }
    }

    /// Ends a connection.
    pub fn close(&mut self, id: u64, heard: &mut Vec<Heard>) {
        if self.connections.remove(&id).is_some() {
            heard.push(Heard::Closed { connection: id });
        }
    }

    /// Sends an answer, at once where the client reads.
    ///
    /// # Errors
    /// The answer has no JSON form.
    pub fn answer(&mut self, id: u64, answer: &Answer) -> anyhow::Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.output.len() > MAX_UNREAD {
            // It asks and does not read; it is closed as soon as this turn is over.
            return Ok(());
        }
        let mut line = serde_json::to_vec(answer)?;
        if line.len() >= MAX_LINE {
            let message = "the answer is longer than a line may be".to_owned();
            let failure = Failure { kind: ctl::ErrorKind::Invalid, message, holders: Vec::new() };
            line = serde_json::to_vec(&Answer { id: answer.id, outcome: Outcome::Error(failure) })?;
        }
        line.push(b'\n');
        connection.output.extend_from_slice(&line);
        // What cannot be written now, or ever, the next poll finds.
        let _ = connection.flush();
        Ok(())
    }

    /// Connections that are done with and only need closing.
    pub fn finished(&self) -> Vec<u64> {
        let done = |connection: &Connection| {
            (connection.ending && connection.output.is_empty()) || connection.output.len() > MAX_UNREAD
        };
        self.connections.iter().filter(|(_, connection)| done(connection)).map(|(id, _)| *id).collect()
    }
}

fn find_group(name: &str) -> anyhow::Result<Gid> {
    let group = Group::from_name(name).with_context(|| format!("--group: {name}"))?;
    Ok(group.with_context(|| format!("--group: {name}: there is no such group"))?.gid)
}

fn make_directory(socket: &Path) -> anyhow::Result<()> {
    let Some(directory) = socket.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    made.with_context(|| format!("{}", directory.display()))
}

impl Connection {
    fn complain(&mut self, message: &str) {
        let failure = Failure { kind: ctl::ErrorKind::Invalid, message: message.into(), holders: Vec::new() };
        if let Ok(mut line) = serde_json::to_vec(&Answer { id: 0, outcome: Outcome::Error(failure) }) {
            line.push(b'\n');
            self.output.extend_from_slice(&line);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // At the next start a socket nobody listens on is replaced anyway.
        let _ = fs::remove_file(&self.path);
    }
}
