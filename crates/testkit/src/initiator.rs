//! One end of the wire: what tests, examples and the conformance checks speak to a target with.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nines_proto::aoe::{Address, Command, ETHERTYPE, Flags, Header, VERSION};
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;
use nines_sys::packet::{Instruction, PacketSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Receives AoE answers, to whomever they are addressed.
pub(crate) const ANSWERS: [Instruction; 4] =
    [Instruction::Load8(14), Instruction::IfAnyBit(0x08, 0, 1), Instruction::Accept, Instruction::Refuse];

/// Bytes any frame of any interface fits.
const FRAME: usize = 1 << 17;

/// An initiator on an interface.
#[derive(Debug)]
pub struct Initiator {
    /// Where its frames go and come from.
    pub socket: PacketSocket,
    /// The address it sends from: the interface's, unless changed.
    pub mac: Mac,
    /// The interface's, when it was opened.
    pub mtu: usize,
    tag: u32,
    frame: Vec<u8>,
}

impl Initiator {
    /// Opens the interface and hears AoE answers on it, to whomever they are addressed.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(interface: &str) -> io::Result<Self> {
        let socket = PacketSocket::open(ETHERTYPE, &ANSWERS)?;
        socket.set_buffers(8 << 20)?;
        let link = Link::named(interface)?;
        socket.bind(link.index)?;
        Ok(Self { socket, mac: Mac(link.address), mtu: link.mtu, tag: 0x4000_0000, frame: vec![0; FRAME] })
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
    ///
    /// # Errors
    /// The interface's own, such as `NetworkDown` once.
    pub fn next(&mut self, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.socket.receive(&mut self.frame) {
                Ok(length) => return Ok(Some(self.frame[..length.min(FRAME)].to_vec())),
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

    /// Sends a message.
    ///
    /// # Errors
    /// The interface does not take it.
    pub fn send(&self, header: &Header, argument: &[u8]) -> io::Result<()> {
        self.socket.send(&message(header, argument))
    }

    /// Sends a message and waits for the answer with its tag, once.
    ///
    /// # Errors
    /// The interface's own.
    pub fn ask(&mut self, header: &Header, argument: &[u8], wait: Duration) -> io::Result<Option<Vec<u8>>> {
        self.ask_raw(&message(header, argument), header.tag, wait)
    }

    /// As [`ask`](Self::ask), but asks again each second: frames get lost.
    ///
    /// # Errors
    /// The interface's own.
    pub fn insist(&mut self, header: &Header, argument: &[u8], seconds: u32) -> io::Result<Option<Vec<u8>>> {
        for _ in 0..seconds {
            if let Some(answer) = self.ask(header, argument, Duration::from_secs(1))? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Sends any bytes as a frame and waits for the answer with this tag.
    ///
    /// # Errors
    /// The interface's own.
    pub fn ask_raw(&mut self, frame: &[u8], tag: u32, wait: Duration) -> io::Result<Option<Vec<u8>>> {
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

/// A frame of a header and an argument, not padded.
///
/// # Panics
/// Never: the room is there.
#[must_use]
pub fn message(header: &Header, argument: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; Header::LENGTH + argument.len()];
    header.encode(&mut frame).expect("room for a header").copy_from_slice(argument);
    frame
}
