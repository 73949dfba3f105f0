//! A host's console: following it, using it, and seeing in it that a host will not come up.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::client::until;
use crate::host;
use crate::state::{Lab, Node};

/// What a host says when it is lost. The last one is its own start-up script's.
const LOST: [&[u8]; 4] = [b"Dom0 crashed", b"Panic on CPU", b"Kernel panic", b"lab: not ready:"];

/// How much of a line that has not ended is kept.
const LINE: usize = 4096;

/// How many of the console's last lines explain a failure.
const TAIL: usize = 30;

/// Reads what a console log gets, as it gets it.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    file: File,
    inotify: Inotify,
    /// The last line so far, which has not ended.
    line: Vec<u8>,
}

impl Watch {
    /// Watches what is written from now on.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn new(path: &Path, from: SeekFrom) -> Result<Self> {
        let open = || -> std::io::Result<_> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
            let mut file = File::open(path)?;
            file.seek(from)?;
            Ok(Self { path: path.to_owned(), file, inotify, line: Vec::new() })
        };
        open().with_context(|| path.display().to_string())
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// What was written since the last time.
    fn news(&mut self) -> Result<Vec<u8>> {
        // Nothing to read is an error of its own, and not one here.
        let _ = self.inotify.read_events();
        let mut news = Vec::new();
        (&self.file).take(1 << 20).read_to_end(&mut news).with_context(|| self.path.display().to_string())?;
        Ok(news)
    }

    /// Looks at what was written since the last time.
    ///
    /// # Errors
    /// The console's last lines, when one of them says that the host is lost.
    pub fn look(&mut self) -> Result<()> {
        for byte in self.news()? {
            if byte != b'\n' {
                // What a host says when it is lost is short.
                if self.line.len() < LINE {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if LOST.iter().any(|lost| line.windows(lost.len()).any(|window| window == *lost)) {
                bail!("is lost, its console says\n{}", tail(&self.path));
            }
        }
        Ok(())
    }
}

/// The last lines of a console log.
pub fn tail(path: &Path) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    let mut bytes = Vec::new();
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(8192)));
    let _ = file.take(8192).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    let mut lines = VecDeque::new();
    for line in text.lines() {
        lines.push_back(line);
        if lines.len() > TAIL {
            lines.pop_front();
        }
    }
    Vec::from(lines).join("\n")
}

/// Shows a host's console until it goes off; from a terminal, keys go to it.
///
/// # Errors
/// When the host is off.
pub fn follow(lab: &Lab, node: Node) -> Result<()> {
    node.of(lab)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() { attach(lab, node) } else { print(lab, node) }
}

fn print(lab: &Lab, node: Node) -> Result<()> {
    let mut watch = Watch::new(&lab.console_log(node), SeekFrom::Start(0))?;
    let mut stdout = std::io::stdout();
    loop {
        // Asked before reading: what a host said before it went off is shown.
        let on = host::running(lab, node)?.is_some();
        let news = watch.news()?;
        stdout.write_all(&news)?;
        stdout.flush()?;
        if !on && news.is_empty() {
            return Ok(());
        }
        // A log says nothing of its writer's end, so that is looked for once a second.
        let timeout = until(Some(Instant::now() + Duration::from_secs(1))).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn attach(lab: &Lab, node: Node) -> Result<()> {
    let stream = UnixStream::connect(lab.sockets(node).join("console")).with_context(|| format!("{node}: is off"))?;
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
    let copied = copy(&stream);
    tcsetattr(&stdin, SetArg::TCSANOW, &before)?;
    println!();
    copied
}

fn copy(mut stream: &UnixStream) -> Result<()> {
    const CTRL_BRACKET: u8 = 0x1D;
    let mut keys = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut stdout = std::io::stdout();
    let mut bytes = [0; 4096];
    loop {
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN), PollFd::new(keys.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let [host, user] = fds.map(|fd| fd.any().unwrap_or(false));
        if host {
            let length = stream.read(&mut bytes)?;
            if length == 0 {
                return Ok(());
            }
            stdout.write_all(&bytes[..length])?;
            stdout.flush()?;
        }
        if user {
            let length = keys.read(&mut bytes)?;
            if length == 0 || bytes[..length].contains(&CTRL_BRACKET) {
                return Ok(());
            }
            stream.write_all(&bytes[..length])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_panic_is_seen_even_in_two_pieces() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut watch = Watch::new(log.path(), SeekFrom::End(0)).unwrap();
        log.write_all(b"booting\nall is well\nKernel pa").unwrap();
        watch.look().unwrap();
        log.write_all(b"nic - not syncing\n").unwrap();
        let error = format!("{:#}", watch.look().unwrap_err());
        assert!(error.contains("Kernel panic - not syncing"), "{error}");
    }

    #[test]
    fn a_panic_of_an_earlier_run_is_not_seen() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"Kernel panic\n").unwrap();
        Watch::new(log.path(), SeekFrom::End(0)).unwrap().look().unwrap();
    }

    #[test]
    fn the_reason_is_read_to_its_end() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut watch = Watch::new(log.path(), SeekFrom::End(0)).unwrap();
        log.write_all(b"lab: not ready: /v").unwrap();
        watch.look().unwrap();
        log.write_all(b"ar: cannot mount\n").unwrap();
        let error = format!("{:#}", watch.look().unwrap_err());
        assert!(error.ends_with("lab: not ready: /var: cannot mount"), "{error}");
    }
}
