//! Noise sessions between hosts: mutual proof of the cluster's key, then encrypted, ordered,
//! replay-proof messages over one TCP connection.
//!
//! The pattern is `NNpsk0`: fresh Curve25519 keys for every session, mixed with the pre-shared
//! cluster key before the first byte of payload. A peer without the key fails at its first
//! message, and a recorded session tells nothing to whoever learns the key later.
//!
//! On the stream each Noise message is a big-endian u16 length and that many bytes. The first
//! plaintext byte of a message after the handshake, of which the initiator's first is empty, says whether the application message goes on
//! in the next one ([`MORE`]) or ends here.

mod key;

pub use key::{Key, KeyError, Keyring};

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use snow::{HandshakeState, StatelessTransportState};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Largest Noise message, by the Noise specification.
const MAX_NOISE: usize = 65_535;
/// Authentication tag and continuation byte of each message.
const OVERHEAD: usize = 17;
/// Most application bytes in one Noise message.
pub const CHUNK: usize = MAX_NOISE - OVERHEAD;
/// Longest greeting either side may send in the handshake, in bytes.
pub const MAX_HELLO: usize = 4096;

/// Shortest greeting on the wire: a Curve25519 key and the tag of an empty payload.
const MIN_GREETING: usize = 48;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// Sends messages of a session. [`Sender`] and [`Receiver`] may live in different threads.
#[derive(Debug)]
pub struct Sender {
    stream: TcpStream,
    state: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// Receives messages of a session.
#[derive(Debug)]
pub struct Receiver {
    stream: TcpStream,
    state: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// An established session.
#[derive(Debug)]
pub struct Session {
    pub sender: Sender,
    pub receiver: Receiver,
    /// What the peer said of itself during the handshake; authentic, since only a holder of the
    /// key could have said it.
    pub hello: Vec<u8>,
    /// The key it was opened with.
    pub key: Key,
}

/// Why a peer is not trusted, or no longer: within the [`io::Error`] that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the peer does not hold this cluster's key")]
    Key,
    #[error("not the greeting of a fivenines session")]
    Malformed,
    #[error("a greeting that was recorded and is played again")]
    Replayed,
    #[error("session: a record that the peer did not make, or not in this order")]
    Record,
}

impl Refusal {
    /// The refusal in an error of a session, if that is what it is.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Key => io::ErrorKind::PermissionDenied,
            Refusal::Malformed | Refusal::Replayed | Refusal::Record => io::ErrorKind::InvalidData,
        };
        Self::new(kind, refusal)
    }
}

impl Session {
    /// Opens a session over a connected stream. `purpose` must be equal on both ends, so that a
    /// session of one service cannot be spliced into another; `hello` is our greeting.
    /// The caller sets the stream's timeouts before, and may change them after.
    ///
    /// # Errors
    /// The peer does not hold the key, speaks something else, or the stream broke.
    pub fn connect(stream: TcpStream, key: &Key, purpose: &str, hello: &[u8]) -> io::Result<Self> {
        let mut noise = handshake(key, purpose, true)?;
        write_hello(&mut &stream, &mut noise, hello)?;
        let wire = read_wire(&mut &stream)?;
        let theirs = open_hello(&wire, &mut noise)?;
        let mut session = Self::established(stream, noise, theirs, key.clone())?;
        session.sender.send(b"")?;
        Ok(session)
    }

    /// Answers a session opened by [`Session::connect`] with `key`; see [`Session::accept_any`].
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn accept(stream: TcpStream, key: &Key, purpose: &str, hello: &[u8]) -> io::Result<Self> {
        Self::accept_any(stream, std::slice::from_ref(key), purpose, hello)
    }

    /// Answers a session opened by [`Session::connect`] with any of `keys`. The greeting alone may
    /// be a recorded one that is played again; only who holds the key can go on from our answer to
    /// it, so that is waited for.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn accept_any(stream: TcpStream, keys: &[Key], purpose: &str, hello: &[u8]) -> io::Result<Self> {
        let wire = read_wire(&mut &stream)?;
        let (mut noise, theirs, key) = try_keys(&wire, keys, purpose)?;
        write_hello(&mut &stream, &mut noise, hello)?;
        let mut session = Self::established(stream, noise, theirs, key)?;
        match session.receiver.receive(0) {
            Ok(Some(_)) => Ok(session),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if Refusal::of(&error) == Some(Refusal::Record) => Err(Refusal::Replayed.into()),
            Err(error) => Err(error),
        }
    }

    fn established(stream: TcpStream, noise: HandshakeState, hello: Vec<u8>, key: Key) -> io::Result<Self> {
        let state = Arc::new(noise.into_stateless_transport_mode().map_err(noise_error)?);
        let other = stream.try_clone()?;
        let (plain, wire) = (vec![0; MAX_NOISE], vec![0; MAX_NOISE + 2]);
        let sender =
            Sender { stream: other, state: Arc::clone(&state), nonce: 0, plain: plain.clone(), wire: wire.clone() };
        let receiver = Receiver { stream, state, nonce: 0, plain, wire };
        Ok(Self { sender, receiver, hello, key })
    }
}

impl Sender {
    /// Sends one message of any length.
    ///
    /// # Errors
    /// The stream broke; the session is of no further use.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut rest = message;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(CHUNK));
            self.plain[0] = if after.is_empty() { LAST } else { MORE };
            self.plain[1..=chunk.len()].copy_from_slice(chunk);
            let length = self
                .state
                .write_message(self.nonce, &self.plain[..=chunk.len()], &mut self.wire[2..])
                .map_err(noise_error)?;
            // A session ends long before 2^64 messages.
            self.nonce += 1;
            self.wire[..2].copy_from_slice(&length_prefix(length)?);
            self.stream.write_all(&self.wire[..length + 2])?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// Ends the session in both directions, also for a [`Receiver`] that is waiting.
    pub fn close(&self) {
        // Already closed is what was wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The stream, for its addresses and timeouts.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Receiver {
    /// Receives one message of at most `limit` bytes; `None` when the peer closed the stream
    /// between messages.
    ///
    /// # Errors
    /// The stream broke within a message, a message is longer than `limit`, or it was not made by
    /// the peer of this session in this order.
    pub fn receive(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        loop {
            let Some(length) = read_length(&mut self.stream, message.is_empty())? else { return Ok(None) };
            self.stream.read_exact(&mut self.wire[..length])?;
            let plain = self.state.read_message(self.nonce, &self.wire[..length], &mut self.plain);
            let plain = plain.map_err(|_| Refusal::Record)?;
            self.nonce += 1;
            let Some((more, chunk)) = self.plain[..plain].split_first() else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a session message without its first byte"));
            };
            if message.len() + chunk.len() > limit {
                let error = format!("a session message of more than {limit} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            message.extend_from_slice(chunk);
            match *more {
                LAST => return Ok(Some(message)),
                MORE if !chunk.is_empty() => {}
                other => {
                    let error = format!("a session message that starts with {other:#04x}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// The stream, for its addresses and timeouts.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn handshake(key: &Key, purpose: &str, initiator: bool) -> io::Result<HandshakeState> {
    let pattern = PATTERN.parse().map_err(noise_error)?;
    let builder = snow::Builder::new(pattern)
        .psk(0, key.bytes())
        .and_then(|builder| builder.prologue(purpose.as_bytes()))
        .map_err(noise_error)?;
    if initiator { builder.build_initiator() } else { builder.build_responder() }.map_err(noise_error)
}

fn write_hello(stream: &mut impl Write, noise: &mut HandshakeState, hello: &[u8]) -> io::Result<()> {
    if hello.len() > MAX_HELLO {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a greeting of more than 4096 bytes"));
    }
    let mut wire = vec![0; MAX_HELLO + 128];
    let length = noise.write_message(hello, &mut wire[2..]).map_err(noise_error)?;
    wire[..2].copy_from_slice(&length_prefix(length)?);
    stream.write_all(&wire[..length + 2])
}

fn read_wire(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let Some(length) = read_length(stream, false)? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    if !(MIN_GREETING..=MAX_HELLO + 128).contains(&length) {
        return Err(Refusal::Malformed.into());
    }
    let mut wire = vec![0; length];
    stream.read_exact(&mut wire)?;
    Ok(wire)
}

fn open_hello(wire: &[u8], noise: &mut HandshakeState) -> io::Result<Vec<u8>> {
    let mut hello = vec![0; wire.len()];
    let length = noise.read_message(wire, &mut hello).map_err(|_| Refusal::Key)?;
    hello.truncate(length);
    Ok(hello)
}

/// Opens an initiator's greeting with the key it was made with, which it does not tell.
fn try_keys(wire: &[u8], keys: &[Key], purpose: &str) -> io::Result<(HandshakeState, Vec<u8>, Key)> {
    for key in keys {
        let mut noise = handshake(key, purpose, false)?;
        if let Ok(hello) = open_hello(wire, &mut noise) {
            return Ok((noise, hello, key.clone()));
        }
    }
    Err(Refusal::Key.into())
}

/// The next message's length; `None` for a stream that ended before its first byte, where
/// `may_end` allows that.
fn read_length(stream: &mut impl Read, may_end: bool) -> io::Result<Option<usize>> {
    let mut prefix = [0; 2];
    let (first, second) = prefix.split_at_mut(1);
    loop {
        match stream.read(first) {
            Ok(0) if may_end => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(second)?;
    Ok(Some(usize::from(u16::from_be_bytes(prefix))))
}

fn length_prefix(length: usize) -> io::Result<[u8; 2]> {
    u16::try_from(length).map(u16::to_be_bytes).map_err(io::Error::other)
}

// By value because every caller is a `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn noise_error(error: snow::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("session: {error}"))
}

#[cfg(test)]
mod tests;
