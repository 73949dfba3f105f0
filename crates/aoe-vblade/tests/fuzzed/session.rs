//! A whole target under a sequence of frames and of what its administrator does, beside the model
//! of the property test.
//!
//! The input is a byte for the setup, then events behind 16 bits each, big-endian. Their highest
//! two say what comes:
//!
//! | bits | event |
//! |---|---|
//! | 00 | a frame of so many bytes, which follow |
//! | 01 | a frame whose header is mostly right; [`composed`] has the rest |
//! | 10 | what an administrator does, or what happens to the disk; see [`administered`] |
//! | 11 | the frame so many places before, once more, from another host |

#[path = "../model/mod.rs"]
mod model;

use model::{Event, SECTORS, Setup};

const HOSTS: [[u8; 6]; 4] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 0x10], [3, 0, 0, 0, 0, 0x30]];
const MTUS: [usize; 8] = [1500, 9000, 0, 60, 547, 548, 1060, 65535];
/// Events behind this many are another input's.
const MOST: usize = 64;

/// What happens, with the frame its own.
enum Happening {
    Frame(Vec<u8>),
    Other(Event<'static>),
}

pub fn run(input: &[u8]) {
    let Some((bits, rest)) = input.split_first() else { return };
    let setup = Setup { read_only: bits & 1 == 1, trims: bits & 2 == 0, wire_edits: bits & 4 == 0 };
    let happenings = read(rest);
    let events = happenings.iter().map(|happening| match happening {
        Happening::Frame(frame) => Event::Frame(frame),
        Happening::Other(event) => *event,
    });
    model::run(setup, events);
}

fn read(mut rest: &[u8]) -> Vec<Happening> {
    let mut happenings = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<2>()
        && happenings.len() < MOST
    {
        let head = u16::from_be_bytes(*head);
        let low = head & 0x3fff;
        rest = tail;
        happenings.push(match head >> 14 {
            0 => Happening::Frame(cut(&mut rest, low.into()).to_vec()),
            1 => Happening::Frame(composed(low, &mut rest)),
            2 => Happening::Other(administered(low)),
            _ => match happenings.iter().rev().nth(usize::from(low >> 2)) {
                Some(Happening::Frame(frame)) => {
                    let mut frame = frame.clone();
                    if let Some(source) = frame.get_mut(6..12) {
                        source.copy_from_slice(&HOSTS[usize::from(low & 3)]);
                    }
                    Happening::Frame(frame)
                }
                _ => continue,
            },
        });
    }
    happenings
}

fn cut<'i>(rest: &mut &'i [u8], length: usize) -> &'i [u8] {
    let (piece, tail) = rest.split_at(length.min(rest.len()));
    *rest = tail;
    piece
}

/// A frame: its sender in two bits, three each for a flaw or none, the command and how much comes
/// behind, and three for the length of the argument, which follows; then the fill.
fn composed(bits: u16, rest: &mut &[u8]) -> Vec<u8> {
    let field = |at: u16, width: u16| usize::from(bits >> at & ((1 << width) - 1));
    let mut frame = vec![2, 0, 0, 0, 0, 1];
    frame.extend(HOSTS[field(0, 2)]);
    frame.extend([0x88, 0xa2, 0x10, 0, 0, 7, 3]);
    frame.extend([[0, 1, 2, 3, 0, 0, 0, 4][field(5, 3)], 0, 0, 0, 1]);
    match field(2, 3) {
        1 => frame[..6].fill(0xff),
        2 => frame[16..19].fill(0xff),
        3 => frame[18] = 0xff,
        4 => frame[14] = 0x1c,
        5 => frame[14] = 0x20,
        6 => frame[14] = 0x13,
        _ => {}
    }
    frame.extend(cut(rest, [12, 12, 20, 8, 10, 16, 28, 36][field(11, 3)]));
    let length = frame.len() + [0, 0, 24, 512, 1024, 511, 8704, 4096][field(8, 3)];
    let fill = cut(rest, 1).first().copied().unwrap_or(0);
    frame.resize(length, fill);
    frame
}

/// What is done in four bits, to whom or how far in the others.
fn administered(bits: u16) -> Event<'static> {
    let number = usize::from(bits >> 4);
    let host = HOSTS[number % HOSTS.len()];
    // So many others that the list runs full.
    let many = [2, 1, 0, 0, bits.to_be_bytes()[0], bits.to_be_bytes()[1]];
    match bits & 0x0f {
        0 => Event::Deny(host),
        1 | 2 => Event::Admit(host),
        3 => Event::Mask(host),
        4 | 5 => Event::Unmask(host),
        6 => Event::Mask(many),
        7 => Event::Unmask(many),
        8 => Event::Link(MTUS[number % MTUS.len()]),
        9 => Event::Link(number * 16),
        10 => Event::Resize(1 + number % SECTORS),
        11 => Event::Broken(true),
        12 => Event::Broken(false),
        13 => Event::Failing(number & 1 == 1),
        _ => Event::Restart,
    }
}
