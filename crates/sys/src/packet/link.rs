//! Ethernet interfaces: index, address, MTU, carrier, and word of every change to them.
//!
//! Asked by ioctl rather than read from sysfs: a process that entered a network namespace may
//! still see another namespace's `/sys/class/net`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

/// An Ethernet interface as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it; another one when it was removed and came back.
    pub index: u32,
    /// Its Ethernet address.
    pub address: [u8; 6],
    /// The largest payload of a frame, Ethernet header excluded.
    pub mtu: usize,
    /// Switched on, with a carrier.
    pub running: bool,
}

impl Link {
    /// Looks the interface up by name.
    ///
    /// # Errors
    /// `ENODEV` when there is none; `EPROTONOSUPPORT` when it is no Ethernet interface.
    pub fn named(name: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let any = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        let index = ask(&any, name, libc::SIOCGIFINDEX)?;
        let hardware = ask(&any, name, libc::SIOCGIFHWADDR)?;
        let mtu = ask(&any, name, libc::SIOCGIFMTU)?;
        let flags = ask(&any, name, libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFINDEX succeeded, so the kernel set `ifru_ifindex`.
        let index = unsafe { index.ifr_ifru.ifru_ifindex };
        // SAFETY: SIOCGIFHWADDR succeeded, so the kernel set `ifru_hwaddr`.
        let hardware = unsafe { hardware.ifr_ifru.ifru_hwaddr };
        // SAFETY: SIOCGIFMTU succeeded, so the kernel set `ifru_mtu`.
        let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel set `ifru_flags`.
        let flags = unsafe { flags.ifr_ifru.ifru_flags };
        if ![libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&hardware.sa_family) {
            return Err(Errno::EPROTONOSUPPORT.into());
        }
        let mut address = [0; 6];
        for (byte, from) in address.iter_mut().zip(hardware.sa_data) {
            *byte = from.cast_unsigned();
        }
        let running = libc::c_int::from(flags) & (libc::IFF_UP | libc::IFF_RUNNING);
        Ok(Self {
            index: u32::try_from(index).map_err(|_| Errno::ENODEV)?,
            address,
            mtu: usize::try_from(mtu).map_err(|_| Errno::ENODEV)?,
            running: running == libc::IFF_UP | libc::IFF_RUNNING,
        })
    }
}

/// One ioctl that takes an interface's name and leaves its answer in the same record.
fn ask(any: &OwnedFd, name: &str, request: libc::c_ulong) -> io::Result<libc::ifreq> {
    let mut record =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_map: NO_MAP } };
    // One byte less than the field, which ends with a zero.
    if name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        return Err(Errno::ENODEV.into());
    }
    for (to, from) in record.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let pointer = &raw mut record;
    // SAFETY: the SIOCGIF* requests read the name from the ifreq they are given and write their
    // answer into it; `pointer` is one this function owns.
    let done = unsafe { libc::ioctl(any.as_raw_fd(), request as libc::Ioctl, pointer) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(record) }
}

/// The largest member of ifreq's union, all zero, so that every byte of it is initialised.
const NO_MAP: libc::__c_anonymous_ifru_map =
    libc::__c_anonymous_ifru_map { mem_start: 0, mem_end: 0, base_addr: 0, irq: 0, dma: 0, port: 0 };

/// Readable when some interface of this network namespace appears, goes, or changes.
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Starts to listen for changes.
    ///
    /// # Errors
    /// No netlink in this kernel or sandbox.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK.cast_unsigned()))?;
        Ok(Self(fd))
    }

    /// Throws away the news that have come, and says whether there were any: what changed is for
    /// [`Link::named`] to say.
    ///
    /// # Errors
    /// As recv(2).
    pub fn drain(&self) -> io::Result<bool> {
        let mut news = false;
        // A message is looked at by its arrival alone; what does not fit is cut off.
        let mut message = [0; 64];
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: news were lost, so there were some.
                Ok(_) | Err(Errno::ENOBUFS) => news = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(news),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_a_missing_interface_is_no_device() {
        let lo = Link::named("lo").unwrap();
        assert_eq!((lo.address, lo.mtu), ([0; 6], 65536));
        for missing in ["no-such-if", "", "an-interface-name-that-is-too-long", "lo\0"] {
            assert_eq!(Link::named(missing).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{missing:?}");
        }
    }

    #[test]
    fn a_fresh_watch_has_no_news() {
        assert!(!LinkWatch::open().unwrap().drain().unwrap());
    }
}
