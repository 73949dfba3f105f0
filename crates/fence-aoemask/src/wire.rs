//! The storage networks: mask and config questions out, answers in.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_proto::aoe::config::{self, Config};
use nines_proto::aoe::mask::{self, Directive, Mask};
use nines_proto::aoe::{Address, Code, Command, ETHERTYPE, Flags, Header, MIN_FRAME, VERSION, pad};
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;
use nines_sys::packet::{Instruction, OTHER_HOST, PacketSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The longest frame that is looked at: all of a mask list.
const FRAME: usize = 4096;

/// One interface.
#[derive(Debug)]
pub struct Port {
    pub name: String,
    pub mac: Mac,
    socket: PacketSocket,
}

/// An answer, as far as it concerns an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Which of the ports it came in at.
    pub port: usize,
    /// Who sent it.
    pub server: Mac,
    pub address: Address,
    pub tag: u32,
    pub what: What,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Firmware(u16),
    /// The mask list.
    List(Vec<Mac>),
    /// An edit stopped, or the question was refused.
    Refused(String),
}

impl Port {
    /// # Errors
    /// There is no such interface, it is down, or no CAP_NET_RAW.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let opened = || -> io::Result<Self> {
            let link = Link::named(name)?;
            if !link.running {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            // Answers (R), to us.
            let filter = [
                Instruction::LoadPacketType,
                Instruction::IfEqual(OTHER_HOST, 2, 0),
                Instruction::Load8(14),
                Instruction::IfAnyBit(0x08, 1, 0),
                Instruction::Refuse,
                Instruction::Accept,
            ];
            let socket = PacketSocket::open(ETHERTYPE, &filter)?;
            socket.bind(link.index)?;
            Ok(Self { name: name.into(), mac: Mac(link.address), socket })
        };
        opened().with_context(|| format!("interface {name}"))
    }

    fn header(&self, server: Mac, address: Address, command: Command, tag: u32) -> Header {
        let (flags, error) = (Flags::default(), 0);
        Header { destination: server, source: self.mac, version: VERSION, flags, error, address, command, tag }
    }

    /// Asks for the mask list, or has it edited by these directives.
    ///
    /// # Errors
    /// As send(2).
    pub fn mask(&self, server: Mac, address: Address, edit: &[Directive], tag: u32) -> io::Result<()> {
        let action = if edit.is_empty() { mask::Action::Read } else { mask::Action::Edit };
        let mut frame = vec![0; MIN_FRAME.max(Header::LENGTH + Mask::LENGTH + edit.len() * Mask::DIRECTIVE)];
        let rest = self.header(server, address, Command::Mask, tag).encode(&mut frame).map_err(io::Error::other)?;
        let length = Mask::encode(action, edit.iter().copied(), rest).map_err(io::Error::other)?;
        self.send(&mut frame, Header::LENGTH + length)
    }

    /// Asks for the firmware version.
    ///
    /// # Errors
    /// As send(2).
    pub fn config(&self, server: Mac, address: Address, tag: u32) -> io::Result<()> {
        let mut frame = [0; MIN_FRAME];
        let rest = self.header(server, address, Command::Config, tag).encode(&mut frame).map_err(io::Error::other)?;
        let read =
            Config { buffers: 0, firmware: 0, sectors: 0, version: 0, action: config::Action::Read, string: &[] };
        let length = read.encode(rest).map_err(io::Error::other)?;
        self.send(&mut frame, Header::LENGTH + length)
    }

    fn send(&self, frame: &mut [u8], length: usize) -> io::Result<()> {
        let length = pad(frame, length);
        match self.socket.send(&frame[..length]) {
            // The question is asked again if no answer comes.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }
}

/// Waits for an answer at any of the ports, up to `until`.
///
/// # Errors
/// As poll(2) and recv(2).
pub fn hear(ports: &[Port], until: Instant) -> io::Result<Option<Heard>> {
    let mut frame = [0; FRAME];
    loop {
        for (at, port) in ports.iter().enumerate() {
            match port.socket.receive(&mut frame) {
                Ok(length) => {
                    if let Some(heard) = parse(at, port.mac, &frame[..length.min(FRAME)]) {
                        return Ok(Some(heard));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) => return Err(error),
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut fds: Vec<PollFd<'_>> =
            ports.iter().map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// An answer to us that is whole.
fn parse(port: usize, us: Mac, frame: &[u8]) -> Option<Heard> {
    let (header, argument) = Header::parse(frame).ok()?;
    if header.destination != us || !header.flags.has(Flags::RESPONSE) || header.version != VERSION {
        return None;
    }
    let what = if header.flags.has(Flags::ERROR) {
        let unknown = header.error == Code::UnrecognizedCommand as u8;
        What::Refused(if unknown { "it has no mask lists".into() } else { format!("AoE error {}", header.error) })
    } else {
        match header.command {
            Command::Config => What::Firmware(Config::parse(argument).ok()?.firmware),
            Command::Mask => {
                let mask = Mask::parse(argument).ok()?;
                match mask.error {
                    0 => What::List(mask.directives().ok()?.map(|directive| directive.mac).collect()),
                    2 => What::Refused("it does not know how to add or delete".into()),
                    3 => What::Refused("its mask list is full".into()),
                    other => What::Refused(format!("mask error {other}")),
                }
            }
            _ => return None,
        }
    };
    Some(Heard { port, server: header.source, address: header.address, tag: header.tag, what })
}
