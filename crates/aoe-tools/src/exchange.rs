//! Questions and answers on the wire, without the kernel's driver: a packet socket an interface.
//!
//! Tags have bit 31 set, as user tools' have: the driver leaves the answers alone.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_proto::aoe::config::{self, Config};
use nines_proto::aoe::{Address, Command, ETHERTYPE, Flags, Header, MIN_FRAME, VERSION, pad};
use nines_proto::mac::Mac;
use nines_sys::packet::link::Link;
use nines_sys::packet::{ETHERNET_HEADER, Instruction, PacketSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Set in the tags of user tools.
pub const USER_TAG: u32 = 1 << 31;
/// Room for the answers of a segment's targets that come at once.
const BUFFER: usize = 4 << 20;
/// How long an unanswered question waits until it is asked again.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// An interface that AoE is spoken on.
#[derive(Debug)]
pub struct Port {
    /// As the kernel calls it.
    pub name: String,
    /// Its index, address and MTU.
    pub link: Link,
    socket: PacketSocket,
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The Ethernet address it goes to.
    pub to: Mac,
    /// The shelf and slot it is for.
    pub address: Address,
    /// What it asks.
    pub command: Command,
    /// What the answer repeats.
    pub tag: u32,
    /// Everything behind the header.
    pub argument: &'a [u8],
}

/// An answer, and where it came in.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Index among the ports waited on.
    pub port: usize,
    /// Its header.
    pub header: Header,
    /// The whole frame, the padding Ethernet gave it included.
    pub frame: Vec<u8>,
}

impl Answer {
    /// Everything behind the header.
    #[must_use]
    pub fn argument(&self) -> &[u8] {
        self.frame.get(Header::LENGTH..).unwrap_or_default()
    }

    /// Why the question was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<u8> {
        self.header.flags.has(Flags::ERROR).then_some(self.header.error)
    }
}

/// The words for an error byte.
#[must_use]
pub fn refusal_words(error: u8) -> &'static str {
    match error {
        1 => "unrecognised command",
        2 => "bad argument",
        3 => "device unavailable",
        4 => "a config string is set already",
        5 => "unsupported version",
        6 => "reserved by another host",
        _ => "unknown error",
    }
}

impl Port {
    /// Opens the interface of this name.
    ///
    /// # Errors
    /// There is none, it is no Ethernet interface, or this process has no CAP_NET_RAW.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        // Not as an io::Error, which would pass for a closed stdout.
        Self::try_open(name).map_err(|error| anyhow::anyhow!("{name}: {}", words(&error)))
    }

    fn try_open(name: &str) -> io::Result<Self> {
        let link = Link::named(name)?;
        // Answers of any length: a short one on a virtual interface is not padded by anybody.
        let flags = u32::try_from(ETHERNET_HEADER).unwrap_or(0);
        let filter = [
            Instruction::Load8(flags),
            Instruction::IfAnyBit(u32::from(Flags::RESPONSE.0), 0, 1),
            Instruction::Accept,
            Instruction::Refuse,
        ];
        let socket = PacketSocket::open(ETHERTYPE, &filter)?;
        socket.set_buffers(BUFFER)?;
        socket.bind(link.index)?;
        Ok(Self { name: name.to_owned(), link, socket })
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        Mac(self.link.address)
    }

    /// Sends the question, padded to the shortest frame.
    ///
    /// # Errors
    /// As send(2).
    pub fn send(&self, question: &Question<'_>) -> io::Result<()> {
        let length = Header::LENGTH + question.argument.len();
        let mut frame = vec![0; length.max(MIN_FRAME)];
        let header = Header {
            destination: question.to,
            source: self.mac(),
            version: VERSION,
            flags: Flags::default(),
            error: 0,
            address: question.address,
            command: question.command,
            tag: question.tag,
        };
        let rest = header.encode(&mut frame).map_err(io::Error::other)?;
        rest[..question.argument.len()].copy_from_slice(question.argument);
        let length = pad(&mut frame, length);
        self.socket.send(&frame[..length])
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.receive(buffer) {
            // A longer one than any interface passes is nobody's answer.
            Ok(length) => Ok((length <= buffer.len()).then_some(length)),
            // Once after the interface went down; while it is, it is silent.
            Err(error) if matches!(errno(&error), Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens every interface named.
///
/// # Errors
/// As [`Port::open`].
pub fn open_all(names: &[String]) -> anyhow::Result<Vec<Port>> {
    names.iter().map(|name| Port::open(name)).collect()
}

/// The system's words for an error, without its number.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match errno(error) {
        Errno::UnknownErrno => error.to_string(),
        errno => errno.desc().to_owned(),
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Whether a frame that was not sent is only lost, as one on a busy or dead cable is.
#[must_use]
pub fn is_loss(error: &io::Error) -> bool {
    matches!(errno(error), Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR)
}

/// The next answer on any of the ports, or `None` when the time has come.
///
/// # Errors
/// A port failed.
pub fn wait(ports: &[Port], until: Instant) -> anyhow::Result<Option<Answer>> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let patience = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the time has come when poll(2) says so.
        let patience = i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let mut polled: Vec<PollFd<'_>> =
            ports.iter().map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if Instant::now() >= until => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => anyhow::bail!("poll: {}", error.desc()),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for (at, port) in ports.iter().enumerate().filter(|(at, _)| ready[*at]) {
            let length = port.receive(&mut buffer).map_err(|error| anyhow::Error::msg(words(&error)));
            let Some(length) = length.with_context(|| port.name.clone())? else { continue };
            let Ok((header, _)) = Header::parse(&buffer[..length]) else { continue };
            if header.flags.has(Flags::RESPONSE) && header.destination == port.mac() {
                return Ok(Some(Answer { port: at, header, frame: buffer[..length].to_vec() }));
            }
        }
        if Instant::now() >= until {
            return Ok(None);
        }
    }
}

/// The argument of a config query.
///
/// # Errors
/// The string is too long.
pub fn config_argument(action: config::Action, string: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut argument = vec![0; Config::LENGTH + string.len()];
    let query = Config { buffers: 0, firmware: 0, sectors: 0, version: VERSION, action, string };
    query.encode(&mut argument)?;
    Ok(argument)
}
