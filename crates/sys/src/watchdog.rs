//! Watchdog devices: what they can do and how long they wait (kernel `uapi/linux/watchdog.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

mod ioctl {
    /// `struct watchdog_info`.
    #[repr(C)]
    #[derive(Debug, Default)]
    pub struct Info {
        pub options: u32,
        pub firmware_version: u32,
        pub identity: [u8; 32],
    }

    nix::ioctl_read!(wdioc_getsupport, b'W', 0, Info);
    nix::ioctl_readwrite!(wdioc_settimeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(wdioc_gettimeout, b'W', 7, libc::c_int);
}

/// Closing the device disarms it only after a `V` was written (`WDIOF_MAGICCLOSE`).
pub const MAGIC_CLOSE: u32 = 0x0100;

/// What the driver can do, or `None` for a file that is not a watchdog.
///
/// # Errors
/// The driver does not answer.
pub fn options(file: &File) -> io::Result<Option<u32>> {
    let mut info = ioctl::Info::default();
    // SAFETY: WDIOC_GETSUPPORT writes one struct watchdog_info through the pointer, which is to `info`.
    match unsafe { ioctl::wdioc_getsupport(file.as_raw_fd(), &raw mut info) } {
        Ok(_) => Ok(Some(info.options)),
        Err(Errno::ENOTTY) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sets the seconds from the last sign of life to the reset, and answers what the driver made of it.
///
/// # Errors
/// The driver refuses them.
pub fn set_timeout(file: &File, seconds: i32) -> io::Result<i32> {
    let mut value: libc::c_int = seconds;
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int through the pointer, which is to `value`.
    unsafe { ioctl::wdioc_settimeout(file.as_raw_fd(), &raw mut value) }?;
    Ok(value)
}

/// The seconds as they are set.
///
/// # Errors
/// The driver does not tell.
pub fn timeout(file: &File) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: WDIOC_GETTIMEOUT writes one int through the pointer, which is to `value`.
    unsafe { ioctl::wdioc_gettimeout(file.as_raw_fd(), &raw mut value) }?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_watchdog_is_known_as_such() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(options(&null).unwrap(), None);
        assert!(set_timeout(&null, 5).is_err());
        assert!(timeout(&null).is_err());
    }
}
