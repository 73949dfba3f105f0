//! The TCP connection under a migration's session: noticed when it is dead, never stuck for ever.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nines_proto::session::Receiver;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};

use super::message::MAX_MESSAGE;

/// To connect and to prove the key.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// `xl list` and the lock table, on an emulated machine under load.
const ADMISSION: Duration = Duration::from_secs(90);
/// Bytes unacknowledged for this long mean the other host is gone: the cluster's own detection
/// takes a tenth of it.
const SILENCE: Duration = Duration::from_secs(15);
/// A peer that acknowledges but does not read: its xl may be swapping, not for ever.
const STALL: Duration = Duration::from_secs(300);

/// Connects to a receiver, ready for the handshake.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, HANDSHAKE)?;
    prepare(&stream)?;
    Ok(stream)
}

/// Sets what both ends want of the connection during the handshake.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE))?;
    stream.set_write_timeout(Some(HANDSHAKE))?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(SILENCE / 3).with_interval(SILENCE / 3).with_retries(2);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(SILENCE))
}

/// How long a target may take to look at its hypervisor and the lock table.
pub fn awaiting_admission(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(ADMISSION))
}

/// Sets what they want after it: to wait for the next message as long as the other host lives.
pub fn established(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(Some(STALL))
}

pub fn encode_hello(hello: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(hello).expect("plain structures have a JSON form")
}

pub fn decode_hello<T: DeserializeOwned>(hello: &[u8]) -> io::Result<T> {
    serde_json::from_slice(hello).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Receives until the session ends; the last call of `deliver` says why it did. `deliver` answers
/// whether anybody still listens.
pub fn pump<M>(
    mut receiver: Receiver,
    peer: &str,
    decode: impl Fn(&[u8]) -> Result<M, String>,
    deliver: impl Fn(Result<M, String>) -> bool,
) {
    let why = loop {
        match receiver.receive(MAX_MESSAGE) {
            Ok(Some(message)) => match decode(&message) {
                Ok(message) => {
                    if !deliver(Ok(message)) {
                        return;
                    }
                }
                Err(why) => break format!("{peer}: {why}"),
            },
            Ok(None) => break format!("{peer}: the connection was closed"),
            Err(error) => break format!("{peer}: the connection broke: {error}"),
        }
    };
    deliver(Err(why));
}
