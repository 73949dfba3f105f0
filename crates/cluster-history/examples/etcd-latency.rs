//! Times of lock and unlock calls of etcd's own lock service over one connection: `etcd-latency
//! ADDRESS:PORT COUNT` prints, tab-separated, the medians and 99th percentiles of grant and release in
//! microseconds, as `lock-latency` does for cluster-join.
//!
//! The calls are gRPC's: a stream of HTTP/2 (RFC 9113) each, its headers literal (RFC 7541 section
//! 6.2.2), its body one message of protocol buffers behind a byte and a length.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nines_cli::Exit;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Longest frame that is taken, HTTP/2's default.
const MAX_FRAME: usize = 16 << 10;

fn main() -> ExitCode {
    nines_cli::run("etcd-latency", measure)
}

struct Connection {
    stream: TcpStream,
    authority: String,
    next: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let length = u32::try_from(payload.len())?;
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// A field of bytes, or of a number, in a message of protocol buffers.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
    bytes
}

fn read_varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("a message ends within a number")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}

/// The bytes, or the number, of a field of a message.
fn find(mut message: &[u8], wanted: u64) -> anyhow::Result<(u64, Vec<u8>)> {
    while !message.is_empty() {
        let tag = read_varint(&mut message)?;
        let value = read_varint(&mut message)?;
        let bytes = match tag & 7 {
            0 => &[],
            2 => {
                let length = usize::try_from(value)?;
                ensure!(length <= message.len(), "a message ends within a field");
                let (bytes, rest) = message.split_at(length);
                message = rest;
                bytes
            }
            other => bail!("a field of wire type {other}"),
        };
        if tag >> 3 == wanted {
            return Ok((value, bytes.to_vec()));
        }
    }
    bail!("an answer without field {wanted}")
}

impl Connection {
    fn open(address: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])?)?;
        Ok(Self { stream, authority: address.into(), next: 1 })
    }

    /// One call, from question to the end of the answer.
    fn call(&mut self, path: &str, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let id = self.next;
        self.next += 2;
        let mut headers = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", &self.authority.clone()),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            let (name_length, value_length) = (u8::try_from(name.len())?, u8::try_from(value.len())?);
            ensure!(name_length < 127 && value_length < 127, "{name}: too long");
            headers.extend([0, name_length]);
            headers.extend(name.bytes());
            headers.push(value_length);
            headers.extend(value.bytes());
        }
        let mut body = vec![0];
        body.extend(u32::try_from(message.len())?.to_be_bytes());
        body.extend(message);
        let mut bytes = frame(HEADERS, END_HEADERS, id, &headers)?;
        bytes.extend(frame(DATA, END_STREAM, id, &body)?);
        self.stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c]))?;
            ensure!(length <= MAX_FRAME, "a frame of {length} bytes");
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload)?;
            let mine = u32::from_be_bytes(stream) & 0x7fff_ffff == id;
            match kind {
                DATA if mine => answer.extend(payload),
                SETTINGS | PING if flags & ACK == 0 => {
                    let payload: &[u8] = if kind == PING { &payload } else { &[] };
                    self.stream.write_all(&frame(kind, ACK, 0, payload)?)?;
                }
                GOAWAY => bail!("{}: it hangs up", self.authority),
                RST_STREAM if mine => bail!("{path}: the call was broken off"),
                _ => {}
            }
            if mine && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                break;
            }
        }
        ensure!(answer.len() > 5, "{path}: no answer, only a status");
        // What was read may be sent again; it is not part of what is measured next.
        self.stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &u32::try_from(answer.len())?.to_be_bytes())?)?;
        Ok(answer.split_off(5))
    }
}

fn measure() -> anyhow::Result<Exit> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("usage: etcd-latency ADDRESS:PORT COUNT")?;
    let count: usize = arguments.next().context("usage: etcd-latency ADDRESS:PORT COUNT")?.parse()?;
    ensure!((1..=1_000_000).contains(&count), "{count} is not a number of rounds");
    let mut etcd = Connection::open(&address)?;
    // Locks hang on a lease, which is made once, as a connection to cluster-join is.
    let granted = etcd.call("/etcdserverpb.Lease/LeaseGrant", &[&[1 << 3][..], &varint(3600)].concat())?;
    let (lease, _) = find(&granted, 2)?;
    let request = [field(1, b"latency"), [&[2 << 3][..], &varint(lease)].concat()].concat();
    let (mut grants, mut releases) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let start = Instant::now();
        let locked = etcd.call("/v3lockpb.Lock/Lock", &request)?;
        grants.push(start.elapsed());
        let (_, key) = find(&locked, 2)?;
        let start = Instant::now();
        etcd.call("/v3lockpb.Lock/Unlock", &field(1, &key))?;
        releases.push(start.elapsed());
    }
    let part = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        times[(times.len() - 1) * percent / 100].as_micros()
    };
    println!(
        "{}\t{}\t{}\t{}",
        part(&mut grants, 50),
        part(&mut grants, 99),
        part(&mut releases, 50),
        part(&mut releases, 99)
    );
    Ok(Exit::Ok)
}
