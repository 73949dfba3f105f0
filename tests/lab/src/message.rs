//! What the `lab` command and the agent in a host say to each other, one message a frame.
//!
//! A session begins with [`Request::Exec`] or [`Request::Push`], which carry a random nonce. The
//! agent drops whatever it was doing, answers [`Reply::Opened`] with that nonce, and everything
//! it says from there on belongs to this session. [`Reply::Exit`] ends it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::frame::{Frame, encode};

/// How many bytes of [`Request::Data`] may be on their way or waiting for the command. The agent
/// adds to it with [`Reply::Credit`]; so it never has to stop reading its port.
pub const WINDOW: usize = 256 * 1024;

/// The most bytes either side puts into one data message.
pub const CHUNK: usize = 32 * 1024;

pub type Nonce = [u8; 16];

/// From the `lab` command to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run this argv.
    Exec { nonce: Nonce, argv: Vec<OsString> },
    /// Write what follows to this file.
    Push { nonce: Nonce, mode: u32, path: OsString },
    /// Bytes for stdin, or of the file.
    Data(Vec<u8>),
    /// No more of them.
    End,
}

/// From the agent to the `lab` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Opened(Nonce),
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// So many bytes of data were taken.
    Credit(u32),
    /// The command's exit status as a shell tells it; for a push 0.
    Exit(u8),
    /// It could not be done at all: an exit status and the reason.
    Failed(u8, String),
}

impl Request {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Exec { nonce, argv } => {
                let mut payload = nonce.to_vec();
                for arg in argv {
                    payload.extend(arg.as_bytes());
                    payload.push(0);
                }
                encode(1, &payload, out);
            }
            Self::Push { nonce, mode, path } => {
                let mut payload = nonce.to_vec();
                payload.extend(mode.to_le_bytes());
                payload.extend(path.as_bytes());
                encode(2, &payload, out);
            }
            Self::Data(bytes) => encode(3, bytes, out),
            Self::End => encode(4, &[], out),
        }
    }

    /// The request in a frame, none when it is not one.
    #[must_use]
    pub fn decode(frame: Frame) -> Option<Self> {
        match frame.kind {
            1 => {
                let (nonce, argv) = frame.payload.split_first_chunk()?;
                let argv = argv.strip_suffix(&[0])?;
                let argv = argv.split(|&byte| byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect();
                Some(Self::Exec { nonce: *nonce, argv })
            }
            2 => {
                let (nonce, rest) = frame.payload.split_first_chunk()?;
                let (mode, path) = rest.split_first_chunk()?;
                let path = OsString::from_vec(path.to_vec());
                Some(Self::Push { nonce: *nonce, mode: u32::from_le_bytes(*mode), path })
            }
            3 => Some(Self::Data(frame.payload)),
            4 => Some(Self::End),
            _ => None,
        }
    }
}

impl Reply {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Opened(nonce) => encode(129, nonce, out),
            Self::Out(bytes) => encode(130, bytes, out),
            Self::Err(bytes) => encode(131, bytes, out),
            Self::Credit(count) => encode(132, &count.to_le_bytes(), out),
            Self::Exit(status) => encode(133, &[*status], out),
            Self::Failed(status, why) => {
                let mut payload = vec![*status];
                payload.extend(why.as_bytes());
                encode(134, &payload, out);
            }
        }
    }

    /// The reply in a frame, none when it is not one.
    #[must_use]
    pub fn decode(frame: Frame) -> Option<Self> {
        let payload = frame.payload;
        match frame.kind {
            129 => Some(Self::Opened(payload.try_into().ok()?)),
            130 => Some(Self::Out(payload)),
            131 => Some(Self::Err(payload)),
            132 => Some(Self::Credit(u32::from_le_bytes(payload.try_into().ok()?))),
            133 => Some(Self::Exit(*payload.first()?)),
            134 => {
                let (status, why) = payload.split_first()?;
                Some(Self::Failed(*status, String::from_utf8_lossy(why).into_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Decoder;

    fn frame_of(encode: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        let mut frames = Vec::new();
        Decoder::default().feed(&bytes, &mut frames);
        frames.remove(0)
    }

    #[test]
    fn requests_survive_the_wire() {
        let nonce = [0xC0; 16];
        for request in [
            Request::Exec { nonce, argv: vec!["sh".into(), "-c".into(), String::new().into(), "a b".into()] },
            Request::Push { nonce, mode: 0o755, path: "/usr/sbin/x".into() },
            Request::Data(vec![0, 1, 0xC0]),
            Request::End,
        ] {
            assert_eq!(Request::decode(frame_of(|out| request.encode(out))), Some(request));
        }
    }

    #[test]
    fn replies_survive_the_wire() {
        for reply in [
            Reply::Opened([7; 16]),
            Reply::Out(b"out".to_vec()),
            Reply::Err(vec![]),
            Reply::Credit(70_000),
            Reply::Exit(255),
            Reply::Failed(127, "no such file".into()),
        ] {
            assert_eq!(Reply::decode(frame_of(|out| reply.encode(out))), Some(reply));
        }
    }

    #[test]
    fn a_short_payload_is_no_message() {
        for kind in [1, 2, 129, 132, 133, 134] {
            let frame = Frame { kind, payload: Vec::new() };
            assert_eq!(Request::decode(frame.clone()), None);
            assert_eq!(Reply::decode(frame), None);
        }
    }
}
