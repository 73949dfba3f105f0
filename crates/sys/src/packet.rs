//! AF_PACKET sockets: whole Ethernet frames of one EtherType on one interface.
//!
//! A socket is made deaf, gets its filter, and only then hears: no frame the filter refuses is
//! ever in its queue. [`link`] tells what the interface is like and when that changes.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv, send};
use socket2::{Domain, SockFilter, Socket, Type};

pub mod batch;
pub mod link;
pub mod shared;

/// The length of an Ethernet header: two addresses and the EtherType.
pub const ETHERNET_HEADER: usize = 14;

/// One instruction of a classic BPF filter over the frame, from the destination address on.
///
/// Jumps count the instructions to skip. The kernel checks the program when it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Load the byte at this offset.
    Load8(u32),
    /// Load the big-endian 16 bits at this offset.
    Load16(u32),
    /// Load how the frame got here; compare with [`OTHER_HOST`].
    LoadPacketType,
    /// Jump over `yes` instructions when the loaded value is this one, over `no` otherwise.
    IfEqual(u32, u8, u8),
    /// Jump over `yes` instructions when any of these bits is set, over `no` otherwise.
    IfAnyBit(u32, u8, u8),
    /// Take the frame.
    Accept,
    /// Leave the frame.
    Refuse,
}

/// The packet type of a frame for another station, heard because the interface is promiscuous.
pub const OTHER_HOST: u32 = libc::PACKET_OTHERHOST as u32;

impl Instruction {
    #[expect(clippy::cast_possible_truncation, reason = "BPF operation codes fit 16 bits")]
    fn encode(self) -> SockFilter {
        let op = |code: u32, yes, no, k| SockFilter::new(code as u16, yes, no, k);
        match self {
            Self::Load8(offset) => op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, offset),
            Self::Load16(offset) => op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, offset),
            Self::LoadPacketType => {
                let ancillary = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).cast_unsigned();
                op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, ancillary)
            }
            Self::IfEqual(value, yes, no) => op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value),
            Self::IfAnyBit(bits, yes, no) => op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, yes, no, bits),
            Self::Accept => op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            Self::Refuse => op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        }
    }
}

/// Frames the kernel counted on a socket since the last time it was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames the filter took, dropped ones included.
    pub frames: u32,
    /// Frames that found the receive buffer full.
    pub dropped: u32,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    ethertype: u16,
    /// Its buffers are larger than the system's limit.
    forced: Cell<bool>,
}

impl PacketSocket {
    /// Opens a socket that hears nothing yet: [`bind`](Self::bind) makes it hear.
    ///
    /// # Errors
    /// No CAP_NET_RAW, or a filter the kernel refuses.
    pub fn open(ethertype: u16, filter: &[Instruction]) -> io::Result<Self> {
        // Protocol 0 takes no frame at all.
        let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), None)?;
        let program: Vec<SockFilter> = filter.iter().map(|instruction| instruction.encode()).collect();
        socket.attach_filter(&program)?;
        match set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1_i32) {
            // Older than Linux 4.20: a socket bound to one EtherType is not given its own frames
            // anyway.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
            other => other?,
        }
        Ok(Self { socket, ethertype, forced: Cell::new(false) })
    }

    /// Hears frames of the EtherType on the interface with this index, and sends there. May be
    /// called again when the interface came back under another index.
    ///
    /// # Errors
    /// There is no such interface. One that is down is no error here.
    pub fn bind(&self, index: u32) -> io::Result<()> {
        let index = i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let address = libc::sockaddr_ll {
            sll_family: FAMILY,
            sll_protocol: self.ethertype.to_be(),
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let (pointer, length) = (&raw const address, length_of::<libc::sockaddr_ll>());
        // SAFETY: `pointer` and `length` describe `address`, a whole sockaddr_ll that outlives
        // the call; bind(2) reads it and keeps no reference.
        let done = unsafe { libc::bind(self.socket.as_raw_fd(), pointer.cast(), length) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sizes both buffers to `bytes` of the kernel's accounting, beyond the system's limit when
    /// the process may (CAP_NET_ADMIN), up to the limit otherwise. Where it may no longer, buffers
    /// stay as they are: up to the limit would be less.
    ///
    /// # Errors
    /// The kernel refuses both ways.
    pub fn set_buffers(&self, bytes: usize) -> io::Result<()> {
        // The kernel doubles the number it is given.
        let half = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX / 2);
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            match set_option(&self.socket, libc::SOL_SOCKET, force, half) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    if self.forced.get() {
                        return Ok(());
                    }
                    set_option(&self.socket, libc::SOL_SOCKET, plain, half)?;
                }
                other => {
                    other?;
                    self.forced.set(true);
                }
            }
        }
        Ok(())
    }

    /// Hands frames to the interface's driver past the queueing discipline, or not: a quarter of
    /// the cost of sending, but a driver whose ring is full then drops them (ENOBUFS).
    ///
    /// # Errors
    /// Older than Linux 3.14.
    pub fn bypass_queue(&self, bypass: bool) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, libc::c_int::from(bypass))
    }

    /// Has [`receive_batch`](Self::receive_batch) wait so long.
    ///
    /// # Errors
    /// A time the kernel cannot count.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// What went wrong since this was last called; told once. `NetworkDown` after the interface
    /// went down.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Takes one frame and returns its length on the wire, which is more than the buffer's when
    /// the frame did not fit. `WouldBlock` when none is waiting, `NetworkDown` once after the
    /// interface went down.
    ///
    /// # Errors
    /// As recv(2).
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.socket.as_raw_fd(), frame, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT)?)
    }

    /// Sends one frame, header included. `WouldBlock` when the send buffer is full.
    ///
    /// # Errors
    /// As send(2): ENOBUFS when the interface's queue is full, EMSGSIZE over its MTU, ENETDOWN.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Frames seen and dropped since this was last called.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn statistics(&self) -> io::Result<Statistics> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = length_of::<libc::tpacket_stats>();
        let pointer = &raw mut stats;
        // SAFETY: `pointer` and `length` describe `stats`, a tpacket_stats this function owns;
        // getsockopt(2) writes at most `length` bytes there.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                pointer.cast(),
                &raw mut length,
            )
        };
        if done == 0 {
            Ok(Statistics { frames: stats.tp_packets, dropped: stats.tp_drops })
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

#[expect(clippy::cast_possible_truncation, reason = "the kernel's structures are small")]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Sets an option to a number or one of the kernel's structures.
fn set_option<T: Copy>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: T) -> io::Result<()> {
    let pointer = &raw const value;
    let length = length_of::<T>();
    // SAFETY: `pointer` and `length` describe `value`, which outlives the call; setsockopt(2) only
    // reads it.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer.cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
