//! A target under any sequence of frames and of what its administrator does, beside a model that
//! decides from the frame's bytes alone what may become of the disk. Driven by a property test and
//! by the fuzzer.

use aoe_vblade::ata::Disk;
use aoe_vblade::target::{ANSWER, Settings, Step, Target};
use nines_proto::aoe::{Address, Shelf, Slot, sectors_per_frame};
use nines_proto::mac::Mac;

pub const SECTORS: usize = 40;
pub const OURS: Address = Address { shelf: Shelf(7), slot: Slot(3) };
const MTU: usize = 1500;
const TARGET: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// What happens to a target.
#[derive(Debug, Clone, Copy)]
pub enum Event<'f> {
    /// It receives these bytes.
    Frame(&'f [u8]),
    /// A host is to hear nothing more.
    Deny([u8; 6]),
    /// Or is to hear again.
    Admit([u8; 6]),
    /// The interface has another MTU.
    Link(usize),
    /// It ends, and another one takes up what it kept.
    Restart,
}

fn target(mtu: usize) -> Target {
    let disk = Disk { sectors: SECTORS as u64, read_only: false, trim: true, identify: Box::new([0x1d; 512]) };
    let settings = Settings { address: OURS, mac: TARGET, mtu, buffers: 64, disk, mask: Vec::new(), wire_edits: true };
    Target::new(settings).expect("an empty mask")
}

/// Lets the events happen one by one, carries out the target's orders, and checks every answer.
///
/// # Panics
/// The target did what it must not.
pub fn run<'f>(events: impl IntoIterator<Item = Event<'f>>) {
    let (mut target, mut mtu) = (target(MTU), MTU);
    let mut disk = vec![0; SECTORS * 512];
    let most = usize::from(sectors_per_frame(mtu));
    let mut model = Model { disk: disk.clone(), most, mask: Vec::new(), reserved: Vec::new(), denied: Vec::new() };
    let mut answer = vec![0xee; ANSWER];
    for event in events {
        let frame = match event {
            Event::Frame(frame) => frame,
            Event::Deny(mac) => {
                target.deny(Mac(mac));
                model.denied.push(mac);
                continue;
            }
            Event::Admit(mac) => {
                target.admit(Mac(mac));
                model.denied.retain(|denied| *denied != mac);
                continue;
            }
            Event::Link(to) => {
                mtu = to;
                target.set_link(TARGET, mtu);
                model.most = usize::from(sectors_per_frame(mtu));
                continue;
            }
            Event::Restart => {
                let kept = target.kept();
                target = self::target(mtu);
                target.restore(&kept).expect("what a target kept");
                assert_eq!(target.kept(), kept);
                continue;
            }
        };
        answer.fill(0xee);
        let expected = model.expect(frame);
        let length = match target.take(frame, &mut answer) {
            Step::Ignore(_) => {
                assert_ne!(expected, Expected::Changed, "a valid write or trim was ignored");
                assert!(!matches!(expected, Expected::Data(_)), "a valid read was ignored");
                continue;
            }
            step if expected == Expected::Silence => panic!("a host that is to hear nothing: {step:?}"),
            Step::Answer(length) => length,
            Step::Read(extent, pending) => {
                let from = usize::try_from(extent.offset()).expect("on the disk");
                pending.data(&mut answer).copy_from_slice(&disk[from..from + extent.length()]);
                pending.finish(Ok(()), &mut answer)
            }
            Step::Write(extent, data, pending) => {
                assert_eq!(expected, Expected::Changed, "a write that nothing asked for");
                let from = usize::try_from(extent.offset()).expect("on the disk");
                disk[from..from + extent.length()].copy_from_slice(data);
                pending.finish(Ok(()), &mut answer)
            }
            Step::Trim(ranges, pending) => {
                assert_eq!(expected, Expected::Changed, "a trim that nothing asked for");
                for range in ranges.iter() {
                    let bytes = |sector: u64| usize::try_from(sector).expect("on the disk") * 512;
                    disk[bytes(range.first)..bytes(range.end())].fill(0);
                }
                pending.finish(Ok(()), &mut answer)
            }
            Step::Flush(pending) => pending.finish(Ok(()), &mut answer),
        };
        assert_eq!(disk, model.disk, "the disk differs from the model's");
        let answer = &answer[..length];
        check_answer(frame, answer, mtu);
        match expected {
            Expected::Data(data) => {
                assert_eq!((answer[15], answer[25], answer[26], answer[27]), (0, 0, 0, 0x40));
                assert_eq!(answer[36..], data);
            }
            Expected::Changed => assert_eq!((answer[15], answer[25], answer[26], answer[27]), (0, 0, 0, 0x40)),
            Expected::Anything | Expected::Silence => {}
        }
        model.learn(frame, answer);
    }
}

/// What is true of every answer.
fn check_answer(frame: &[u8], answer: &[u8], mtu: usize) {
    assert!((60..=(mtu + 14).max(60)).contains(&answer.len()));
    assert_eq!(answer[..6], frame[6..12], "sent to another than asked");
    assert_eq!(answer[6..12], TARGET.0);
    assert_eq!(answer[12..14], [0x88, 0xa2]);
    assert!([0x18, 0x1c].contains(&answer[14]), "version and flags {:#x}", answer[14]);
    assert_eq!(answer[14] & 0x04 != 0, answer[15] != 0);
    assert_eq!(answer[16..19], [0, 7, 3]);
    assert_eq!(answer[19..24], frame[19..24], "command and tag");
    if frame[19] == 0 && frame[14] >> 4 == 1 && frame[14] & 0x04 == 0 && frame.len() >= 36 {
        assert!([0, 6].contains(&answer[15]), "AoE error {} for an ATA command", answer[15]);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// A read of these bytes.
    Data(Vec<u8>),
    /// A write or a trim that succeeds.
    Changed,
    /// No answer and no deed.
    Silence,
    /// No data command that succeeds.
    Anything,
}

struct Model {
    disk: Vec<u8>,
    /// Sectors a frame carries.
    most: usize,
    denied: Vec<[u8; 6]>,
    mask: Vec<[u8; 6]>,
    reserved: Vec<[u8; 6]>,
}

impl Model {
    fn expect(&mut self, frame: &[u8]) -> Expected {
        let Some(source) = frame.get(6..12).and_then(|mac| <[u8; 6]>::try_from(mac).ok()) else {
            return Expected::Silence;
        };
        let admitted = self.mask.is_empty() || self.mask.contains(&source);
        if !admitted || self.denied.contains(&source) {
            return Expected::Silence;
        }
        if frame.len() < 36 || frame[12..14] != [0x88, 0xa2] || frame[14] & 0xfc != 0x10 {
            return Expected::Anything;
        }
        let holder = self.reserved.is_empty() || self.reserved.contains(&source);
        if frame[16..20] != [0, 7, 3, 0] || source[0] & 1 == 1 || !holder {
            return Expected::Anything;
        }
        let count = usize::from(frame[26]);
        let group = frame[0] & 1 == 1;
        if frame[27] == 0x06 {
            return self.trimmed(frame, count, group);
        }
        let bytes = match frame[27] {
            0x20 | 0xc8 | 0x30 | 0xca => [frame[28], frame[29], frame[30], frame[31] & 0x0f, 0, 0, 0, 0],
            _ => [frame[28], frame[29], frame[30], frame[31], frame[32], frame[33], 0, 0],
        };
        let Ok(first) = usize::try_from(u64::from_le_bytes(bytes)) else { return Expected::Anything };
        if !(1..=self.most).contains(&count) || first.saturating_add(count) > SECTORS {
            return Expected::Anything;
        }
        let range = first * 512..(first + count) * 512;
        match frame[27] {
            0x20 | 0x24 | 0x25 | 0xc8 => Expected::Data(self.disk[range].to_vec()),
            0x30 | 0x34 | 0x35 | 0xca if frame.len() >= 36 + count * 512 && !group => {
                self.disk[range].copy_from_slice(&frame[36..36 + count * 512]);
                Expected::Changed
            }
            _ => Expected::Anything,
        }
    }

    fn trimmed(&mut self, frame: &[u8], count: usize, group: bool) -> Expected {
        if group || frame[25] != 1 || !(1..=self.most).contains(&count) || frame.len() < 36 + count * 512 {
            return Expected::Anything;
        }
        let mut ranges = Vec::new();
        for entry in frame[36..36 + count * 512].chunks_exact(8) {
            let first = entry[..6].iter().rev().fold(0, |first, byte| first << 8 | usize::from(*byte));
            let length = usize::from(entry[6]) | usize::from(entry[7]) << 8;
            if length > 0 && first + length > SECTORS {
                return Expected::Anything;
            }
            ranges.push((first, length));
        }
        for (first, length) in ranges.into_iter().filter(|(_, length)| *length > 0) {
            self.disk[first * 512..(first + length) * 512].fill(0);
        }
        Expected::Changed
    }

    /// The lists change as the target says they did; what they then do is checked.
    fn learn(&mut self, frame: &[u8], answer: &[u8]) {
        if answer[15] != 0 {
            return;
        }
        match answer[19] {
            2 if answer[26] == 0 => {
                let entries = answer[28..].chunks_exact(8).take(usize::from(answer[27]));
                self.mask = entries.map(|entry| entry[2..].try_into().expect("six bytes")).collect();
            }
            2 => {
                // Stopped: what was done before the bad directive stays done.
                for directive in frame[28..].chunks_exact(8).take(usize::from(answer[27])) {
                    let mac: [u8; 6] = directive[2..].try_into().expect("six bytes");
                    self.mask.retain(|listed| directive[1] != 2 || *listed != mac);
                    if directive[1] == 1 && !self.mask.contains(&mac) {
                        self.mask.push(mac);
                    }
                }
            }
            3 => {
                let entries = answer[26..].chunks_exact(6).take(usize::from(answer[25]));
                self.reserved = entries.map(|entry| entry.try_into().expect("six bytes")).collect();
            }
            _ => {}
        }
    }
}
