//! Frames on a byte stream that may begin in the middle of one.
//!
//! A virtio-serial port outlives the programs at its ends, so either side may read what was left
//! by a peer that died half way through a frame. A frame therefore ends with a byte that occurs
//! nowhere inside it (RFC 1055's escapes): after garbage, the next frame is whole again.
//!
//! ```text
//! END | kind (1) | payload | CRC-32 of kind and payload (4, little-endian) | END
//! ```

const END: u8 = 0xC0;
const ESCAPE: u8 = 0xDB;
const ESCAPED_END: u8 = 0xDC;
const ESCAPED_ESCAPE: u8 = 0xDD;
const CRC: usize = 4;

/// The longest payload either side accepts; a longer frame is skipped.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// A frame with nothing in it: decoders skip it.
pub const EMPTY: [u8; 1] = [END];

/// One frame that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// Appends a frame to `out`.
pub fn encode(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(payload);
    out.reserve(payload.len() + 16);
    out.push(END);
    escape(&[kind], out);
    escape(payload, out);
    escape(&crc.finalize().to_le_bytes(), out);
    out.push(END);
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            END => out.extend([ESCAPE, ESCAPED_END]),
            ESCAPE => out.extend([ESCAPE, ESCAPED_ESCAPE]),
            _ => out.push(byte),
        }
    }
}

/// Finds the whole frames in a stream; what is not one is dropped.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Vec<u8>,
    escaped: bool,
    damaged: bool,
}

impl Decoder {
    /// Takes the next bytes of the stream and appends the frames they complete to `frames`.
    pub fn feed(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) {
        for &byte in bytes {
            match (byte, self.escaped) {
                (END, _) => frames.extend(self.finish()),
                (ESCAPE, false) => self.escaped = true,
                (ESCAPED_END, true) => self.push(END),
                (ESCAPED_ESCAPE, true) => self.push(ESCAPE),
                (_, true) => self.damaged = true,
                (_, false) => self.push(byte),
            }
        }
    }

    fn push(&mut self, byte: u8) {
        self.escaped = false;
        if self.frame.len() > MAX_PAYLOAD + CRC {
            self.damaged = true;
        } else {
            self.frame.push(byte);
        }
    }

    fn finish(&mut self) -> Option<Frame> {
        let body = std::mem::take(&mut self.frame);
        let (damaged, escaped) = (std::mem::take(&mut self.damaged), std::mem::take(&mut self.escaped));
        let (body, crc) = body.split_last_chunk::<CRC>()?;
        let (&kind, payload) = body.split_first()?;
        let whole = !damaged && !escaped;
        (whole && crc32fast::hash(body) == u32::from_le_bytes(*crc)).then(|| Frame { kind, payload: payload.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        Decoder::default().feed(bytes, &mut frames);
        frames
    }

    fn encoded(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(kind, payload, &mut out);
        out
    }

    proptest! {
        #[test]
        fn what_was_sent_arrives(kind: u8, payload: Vec<u8>) {
            prop_assert_eq!(decode(&encoded(kind, &payload)), vec![Frame { kind, payload }]);
        }

        #[test]
        fn a_frame_after_any_garbage_arrives(garbage: Vec<u8>, kind: u8, payload: Vec<u8>) {
            let mut stream = garbage;
            encode(kind, &payload, &mut stream);
            let frames = decode(&stream);
            prop_assert_eq!(frames.last(), Some(&Frame { kind, payload }));
        }

        #[test]
        fn a_stream_may_arrive_in_any_pieces(payloads: Vec<Vec<u8>>, cut in 1_usize..50) {
            let mut stream = Vec::new();
            for payload in &payloads {
                encode(7, payload, &mut stream);
            }
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.feed(piece, &mut frames);
            }
            let arrived: Vec<_> = frames.into_iter().map(|frame| frame.payload).collect();
            prop_assert_eq!(arrived, payloads);
        }
    }

    #[test]
    fn a_frame_cut_at_any_length_is_dropped_and_the_next_one_arrives() {
        let first = encoded(1, &[END, ESCAPE, 0, 255, b'x']);
        for length in 0..first.len() - 1 {
            let mut stream = first[..length].to_vec();
            encode(2, b"next", &mut stream);
            assert_eq!(decode(&stream), [Frame { kind: 2, payload: b"next".to_vec() }], "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_drops_the_frame() {
        let good = encoded(3, b"payload");
        for index in 1..good.len() - 1 {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[index] ^= 1 << bit;
                assert_eq!(decode(&bad), [], "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn an_endless_frame_takes_bounded_memory() {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for _ in 0..100 {
            decoder.feed(&[b'x'; 65536], &mut frames);
        }
        assert!(decoder.frame.capacity() <= 4 * MAX_PAYLOAD);
        decoder.feed(&EMPTY, &mut frames);
        decoder.feed(&encoded(1, b"ok"), &mut frames);
        assert_eq!(frames, [Frame { kind: 1, payload: b"ok".to_vec() }]);
    }
}
