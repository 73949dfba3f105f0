//! A small AoE initiator: what tests, examples and the load generator speak to a target with.
#![allow(dead_code, reason = "each user takes its part")]

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nines_proto::aoe::{Address, Command, ETHERTYPE, Flags, Header, VERSION};
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;
use nines_sys::packet::{Instruction, PacketSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// One end of the wire.
#[derive(Debug)]
pub struct Initiator {
    pub socket: PacketSocket,
    pub mac: Mac,
    pub mtu: usize,
    tag: u32,
}

impl Initiator {
    /// Opens the interface and hears AoE answers on it, to whomever they are addressed.
    pub fn open(interface: &str) -> io::Result<Self> {
        let filter =
            [Instruction::Load8(14), Instruction::IfAnyBit(0x08, 0, 1), Instruction::Accept, Instruction::Refuse];
        let socket = PacketSocket::open(ETHERTYPE, &filter)?;
        socket.set_buffers(8 << 20)?;
        let link = Link::named(interface)?;
        socket.bind(link.index)?;
        Ok(Self { socket, mac: Mac(link.address), mtu: link.mtu, tag: 0x4000_0000 })
    }

    /// A tag not used before.
    pub fn next_tag(&mut self) -> u32 {
        self.tag += 1;
        self.tag
    }

    /// The header of a request from this end, to everybody's Ethernet address.
    pub fn request(&mut self, address: Address, command: Command) -> Header {
        Header {
            destination: Mac::BROADCAST,
            source: self.mac,
            version: VERSION,
            flags: Flags::default(),
            error: 0,
            address,
            command,
            tag: self.next_tag(),
        }
    }

    /// Waits for the next answer, whoever asked for it.
    pub fn next(&self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 1 << 17];
        loop {
            match self.socket.receive(&mut frame) {
                Ok(length) => {
                    frame.truncate(length);
                    return Ok(Some(frame));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout)?;
        }
    }

    /// Sends a message and waits for the answer with its tag, once.
    pub fn ask(&self, header: &Header, argument: &[u8], wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; Header::LENGTH + argument.len()];
        header.encode(&mut frame).map_err(io::Error::other)?.copy_from_slice(argument);
        self.ask_raw(&frame, header.tag, wait)
    }

    /// Sends any bytes as a frame and waits for the answer with this tag.
    pub fn ask_raw(&self, frame: &[u8], tag: u32, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + wait;
        self.socket.send(frame)?;
        while let Some(answer) = self.next(deadline)? {
            if Header::parse(&answer).is_ok_and(|(header, _)| header.tag == tag) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}
