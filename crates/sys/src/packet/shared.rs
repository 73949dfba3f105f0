//! Frames that the kernel puts into memory it shares with us: a TPACKET_V2 receive ring
//! (packet_mmap in the kernel's documentation, `linux/if_packet.h`).
//!
//! Taking a frame is no system call. The ring's slots are freed as soon as a frame has been
//! copied: one that stayed in use would in the end stop all that come after it.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{ETHERNET_HEADER, PacketSocket, set_option};

/// What the kernel allocates at once, unless a frame is longer.
const BLOCK: usize = 64 << 10;
/// What the kernel puts before a frame: its header, a sockaddr_ll and padding.
const BEFORE: usize = 96;
/// Slots begin at multiples of this.
const ALIGNMENT: usize = 16;

/// Slots the kernel fills in turn.
#[derive(Debug)]
pub struct ReceiveRing {
    memory: NonNull<u8>,
    mapped: NonZeroUsize,
    block: usize,
    slot: usize,
    per_block: usize,
    count: usize,
    /// The one that is filled next, or has been.
    next: usize,
}

impl PacketSocket {
    /// Has the kernel put frames into a ring from now on, of at least so many slots, for frames
    /// of an interface with this MTU. What is in the socket's queue is lost.
    ///
    /// # Errors
    /// No memory, or the socket has a ring already.
    pub fn share(&self, slots: usize, mtu: usize) -> io::Result<ReceiveRing> {
        let slot = (BEFORE + ETHERNET_HEADER + mtu).next_multiple_of(ALIGNMENT);
        let block = slot.next_power_of_two().max(BLOCK);
        let per_block = block / slot;
        let blocks = slots.max(1).div_ceil(per_block);
        let mapped = blocks.checked_mul(block).and_then(NonZeroUsize::new).ok_or(io::ErrorKind::OutOfMemory)?;
        let number = |value: usize| libc::c_uint::try_from(value).map_err(io::Error::other);
        let request = libc::tpacket_req {
            tp_block_size: number(block)?,
            tp_block_nr: number(blocks)?,
            tp_frame_size: number(slot)?,
            tp_frame_nr: number(blocks * per_block)?,
        };
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_VERSION, libc::tpacket_versions::TPACKET_V2)?;
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let memory = match unsafe { mmap(None, mapped, access, MapFlags::MAP_SHARED, self.socket.as_fd(), 0) } {
            Ok(memory) => memory.cast(),
            Err(errno) => {
                self.unshare()?;
                return Err(errno.into());
            }
        };
        Ok(ReceiveRing { memory, mapped, block, slot, per_block, count: blocks * per_block, next: 0 })
    }

    /// Has the kernel queue frames as other sockets do. Its ring has been dropped.
    ///
    /// # Errors
    /// The ring is still mapped.
    pub fn unshare(&self) -> io::Result<()> {
        let none = libc::tpacket_req { tp_block_size: 0, tp_block_nr: 0, tp_frame_size: 0, tp_frame_nr: 0 };
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_RX_RING, none)
    }
}

impl ReceiveRing {
    /// Whether its slots hold the frames of an interface with this MTU.
    #[must_use]
    pub fn fits(&self, mtu: usize) -> bool {
        self.slot >= BEFORE + ETHERNET_HEADER + mtu
    }

    /// Copies the next frame that has come to the front of `into` and frees its slot. Returns its
    /// length on the wire, which is more than `into` or the slot holds when it did not fit; none
    /// when no frame is there.
    pub fn take(&mut self, into: &mut [u8]) -> Option<usize> {
        let offset = self.next / self.per_block * self.block + self.next % self.per_block * self.slot;
        // SAFETY: `next` is below `count`, so that the slot lies in the mapping.
        let slot = unsafe { self.memory.add(offset) };
        // SAFETY: a slot begins with the 32-bit status, aligned as slots are, which the kernel and
        // we only access as a whole; the mapping lives as long as `self`.
        let status = unsafe { AtomicU32::from_ptr(slot.as_ptr().cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status says that the slot is ours, with the header the kernel has written
        // there; slots are larger than it and aligned for it.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let length = (header.tp_snaplen as usize).min(into.len()).min(self.slot.saturating_sub(header.tp_mac.into()));
        // SAFETY: the kernel has put the frame at `tp_mac`, inside the slot.
        let frame = unsafe { slot.add(header.tp_mac.into()) };
        // SAFETY: so many bytes from there are within the slot, which is ours; `into` is at least as
        // long and memory of another owner.
        unsafe { std::ptr::copy_nonoverlapping(frame.as_ptr(), into.as_mut_ptr(), length) };
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.count;
        // What the slot did not hold is not there, whatever there is room for.
        let held = header.tp_len == header.tp_snaplen;
        Some(if held { header.tp_len as usize } else { (header.tp_len as usize).max(into.len() + 1) })
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        // SAFETY: this is the mapping `share` made, and nothing borrows from it.
        let unmapped = unsafe { munmap(self.memory.cast(), self.mapped.get()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
