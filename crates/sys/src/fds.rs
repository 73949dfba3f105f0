//! Passing open descriptors to another process over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Most descriptors in one message.
const MOST: usize = 4;

/// Sends `fds`, at most four, along with one byte. The receiver gets descriptors of its own.
///
/// # Errors
/// The other end is gone.
pub fn send(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"\n")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives exactly `N` descriptors, at most four, that [`send`] sent; they are close-on-exec.
///
/// # Errors
/// The other end is gone or sent something else.
pub fn receive<const N: usize>(stream: &UnixStream) -> io::Result<[OwnedFd; N]> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; MOST]);
    let received = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: SCM_RIGHTS (unix(7)) installed each of these in this process just now, and
            // nix hands each out once, so nobody else owns or closes them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let count = fds.len();
    let other = || io::Error::new(io::ErrorKind::InvalidData, format!("{count} descriptors instead of {N}"));
    fds.try_into().map_err(|_| other())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write, pipe};
    use std::os::fd::AsFd;

    #[test]
    fn a_descriptor_sent_is_the_same_open_file() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        send(&ours, &[writer.as_fd()]).unwrap();
        drop(writer);
        let [received] = receive::<1>(&theirs).unwrap();
        let mut received = File::from(received);
        received.write_all(b"through").unwrap();
        drop(received);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn another_count_or_a_closed_socket_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, &[ours.as_fd()]).unwrap();
        assert_eq!(receive::<2>(&theirs).unwrap_err().to_string(), "1 descriptors instead of 2");
        drop(ours);
        assert!(receive::<1>(&theirs).is_err());
    }
}
