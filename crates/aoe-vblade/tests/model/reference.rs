//! The target once more, as the protocol's text has it: one function from a frame's bytes to the
//! answer's, on plain bytes and written without a look at the target's own types.

use super::{FIRMWARE, SECTORS, Setup, TARGET};

/// Codes of ATA commands that read.
const READS: [u8; 4] = [0x20, 0x24, 0x25, 0xc8];
/// And that write.
const WRITES: [u8; 4] = [0x30, 0x34, 0x35, 0xca];

/// Status and error registers.
type Failure = (u8, u8);
const ABORTED: Failure = (0x41, 0x04);
const NO_SUCH_SECTOR: Failure = (0x41, 0x10);
const UNREADABLE: Failure = (0x41, 0x40);
const FAULT: Failure = (0x61, 0x04);

/// All that a target is.
#[derive(Debug)]
pub struct Reference {
    pub setup: Setup,
    pub mtu: usize,
    /// As many sectors as there may be.
    pub disk: Vec<u8>,
    pub sectors: usize,
    /// The medium fails whatever is asked of it.
    pub broken: bool,
    /// SMART says so.
    pub failing: bool,
    pub config: Vec<u8>,
    pub mask: Vec<[u8; 6]>,
    pub reserved: Vec<[u8; 6]>,
    pub denied: Vec<[u8; 6]>,
}

impl Reference {
    /// One that has just started.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            mtu: 1500,
            disk: vec![0; SECTORS * 512],
            sectors: SECTORS,
            broken: false,
            failing: false,
            config: Vec::new(),
            mask: Vec::new(),
            reserved: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Puts a host on the mask list if there is room.
    pub fn masked(&mut self, mac: [u8; 6]) -> bool {
        let listed = self.mask.contains(&mac);
        let room = listed || self.mask.len() < self.most_masked();
        if room && !listed {
            self.mask.push(mac);
        }
        room
    }

    /// The answer to a frame, if there is to be one, after all it does is done.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if frame.len() < 24 || frame[12..14] != [0x88, 0xa2] || frame[14] & 8 != 0 {
            return None;
        }
        let wild = frame[16..18] == [0xff; 2] || frame[18] == 0xff;
        let ours = (frame[16..18] == [0, 7] || frame[16..18] == [0xff; 2]) && (frame[18] == 3 || frame[18] == 0xff);
        let source = mac(&frame[6..12]);
        let masked = !self.mask.is_empty() && !self.mask.contains(&source);
        if !ours || source[0] & 1 == 1 || self.denied.contains(&source) || masked {
            return None;
        }
        let mut answer = [&source[..], &TARGET, &[0x88, 0xa2, 0x18, 0, 0, 7, 3], &frame[19..24]].concat();
        let argument = &frame[24..];
        if frame[14] >> 4 != 1 {
            refuse(&mut answer, 5);
        } else if frame[14] & 4 != 0 {
            refuse(&mut answer, 2);
        } else {
            match frame[19] {
                0 => self.ata(argument, source, wild, frame[0] & 1 == 1, &mut answer),
                1 => self.config_query(argument, &mut answer)?,
                2 => self.mask_list(argument, &mut answer),
                3 => self.reserve(argument, source, &mut answer),
                _ => refuse(&mut answer, 1),
            }
        }
        if answer.len() < 60 {
            answer.resize(60, 0);
        }
        (answer.len() <= self.longest()).then_some(answer)
    }

    fn longest(&self) -> usize {
        (self.mtu + 14).max(60)
    }

    /// Directives that the answer has room for.
    fn most_masked(&self) -> usize {
        (self.mtu.saturating_sub(36) / 8).min(255)
    }

    fn per_frame(&self) -> usize {
        (self.mtu.saturating_sub(36) / 512).min(255)
    }

    fn ata(&mut self, argument: &[u8], source: [u8; 6], wild: bool, group: bool, answer: &mut Vec<u8>) {
        if argument.len() < 12 {
            return refuse(answer, 2);
        }
        let code = argument[3];
        if !self.reserved.is_empty() && !self.reserved.contains(&source) && code != 0xec {
            return refuse(answer, 6);
        }
        answer.extend([&argument[..10], &[0; 2]].concat());
        let about_itself = [0xec, 0xe5, 0xb0].contains(&code);
        let reads = READS.contains(&code) || [0xe7, 0xea].contains(&code);
        let result =
            if !about_itself && (wild || group && !reads) { Err(ABORTED) } else { self.command(argument, answer) };
        match result {
            Ok(data) => {
                (answer[25], answer[27]) = (0, 0x40);
                answer[26] = if code == 0xe5 { 0xff } else { 0 };
                answer.extend(data);
            }
            Err((status, error)) => {
                (answer[25], answer[27]) = (error, status);
                if code == 0xb0 {
                    answer.extend([0; 512]);
                }
            }
        }
    }

    /// Carries a command out and returns its data. Only SMART changes the registers answered.
    fn command(&mut self, argument: &[u8], answer: &mut [u8]) -> Result<Vec<u8>, Failure> {
        let (feature, count, code) = (argument[1], usize::from(argument[2]), argument[3]);
        let (lba, data) = (&argument[4..10], &argument[12..]);
        let medium = |result: Failure| if self.broken { Err(result) } else { Ok(Vec::new()) };
        match code {
            0xec => Ok(vec![0x1d; 512]),
            0xe5 => Ok(Vec::new()),
            0xe7 | 0xea => medium(FAULT),
            0xb0 if lba[1..3] == [0x4f, 0xc2] && feature == 0xda => {
                let said = if self.failing { [0xf4, 0x2c] } else { [0x4f, 0xc2] };
                answer[29..31].copy_from_slice(&said);
                Ok(vec![0; 512])
            }
            0xb0 if lba[1..3] == [0x4f, 0xc2] && feature == 0xd8 => Ok(vec![0; 512]),
            0x06 => {
                let able = self.setup.trims && !self.setup.read_only && feature == 1;
                if !able || count == 0 || count > self.per_frame() || data.len() < count * 512 {
                    return Err(ABORTED);
                }
                let ranges = ranges(&data[..count * 512]);
                if ranges.iter().any(|(first, sectors)| first + sectors > self.sectors) {
                    return Err(NO_SUCH_SECTOR);
                }
                medium(FAULT)?;
                for (first, sectors) in ranges {
                    self.disk[first * 512..(first + sectors) * 512].fill(0);
                }
                Ok(Vec::new())
            }
            _ if READS.contains(&code) || WRITES.contains(&code) => {
                let writes = WRITES.contains(&code);
                if writes && self.setup.read_only || count == 0 || count > self.per_frame() {
                    return Err(ABORTED);
                }
                let whole = lba.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                let first = if [0x20, 0x30, 0xc8, 0xca].contains(&code) { whole % (1 << 28) } else { whole };
                if first + count > self.sectors {
                    return Err(NO_SUCH_SECTOR);
                }
                let range = first * 512..(first + count) * 512;
                if !writes {
                    medium(UNREADABLE)?;
                    return Ok(self.disk[range].to_vec());
                }
                let data = data.get(..count * 512).ok_or(ABORTED)?;
                medium(FAULT)?;
                self.disk[range].copy_from_slice(data);
                Ok(Vec::new())
            }
            _ => Err(ABORTED),
        }
    }

    fn config_query(&mut self, argument: &[u8], answer: &mut Vec<u8>) -> Option<()> {
        let length =
            argument.get(6..8).map_or(usize::MAX, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
        let Some(string) = argument.get(8..).and_then(|rest| rest.get(..length)).filter(|_| length <= 1024) else {
            refuse(answer, 2);
            return Some(());
        };
        let action = argument[5] & 0x0f;
        match action {
            0 => {}
            1 if string != self.config => return None,
            2 if !self.config.starts_with(string) => return None,
            1 | 2 => {}
            3 if !self.config.is_empty() && self.config != string => refuse(answer, 4),
            3 | 4 if 32 + length <= self.longest() => self.config = string.to_vec(),
            _ => refuse(answer, 2),
        }
        let sectors = u8::try_from(self.per_frame().max(1)).expect("at most 255");
        answer.extend([0, 64]);
        answer.extend(FIRMWARE);
        answer.extend([sectors, 0x10 | action]);
        answer.extend(u16::try_from(self.config.len()).expect("at most 1024").to_be_bytes());
        answer.extend(&self.config);
        Some(())
    }

    fn mask_list(&mut self, argument: &[u8], answer: &mut Vec<u8>) {
        let Some(([_, action, _, count], rest)) = argument.split_first_chunk() else { return refuse(answer, 2) };
        let needed = if *action == 1 { usize::from(*count) * 8 } else { 0 };
        let Some(directives) = rest.get(..needed).filter(|_| *action <= 1) else { return refuse(answer, 2) };
        let (mut done, mut error) = (0, 0);
        for directive in directives.chunks_exact(8) {
            let mac = mac(&directive[2..]);
            error = match directive[1] {
                _ if !self.setup.wire_edits => 1,
                0 => 0,
                1 if self.masked(mac) => 0,
                1 => 3,
                2 => {
                    self.mask.retain(|masked| *masked != mac);
                    0
                }
                _ => 2,
            };
            if error != 0 {
                break;
            }
            done += 1;
        }
        if error != 0 {
            return answer.extend([0, 1, error, done]);
        }
        answer.extend([0, *action, 0, u8::try_from(self.mask.len()).expect("at most 255")]);
        for mac in &self.mask {
            answer.extend([0, 0]);
            answer.extend(mac);
        }
    }

    fn reserve(&mut self, argument: &[u8], source: [u8; 6], answer: &mut Vec<u8>) {
        let Some(([action, count], rest)) = argument.split_first_chunk() else { return refuse(answer, 2) };
        let Some(asked) = rest.get(..usize::from(*count) * 6) else { return refuse(answer, 2) };
        let holder = self.reserved.is_empty() || self.reserved.contains(&source);
        match action {
            0 => {}
            1 if !holder => refuse(answer, 6),
            1 | 2 if 26 + asked.len() <= self.longest() => self.reserved = asked.chunks_exact(6).map(mac).collect(),
            _ => refuse(answer, 2),
        }
        answer.extend([*action, u8::try_from(self.reserved.len()).expect("at most 255")]);
        answer.extend(self.reserved.as_flattened());
    }
}

fn refuse(answer: &mut [u8], error: u8) {
    (answer[14], answer[15]) = (0x1c, error);
}

fn mac(bytes: &[u8]) -> [u8; 6] {
    bytes[..6].try_into().expect("six bytes")
}

/// The ranges that are not empty: first sectors and lengths.
fn ranges(data: &[u8]) -> Vec<(usize, usize)> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let all = data.chunks_exact(8).map(|entry| (number(&entry[..6]), number(&entry[6..])));
    all.filter(|(_, sectors)| *sectors > 0).collect()
}
