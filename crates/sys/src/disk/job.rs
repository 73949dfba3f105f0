//! What there is to do with a file, and the parts of frames it is done with.

use std::ops::Range;

use crate::frames::Frames;

/// Parts a job has at most.
pub const PARTS: usize = 16;

/// Some of a frame's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The frame's number.
    pub frame: usize,
    /// Which of its bytes.
    pub range: Range<usize>,
}

/// What to do with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job<'p> {
    /// Fill these parts, one after the other, from `offset` on.
    Read { parts: &'p [Part], offset: u64 },
    /// Put these parts there, one after the other; on stable storage before it is done if `durable`.
    Write { parts: &'p [Part], offset: u64, durable: bool },
    /// Put every write that is done on stable storage; its timestamp too unless `data` is enough.
    Sync { data: bool },
    /// Forget these bytes; they read as zeroes or as before.
    Discard { offset: u64, length: u64 },
}

impl<'p> Job<'p> {
    pub(super) fn parts(&self) -> &'p [Part] {
        match self {
            Self::Read { parts, .. } | Self::Write { parts, .. } => parts,
            Self::Sync { .. } | Self::Discard { .. } => &[],
        }
    }
}

/// Memory as readv(2) is told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors {
    pub list: [libc::iovec; PARTS],
    count: usize,
}

impl Vectors {
    pub fn of(frames: &Frames, parts: &[Part]) -> Self {
        assert!((1..=PARTS).contains(&parts.len()), "{} parts", parts.len());
        let mut list = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PARTS];
        for (vector, part) in list.iter_mut().zip(parts) {
            let (address, length) = frames.range(part.frame, part.range.clone());
            *vector = libc::iovec { iov_base: address.cast(), iov_len: length };
        }
        Self { list, count: parts.len() }
    }

    pub fn as_slice(&self) -> &[libc::iovec] {
        &self.list[..self.count]
    }

    /// As preadv(2) and pwritev(2) count them.
    pub fn count(&self) -> libc::c_int {
        libc::c_int::try_from(self.count).unwrap_or(0)
    }
}
