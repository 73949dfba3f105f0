//! Reads and writes past the page cache: what one host writes another must see, and what
//! device-mapper does on the same disk never goes through the block device's cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nines_sys::blk::{Aligned, PAGE, logical_block_size, size};
use nix::fcntl::OFlag;

/// An open block device, or a file that stands for one in a test.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size: u64,
    /// The smallest unit it reads and writes.
    block: u64,
}

impl Disk {
    /// # Errors
    /// As open(2); with `exclusive`, `EBUSY` when it is mounted or in use by the kernel.
    pub fn open(path: &Path, write: bool, exclusive: bool) -> io::Result<Self> {
        let mut flags = OFlag::O_DIRECT | OFlag::O_CLOEXEC;
        if exclusive {
            flags |= OFlag::O_EXCL;
        }
        let file = File::options().read(true).write(write).custom_flags(flags.bits()).open(path)?;
        let block = logical_block_size(&file).map_or(512, u64::from).clamp(512, PAGE as u64);
        Ok(Self { size: size(&file)?, file, block })
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads `length` bytes, or fewer where the device ends.
    ///
    /// # Errors
    /// As pread(2).
    pub fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(length).min(self.size);
        if offset >= end {
            return Ok(Vec::new());
        }
        let start = offset / self.block * self.block;
        let memory = self.read_blocks(start, end.next_multiple_of(self.block))?;
        let from = usize::try_from(offset - start).map_err(io::Error::other)?;
        let to = usize::try_from(end - start).map_err(io::Error::other)?;
        Ok(memory.get(from..to.min(memory.len())).unwrap_or_default().to_vec())
    }

    fn read_blocks(&self, start: u64, end: u64) -> io::Result<Aligned> {
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut memory = Aligned::new(0, length);
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut memory[filled..], start + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(memory)
    }

    /// Writes `bytes`. A device with blocks larger than a sector has the block read, changed and
    /// written whole.
    ///
    /// # Errors
    /// As pwrite(2); `UnexpectedEof` past the device's end.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a write past the end of the device"));
        }
        let start = offset / self.block * self.block;
        let stop = end.next_multiple_of(self.block);
        let whole = start == offset && stop == end;
        let length = usize::try_from(stop - start).map_err(io::Error::other)?;
        let mut memory = if whole { Aligned::new(0, length) } else { self.read_blocks(start, stop)? };
        let from = usize::try_from(offset - start).map_err(io::Error::other)?;
        memory[from..from + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(&memory, start)
    }

    /// Returns when everything written is on the medium, caches of the device included.
    ///
    /// # Errors
    /// As fdatasync(2).
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_pieces_are_written_without_touching_their_neighbours() {
        // Not every file system a test may run on takes O_DIRECT.
        let Ok(file) = tempfile::NamedTempFile::new_in(".") else { return };
        std::fs::write(file.path(), [7; 8192]).unwrap();
        let Ok(disk) = Disk::open(file.path(), true, false) else { return };
        disk.write(513, b"abc").unwrap();
        disk.write(4096, &[9; 512]).unwrap();
        disk.sync().unwrap();
        assert_eq!(disk.read(512, 6).unwrap(), b"\x07abc\x07\x07");
        assert_eq!(disk.read(4095, 2).unwrap(), [7, 9]);
        assert_eq!(disk.read(8190, 100).unwrap(), [7, 7]);
        assert!(disk.write(8191, b"xy").is_err());
    }
}
