//! Which ATA command a request is, and what a disk has to do for it. No I/O: the answer is an
//! order, or the status and error registers of a refusal.

use std::ops::Range;

use nines_proto::aoe::SECTOR;
use nines_proto::aoe::ata::{Registers, TRIM, error, op, smart, status};
use nines_proto::aoe::identify::Sector;
use nines_proto::aoe::trim::Ranges;

/// The exported disk, as far as commands need to know it.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its size.
    pub sectors: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Sectors can be discarded. The IDENTIFY sector has to say the same.
    pub trim: bool,
    /// What IDENTIFY DEVICE answers.
    pub identify: Box<Sector>,
}

/// A run of sectors, all of them on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub first: u64,
    /// How many; never zero.
    pub sectors: u8,
}

impl Extent {
    /// Where it begins, in bytes.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.first * SECTOR as u64
    }

    /// Its sectors, the last one excluded.
    #[must_use]
    pub fn range(self) -> Range<u64> {
        self.first..self.first + u64::from(self.sectors)
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(self) -> usize {
        usize::from(self.sectors) * SECTOR
    }
}

/// What a valid command asks of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order<'f> {
    /// Answer with the IDENTIFY sector.
    Identify,
    /// Answer that the disk is active.
    PowerMode,
    /// Answer with these sectors.
    Read(Extent),
    /// Put the data behind the registers there.
    Write(Extent),
    /// Make every acknowledged write durable.
    Flush,
    /// Discard these sectors, all of them on the disk.
    Trim(Ranges<'f>),
    /// Answer whether the disk is failing.
    Health,
    /// Answer that it is done: it always is.
    Nothing,
}

/// The registers of a command that failed. `count` sectors were not transferred: all of them,
/// since a target transfers whole commands or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Status register.
    pub status: u8,
    /// Error register.
    pub error: u8,
}

impl Failure {
    /// Unknown, malformed or not allowed.
    pub const ABORTED: Self = Self { status: status::READY | status::ERROR, error: error::ABORTED };
    /// Beyond the last sector.
    pub const NO_SUCH_SECTOR: Self = Self { status: status::READY | status::ERROR, error: error::ID_NOT_FOUND };
    /// The medium gave no data.
    pub const UNREADABLE: Self = Self { status: status::READY | status::ERROR, error: error::UNCORRECTABLE };
    /// The medium took no data.
    pub const FAULT: Self = Self { status: status::READY | status::FAULT | status::ERROR, error: error::ABORTED };
}

impl Disk {
    /// Checks a command against the disk. `data` is what came behind the registers, `most` the
    /// sectors a frame of this interface carries.
    ///
    /// The operation code alone decides between 28 and 48 bits and between read and write, as it
    /// does in vblade: initiators differ in the AFlags they set.
    ///
    /// # Errors
    /// The registers to answer with when the command cannot be carried out.
    pub fn order<'f>(&self, registers: &Registers, data: &'f [u8], most: u8) -> Result<Order<'f>, Failure> {
        match registers.command_status {
            op::IDENTIFY => Ok(Order::Identify),
            op::CHECK_POWER_MODE => Ok(Order::PowerMode),
            op::FLUSH | op::FLUSH_EXT => Ok(Order::Flush),
            op::READ | op::READ_DMA => self.extent(registers.lba28(), registers.count, most).map(Order::Read),
            op::READ_EXT | op::READ_DMA_EXT => self.extent(registers.lba48(), registers.count, most).map(Order::Read),
            op::WRITE | op::WRITE_DMA => self.write(registers.lba28(), registers.count, most, data),
            op::WRITE_EXT | op::WRITE_DMA_EXT => self.write(registers.lba48(), registers.count, most, data),
            op::DATA_SET_MANAGEMENT if registers.feature_error == TRIM => self.trim(registers.count, most, data),
            op::SMART if registers.lba[1..3] == smart::KEY => match registers.feature_error {
                smart::RETURN_STATUS => Ok(Order::Health),
                // A disk that announces SMART takes this; ours is always enabled, so that DISABLE
                // is refused with what it has no data for.
                smart::ENABLE => Ok(Order::Nothing),
                _ => Err(Failure::ABORTED),
            },
            _ => Err(Failure::ABORTED),
        }
    }

    /// All ranges are looked at before any is discarded.
    fn trim<'f>(&self, count: u8, most: u8, data: &'f [u8]) -> Result<Order<'f>, Failure> {
        if self.read_only || !self.trim || count == 0 || count > most {
            return Err(Failure::ABORTED);
        }
        let data = data.get(..usize::from(count) * SECTOR).ok_or(Failure::ABORTED)?;
        let ranges = Ranges::parse(data);
        let fit = ranges.iter().all(|range| range.end() <= self.sectors);
        if fit { Ok(Order::Trim(ranges)) } else { Err(Failure::NO_SUCH_SECTOR) }
    }

    fn write<'f>(&self, first: u64, count: u8, most: u8, data: &[u8]) -> Result<Order<'f>, Failure> {
        if self.read_only {
            return Err(Failure::ABORTED);
        }
        let extent = self.extent(first, count, most)?;
        if data.len() < extent.length() { Err(Failure::ABORTED) } else { Ok(Order::Write(extent)) }
    }

    /// A count of zero is refused: ATA means 256 or 65536 sectors by it, and no frame carries
    /// those.
    fn extent(&self, first: u64, count: u8, most: u8) -> Result<Extent, Failure> {
        if count == 0 || count > most {
            return Err(Failure::ABORTED);
        }
        match first.checked_add(u64::from(count)) {
            Some(end) if end <= self.sectors => Ok(Extent { first, sectors: count }),
            _ => Err(Failure::NO_SUCH_SECTOR),
        }
    }
}

#[cfg(test)]
mod tests {
    use nines_proto::aoe::trim::Range;

    use super::*;

    const SECTORS: u64 = 3 << 32;

    fn disk() -> Disk {
        Disk { sectors: SECTORS, read_only: false, trim: true, identify: Box::new([0; 512]) }
    }

    fn registers(command_status: u8, sector: u64, count: u8) -> Registers {
        Registers { flags: 0, feature_error: 0, count, command_status, lba: Registers::lba_bytes(sector) }
    }

    #[test]
    fn the_last_sector_is_reachable_and_the_one_behind_it_is_not() {
        let order = |first, count| disk().order(&registers(op::READ_EXT, first, count), &[], 17);
        assert_eq!(order(SECTORS - 2, 2), Ok(Order::Read(Extent { first: SECTORS - 2, sectors: 2 })));
        assert_eq!(order(SECTORS - 2, 3), Err(Failure::NO_SUCH_SECTOR));
        assert_eq!(order(SECTORS, 1), Err(Failure::NO_SUCH_SECTOR));
        assert_eq!(order(0xffff_ffff_ffff, 17), Err(Failure::NO_SUCH_SECTOR));
    }

    #[test]
    fn a_28_bit_command_ignores_the_device_register_and_stays_below_128_gib() {
        for (code, first) in [(op::READ, 0xe000_0007), (op::READ_DMA, 0xff_f000_0007)] {
            let order = disk().order(&registers(code, first, 1), &[], 2);
            assert_eq!(order, Ok(Order::Read(Extent { first: 7, sectors: 1 })));
        }
    }

    #[test]
    fn a_write_needs_all_its_data_and_takes_no_more() {
        let whole = Ok(Order::Write(Extent { first: 9, sectors: 2 }));
        for (length, wanted) in [(1023, Err(Failure::ABORTED)), (1024, whole), (1400, whole)] {
            assert_eq!(disk().order(&registers(op::WRITE_EXT, 9, 2), &vec![0; length], 2), wanted);
        }
    }

    #[test]
    fn counts_that_no_frame_carries_are_aborted() {
        for count in [0, 3, 255] {
            assert_eq!(disk().order(&registers(op::READ, 0, count), &[], 2), Err(Failure::ABORTED));
            let data = vec![0; 512 * usize::from(count)];
            assert_eq!(disk().order(&registers(op::WRITE, 0, count), &data, 2), Err(Failure::ABORTED));
        }
    }

    #[test]
    fn a_read_only_disk_reads_and_flushes() {
        let disk = Disk { read_only: true, ..disk() };
        assert_eq!(disk.order(&registers(op::WRITE, 0, 1), &[0; 512], 2), Err(Failure::ABORTED));
        assert!(disk.order(&registers(op::READ, 0, 1), &[], 2).is_ok());
        assert_eq!(disk.order(&registers(op::FLUSH_EXT, 0, 0), &[], 2), Ok(Order::Flush));
    }

    fn trim(ranges: &[Range], count: u8) -> (Registers, Vec<u8>) {
        let mut data = vec![0; 512 * usize::from(count.max(1))];
        assert!(Ranges::encode(ranges, &mut data));
        (Registers { feature_error: TRIM, ..registers(op::DATA_SET_MANAGEMENT, 0, count) }, data)
    }

    #[test]
    fn ranges_are_trimmed_when_all_of_them_are_on_the_disk() {
        let last = Range { first: SECTORS - 0xffff, sectors: 0xffff };
        let (registers, data) = trim(&[last, Range { first: 5, sectors: 1 }], 1);
        let disk = disk();
        let Ok(Order::Trim(ranges)) = disk.order(&registers, &data, 2) else { panic!("a trim") };
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [last, Range { first: 5, sectors: 1 }]);
        for bad in [Range { first: SECTORS, sectors: 1 }, Range { first: 0xffff_ffff_ffff, sectors: 0xffff }] {
            let (registers, data) = trim(&[last, bad], 1);
            assert_eq!(disk.order(&registers, &data, 2), Err(Failure::NO_SUCH_SECTOR));
        }
    }

    #[test]
    fn a_trim_needs_its_sectors_of_ranges_and_a_disk_that_can() {
        let (one, data) = trim(&[Range { first: 0, sectors: 1 }], 1);
        assert!(disk().order(&one, &data, 2).is_ok());
        assert!(disk().order(&one, &[&data[..], &[0xff; 24]].concat(), 2).is_ok(), "what lies behind is no range");
        assert_eq!(disk().order(&one, &data[..511], 2), Err(Failure::ABORTED));
        for count in [0, 3] {
            let (registers, data) = trim(&[], count);
            assert_eq!(disk().order(&registers, &data, 2), Err(Failure::ABORTED));
        }
        for feature_error in [0, 2, 3] {
            assert_eq!(disk().order(&Registers { feature_error, ..one }, &data, 2), Err(Failure::ABORTED));
        }
        for unable in [Disk { trim: false, ..disk() }, Disk { read_only: true, ..disk() }] {
            assert_eq!(unable.order(&one, &data, 2), Err(Failure::ABORTED));
        }
    }

    #[test]
    fn smart_needs_its_key_and_knows_two_subcommands() {
        for feature_error in 0..=255 {
            let mut registers = Registers { feature_error, ..registers(op::SMART, 0xc2_4f00, 0) };
            let wanted = match feature_error {
                smart::RETURN_STATUS => Ok(Order::Health),
                smart::ENABLE => Ok(Order::Nothing),
                _ => Err(Failure::ABORTED),
            };
            assert_eq!(disk().order(&registers, &[], 2), wanted, "{feature_error:#x}");
            registers.lba[2] = 0;
            assert_eq!(disk().order(&registers, &[], 2), Err(Failure::ABORTED));
        }
    }

    #[test]
    fn sectors_beyond_2_tib_are_reached_by_48_bits_and_not_by_28() {
        let order = |code, first| disk().order(&registers(code, first, 1), &[0; 512], 2);
        for first in [(1 << 32) - 1, 1 << 32, (1 << 33) + 7, SECTORS - 1] {
            assert_eq!(order(op::READ_EXT, first), Ok(Order::Read(Extent { first, sectors: 1 })));
            assert_eq!(order(op::WRITE_DMA_EXT, first), Ok(Order::Write(Extent { first, sectors: 1 })));
            assert_eq!(Extent { first, sectors: 1 }.offset(), first * 512);
        }
        assert_eq!(order(op::READ, 1 << 32), Ok(Order::Read(Extent { first: 0, sectors: 1 })));
        let tiny = Disk { sectors: 1, ..disk() };
        for first in [1, 1 << 32, (1 << 48) - 1] {
            let order = tiny.order(&registers(op::READ_EXT, first, 1), &[], 2);
            assert_eq!(order, Err(Failure::NO_SUCH_SECTOR), "{first} is not sector 0");
        }
    }

    #[test]
    fn every_other_command_is_aborted() {
        let known = [0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xc8, 0xca, 0xe5, 0xe7, 0xea, 0xec];
        for code in 0..=255 {
            let order = disk().order(&registers(code, 0, 1), &[0; 512], 2);
            assert_eq!(order.is_ok(), known.contains(&code), "{code:#x}");
        }
    }
}
