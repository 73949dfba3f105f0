//! The size of a terminal.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Rows and columns of the terminal behind `fd`.
///
/// # Errors
/// It is no terminal.
pub fn size(fd: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ (ioctl_tty(2)) writes one struct winsize, which `size` is, and the
    // descriptor is open for as long as it is borrowed.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((size.ws_row, size.ws_col)) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_no_terminal() {
        let error = super::size(std::fs::File::open("/dev/null").unwrap()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
