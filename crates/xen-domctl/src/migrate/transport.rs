//! How `xl migrate`'s stream gets to us. xl runs a command with the stream on its standard input
//! and output; ours hands both descriptors over a socket to the `xen-domctl migrate` that started
//! xl, so that one process sees everything and no byte is copied on the way.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

/// The socket `xl migrate`'s command finds us at; the file goes when this does.
#[derive(Debug)]
pub struct Transport {
    listener: UnixListener,
    path: PathBuf,
}

/// xl's ends of the stream.
#[derive(Debug)]
pub struct Stream {
    /// What xl writes for the target.
    pub from_xl: File,
    /// What xl reads as the target's words.
    pub to_xl: File,
    /// Closing it ends the command, for which xl waits.
    pub command: UnixStream,
}

impl Transport {
    /// Listens at `path`, in a directory only root enters.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        // Left by one that was killed; the domain's guard says there is no other.
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
        Ok(Self { listener, path: path.into() })
    }

    /// The command for xl, which runs it with `sh -c`.
    pub fn rune(&self) -> anyhow::Result<String> {
        let program = std::env::current_exe().context("/proc/self/exe")?;
        Ok(format!("exec {} migrate-pipe {}", quoted(&program)?, quoted(&self.path)?))
    }

    /// Waits for the command.
    pub fn accept(&self) -> anyhow::Result<Stream> {
        let (command, _) = self.listener.accept()?;
        let [input, output]: [OwnedFd; 2] = nines_sys::fds::receive(&command)?;
        Ok(Stream { from_xl: input.into(), to_xl: output.into(), command })
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A stale file is removed by the next one as well.
        let _ = fs::remove_file(&self.path);
    }
}

/// `xen-domctl migrate-pipe`: hands over, lets go, and stays until we are done, as ssh would.
pub fn pipe(path: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
    nines_sys::fds::send(&stream, &[std::io::stdin().as_fd(), std::io::stdout().as_fd()])?;
    // Only the one we handed them to may keep xl's stream open.
    let null = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(())
}

/// A word for sh.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().ok_or_else(|| anyhow!("{}: not UTF-8", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_sh_stay_one_word() {
        assert_eq!(quoted(Path::new("/a b/it's;$x")).unwrap(), r"'/a b/it'\''s;$x'");
    }
}
