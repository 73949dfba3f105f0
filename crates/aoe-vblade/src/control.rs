//! The control socket: who may open it (mode 0600) may steer the target. Connections, lines, and
//! their bounds; what requests come to is decided in [`crate::serve`].

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nines_proto::aoe::control::{Answer, MAX_REQUEST, Request};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

/// Connections at once.
const MOST: usize = 16;
/// Answers that wait to be read; a client that lets more pile up is hung up on.
const UNREAD: usize = 4 << 20;

/// The socket and its connections.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    /// A descriptor to let go of when there is none for a client.
    spare: Option<UnixListener>,
    connections: Vec<Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Requests that have not been answered.
    owed: usize,
    /// To be closed once its requests are answered and its output is gone.
    ending: bool,
}

/// A request and whose it is, or why what came is none.
pub type Heard = (u64, Result<Request, String>);

impl Control {
    /// Listens at `path`, which nobody else does.
    ///
    /// # Errors
    /// Another target listens there, something else is there, or the folder is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::bind(path).with_context(|| path.display().to_string())
    }

    fn bind(path: &Path) -> anyhow::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => bail!("is there and is no socket"),
            Ok(_) if UnixStream::connect(path).is_ok() => bail!("another target listens there"),
            // Left behind by one that was killed.
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // Its usual folder is gone after each start of the host.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        }
        // From its first moment on, not only from the change of its mode.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let spare = Some(listener.try_clone()?);
        Ok(Self { path: path.to_owned(), listener, spare, connections: Vec::new(), next: 0 })
    }

    /// What there is to wait for: the listener, which is number 0, and every connection with its
    /// number and whether it has output.
    pub fn waits(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        let connections = self.connections.iter();
        let connections = connections.map(|one| (one.number, one.stream.as_fd(), !one.output.is_empty()));
        std::iter::once((0, self.listener.as_fd(), false)).chain(connections)
    }

    /// Takes what has come and sends what can go, without waiting.
    pub fn hear(&mut self) -> Vec<Heard> {
        while let Some(stream) = self.accept() {
            // One too many is hung up on: a look at the socket says why.
            if self.connections.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                let (input, output) = (Vec::new(), Vec::new());
                self.connections.push(Connection { number: self.next, stream, input, output, owed: 0, ending: false });
            }
        }
        let mut heard = Vec::new();
        for connection in &mut self.connections {
            connection.read(&mut heard);
        }
        self.send();
        heard
    }

    /// The next client. One there is no descriptor for is hung up on: left where it is, it would be
    /// news for ever.
    fn accept(&mut self) -> Option<UnixStream> {
        if self.spare.is_none() {
            self.spare = self.listener.try_clone().ok();
        }
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if out_of_descriptors(&error) && self.spare.take().is_some() => {
                    // Accepting says so before it looks whether there is a client at all.
                    let refused = self.listener.accept();
                    let none = refused.is_err();
                    drop(refused);
                    self.spare = self.listener.try_clone().ok();
                    if none {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// Answers on a connection, if it is still there.
    pub fn answer(&mut self, number: u64, answer: &Answer) {
        let Some(connection) = self.connections.iter_mut().find(|connection| connection.number == number) else {
            return;
        };
        // A struct of strings and numbers always has a JSON form.
        if let Ok(mut line) = serde_json::to_vec(answer) {
            line.push(b'\n');
            connection.owed = connection.owed.saturating_sub(1);
            connection.output.append(&mut line);
        }
        self.send();
    }

    fn send(&mut self) {
        self.connections.retain_mut(|connection| connection.write().is_ok());
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What is left behind is taken over by the next.
        let _ = fs::remove_file(&self.path);
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

impl Connection {
    fn read(&mut self, heard: &mut Vec<Heard>) {
        let mut buffer = [0; MAX_REQUEST];
        while !self.ending {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ending = true,
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ending |= error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
            while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                heard.push((self.number, understand(&line[..end])));
                self.owed += 1;
            }
            if self.input.len() >= MAX_REQUEST {
                heard.push((self.number, Err(format!("a request of over {MAX_REQUEST} bytes"))));
                self.owed += 1;
                self.input.clear();
                self.ending = true;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.output.len() <= UNREAD => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Half-closed by a client that has said all and reads on: it gets its answers first.
        if self.ending && self.owed == 0 { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

fn understand(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn said(control: &mut Control) -> Vec<Heard> {
        loop {
            let heard = control.hear();
            if !heard.is_empty() {
                return heard;
            }
        }
    }

    #[test]
    fn requests_are_lines_and_each_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.sock");
        let mut control = Control::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut client = UnixStream::connect(&path).unwrap();
        let text = "{\"request\":\"exports\"}\n{\"request\":\"deny\",\"mac\":\"02:00:00:00:00:01\"}\nnonsense\n";
        client.write_all(text.as_bytes()).unwrap();
        let heard = said(&mut control);
        let deny = Request::Deny { export: None, mac: "02:00:00:00:00:01".into() };
        assert_eq!(heard[..2], [(1, Ok(Request::Exports)), (1, Ok(deny))]);
        assert!(heard[2].1.as_ref().unwrap_err().contains("line 1"), "{heard:?}");
        control.answer(1, &Answer::Done);
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        assert_eq!(line, "{\"answer\":\"done\"}\n");
        assert!(format!("{:#}", Control::open(&path).unwrap_err()).ends_with("another target listens there"));
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn a_client_that_has_said_all_is_answered_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.sock");
        let mut control = Control::open(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"{\"request\":\"exports\"}\n{\"request\":\"exports\"}\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(said(&mut control).len(), 2);
        control.hear();
        control.answer(1, &Answer::Done);
        control.answer(1, &Answer::Done);
        assert_eq!(control.connections.len(), 0);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn the_folder_of_the_socket_is_made_and_not_a_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aoe-vblade/target.sock");
        drop(Control::open(&path).unwrap());
        assert!(path.parent().unwrap().is_dir());
        let error = Control::open(&folder.path().join("a/b/target.sock")).unwrap_err();
        assert!(format!("{error:#}").contains("a/b: No such file or directory"), "{error:#}");
    }

    #[test]
    fn a_socket_that_was_left_behind_is_taken_over_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Control::open(&path).unwrap());
        fs::write(&path, "notes").unwrap();
        assert!(format!("{:#}", Control::open(&path).unwrap_err()).ends_with("is there and is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"notes");
    }

    #[test]
    fn endless_lines_and_too_many_clients_cost_a_bounded_amount() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target.sock");
        let mut control = Control::open(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(&[b'x'; MAX_REQUEST]).unwrap();
        assert!(said(&mut control)[0].1.is_err());
        control.answer(1, &Answer::Error { error: "too long".into() });
        assert_eq!(control.connections.len(), 0);
        let clients: Vec<_> = (0..MOST + 3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        control.hear();
        assert_eq!(control.connections.len(), MOST);
        drop(clients);
        control.hear();
        control.hear();
        assert_eq!(control.connections.len(), 0);
    }
}
