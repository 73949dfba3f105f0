//! Memory for Ethernet frames that the kernel reads and writes while the program goes on: each
//! frame's payload begins on a page boundary, where O_DIRECT wants it.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What every device's direct I/O is satisfied with.
const PAGE: usize = 4096;

/// A fixed number of frames of one size. It never grows, so it never moves.
///
/// A frame handed to the kernel is out of reach until the kernel is done with it: every access
/// goes through [`bytes`](Self::bytes) and [`bytes_mut`](Self::bytes_mut), which look.
#[derive(Debug)]
pub struct Frames {
    memory: NonNull<u8>,
    mapped: NonZeroUsize,
    /// Of the first frame.
    start: usize,
    /// From one frame to the next.
    stride: usize,
    length: usize,
    /// The kernel has it.
    lent: Box<[bool]>,
}

impl Frames {
    /// `count` zeroed frames of `length` bytes, byte number `before` of each page aligned.
    ///
    /// # Errors
    /// No memory.
    ///
    /// # Panics
    /// `before` is more than a page or more than `length`, or there is no frame.
    pub fn new(count: usize, before: usize, length: usize) -> io::Result<Self> {
        assert!(before <= PAGE && before <= length && count > 0, "{count} frames of {length} bytes, {before} ahead");
        let stride = length.next_multiple_of(PAGE);
        let bytes = PAGE.checked_add(stride.checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?);
        let mapped = bytes.and_then(NonZeroUsize::new).ok_or(io::ErrorKind::OutOfMemory)?;
        let (access, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory
        // that is in use.
        let memory = unsafe { mmap_anonymous(None, mapped, access, flags) }?;
        let lent = vec![false; count].into_boxed_slice();
        Ok(Self { memory: memory.cast(), mapped, start: PAGE - before, stride, length, lent })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lent.len()
    }

    /// Bytes in each.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// A frame's bytes.
    ///
    /// # Panics
    /// There is no such frame, or the kernel has it.
    #[must_use]
    pub fn bytes(&self, frame: usize) -> &[u8] {
        let (address, length) = self.range(frame, 0..self.length);
        // SAFETY: `range` gives bytes inside the mapping, which lives as long as `self`, are
        // initialised since the kernel zeroed them, and are not the kernel's now.
        unsafe { std::slice::from_raw_parts(address, length) }
    }

    /// A frame's bytes, to change.
    ///
    /// # Panics
    /// There is no such frame, or the kernel has it.
    #[must_use]
    pub fn bytes_mut(&mut self, frame: usize) -> &mut [u8] {
        let (address, length) = self.range(frame, 0..self.length);
        // SAFETY: as for `bytes`; `self` is borrowed for as long as the bytes are.
        unsafe { std::slice::from_raw_parts_mut(address, length) }
    }

    /// Where a part of a frame lies, for a system call that ends before its caller returns or for
    /// one whose frame is [`lend`](Self::lend)ed.
    pub(crate) fn range(&self, frame: usize, part: Range<usize>) -> (*mut u8, usize) {
        assert!(!self.lent[frame], "frame {frame} is the kernel's");
        assert!(part.start <= part.end && part.end <= self.length, "{part:?} of {} bytes", self.length);
        let offset = self.start + frame * self.stride + part.start;
        // SAFETY: `start` is less than a page and `frame` one of `count`, so the offset lies in
        // the mapping of one page and `count` strides.
        let address = unsafe { self.memory.add(offset) };
        (address.as_ptr(), part.len())
    }

    #[cfg(feature = "disk")]
    pub(crate) fn lend(&mut self, frame: usize) {
        self.lent[frame] = true;
    }

    #[cfg(feature = "disk")]
    pub(crate) fn take_back(&mut self, frame: usize) {
        self.lent[frame] = false;
    }

    /// All of it, for registration with a ring.
    #[cfg(feature = "disk")]
    pub(crate) fn whole(&self) -> (*mut u8, usize) {
        (self.memory.as_ptr(), self.mapped.get())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: this is the mapping `new` made, nothing borrows from it any more, and whoever
        // lends frames to the kernel waits for them before it lets go of `self`.
        let unmapped = unsafe { munmap(self.memory.cast(), self.mapped.get()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_behind_a_header_is_page_aligned_and_frames_do_not_overlap() {
        for (before, length) in [(36, 1514), (36, 9014), (0, PAGE), (PAGE, PAGE), (36, 36 + 255 * 512)] {
            let mut frames = Frames::new(3, before, length).unwrap();
            for frame in 0..3 {
                let bytes = frames.bytes_mut(frame);
                assert_eq!(bytes.len(), length);
                assert!(bytes.iter().all(|byte| *byte == 0));
                assert_eq!(bytes[before..].as_ptr().align_offset(PAGE), 0);
                bytes.fill(u8::try_from(frame).unwrap() + 1);
            }
            for frame in 0..3_u8 {
                assert!(frames.bytes(frame.into()).iter().all(|byte| *byte == frame + 1));
            }
        }
    }

    #[test]
    #[should_panic(expected = "frame 1 is the kernel's")]
    fn a_lent_frame_is_out_of_reach() {
        let mut frames = Frames::new(2, 0, 512).unwrap();
        frames.lend(1);
        frames.take_back(0);
        assert_eq!(frames.bytes(0).len(), 512);
        let _ = frames.bytes(1);
    }
}
