//! Block devices and files as stores: size, block sizes, memory for direct I/O.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;

mod ioctl {
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), libc::c_int);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), libc::c_uint);
}

/// Bytes in a regular file or block device.
///
/// # Errors
/// The file is of another kind (`InvalidInput`), or the device does not answer.
pub fn size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    if !metadata.file_type().is_block_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a regular file nor a block device"));
    }
    let mut bytes = 0;
    // SAFETY: BLKGETSIZE64 writes one u64 through the pointer, which is to `bytes`.
    unsafe { ioctl::blkgetsize64(file.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// The smallest unit a block device reads and writes.
///
/// # Errors
/// Not a block device.
pub fn logical_block_size(device: &File) -> io::Result<u32> {
    let mut bytes = 0;
    // SAFETY: BLKSSZGET writes one int through the pointer, which is to `bytes`.
    unsafe { ioctl::blksszget(device.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(io::Error::other)
}

/// The unit a block device writes without reading first.
///
/// # Errors
/// Not a block device.
pub fn physical_block_size(device: &File) -> io::Result<u32> {
    let mut bytes = 0;
    // SAFETY: BLKPBSZGET writes one unsigned int through the pointer, which is to `bytes`.
    unsafe { ioctl::blkpbszget(device.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// Zeroed memory that begins `before` bytes ahead of a page boundary: with `before` the length of
/// a frame's headers, the payload lies where O_DIRECT wants it. Never grows, so it never moves.
#[derive(Debug)]
pub struct Aligned {
    bytes: Box<[u8]>,
    start: usize,
    length: usize,
}

/// What every device's direct I/O is satisfied with.
pub const PAGE: usize = 4096;

impl Aligned {
    /// `length` bytes whose byte number `before` is page aligned.
    ///
    /// # Panics
    /// `before` is more than a page.
    #[must_use]
    pub fn new(before: usize, length: usize) -> Self {
        assert!(before <= PAGE, "headers of {before} bytes are more than a page");
        let bytes = vec![0; length + 2 * PAGE].into_boxed_slice();
        let boundary = bytes.as_ptr().align_offset(PAGE);
        let start = if boundary >= before { boundary - before } else { boundary + PAGE - before };
        Self { bytes, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_payload_behind_a_header_is_page_aligned() {
        for before in [0, 1, 36, 512, PAGE] {
            let memory = Aligned::new(before, before + 512);
            assert_eq!(memory.len(), before + 512);
            assert_eq!(memory[before..].as_ptr().align_offset(PAGE), 0);
        }
    }

    #[test]
    fn a_file_has_its_length_and_a_terminal_has_none() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 1000]).unwrap();
        assert_eq!(size(&file).unwrap(), 1000);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(size(&null).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(logical_block_size(&file).is_err());
        assert!(physical_block_size(&null).is_err());
    }
}
