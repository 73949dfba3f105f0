//! Issue ATA command (command 0, AoEr11 §3.1): the registers of an ATA device in a frame.

use super::{Header, Malformed, put, raw, split};

/// Where an ATA message's data begins in the frame.
pub const DATA: usize = Header::LENGTH + size_of::<raw::Ata>();

/// ATA operation codes a disk is driven with.
pub mod op {
    /// DATA SET MANAGEMENT; the feature register says what is done with the ranges.
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    /// READ SECTORS.
    pub const READ: u8 = 0x20;
    /// READ SECTORS EXT.
    pub const READ_EXT: u8 = 0x24;
    /// READ DMA EXT.
    pub const READ_DMA_EXT: u8 = 0x25;
    /// WRITE SECTORS.
    pub const WRITE: u8 = 0x30;
    /// WRITE SECTORS EXT.
    pub const WRITE_EXT: u8 = 0x34;
    /// WRITE DMA EXT.
    pub const WRITE_DMA_EXT: u8 = 0x35;
    /// SMART; a [`smart`](super::smart) code in the feature register.
    pub const SMART: u8 = 0xb0;
    /// READ DMA.
    pub const READ_DMA: u8 = 0xc8;
    /// WRITE DMA.
    pub const WRITE_DMA: u8 = 0xca;
    /// CHECK POWER MODE.
    pub const CHECK_POWER_MODE: u8 = 0xe5;
    /// FLUSH CACHE.
    pub const FLUSH: u8 = 0xe7;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
}

/// The feature register of DATA SET MANAGEMENT: the ranges are not needed any more.
pub const TRIM: u8 = 0x01;

/// SMART's subcommands, in the feature register. Each wants [`KEY`](smart::KEY) in the LBA.
pub mod smart {
    /// SMART READ DATA.
    pub const READ_DATA: u8 = 0xd0;
    /// SMART ENABLE OPERATIONS.
    pub const ENABLE: u8 = 0xd8;
    /// SMART DISABLE OPERATIONS.
    pub const DISABLE: u8 = 0xd9;
    /// SMART RETURN STATUS.
    pub const RETURN_STATUS: u8 = 0xda;
    /// LBA 8 to 23 of every request, and of a healthy disk's answer to RETURN STATUS.
    pub const KEY: [u8; 2] = [0x4f, 0xc2];
    /// The same of a disk that is failing.
    pub const FAILING: [u8; 2] = [0xf4, 0x2c];
}

/// Status register bits.
pub mod status {
    /// Ready for a command.
    pub const READY: u8 = 0x40;
    /// The device itself failed.
    pub const FAULT: u8 = 0x20;
    /// The error register says why.
    pub const ERROR: u8 = 0x01;
}

/// Error register bits.
pub mod error {
    /// Uncorrectable data.
    pub const UNCORRECTABLE: u8 = 0x40;
    /// No such sector.
    pub const ID_NOT_FOUND: u8 = 0x10;
    /// The command was aborted: unknown, not allowed, or malformed.
    pub const ABORTED: u8 = 0x04;
}

/// AFlags bits (offset 24).
pub mod flag {
    /// A command of the 48-bit feature set.
    pub const EXTENDED: u8 = 0x40;
    /// The device/head register's bit 4.
    pub const DEVICE: u8 = 0x10;
    /// The write may be answered before the data is on the medium.
    pub const ASYNCHRONOUS: u8 = 0x02;
    /// Data goes to the device.
    pub const WRITE: u8 = 0x01;
}

/// The registers as a request or an answer carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// Offset 24: [`flag`] bits.
    pub flags: u8,
    /// Offset 25: feature in a request, [`error`] bits in an answer.
    pub feature_error: u8,
    /// Offset 26: sectors to transfer; in an answer those that were not.
    pub count: u8,
    /// Offset 27: an [`op`] in a request, [`status`] bits in an answer.
    pub command_status: u8,
    /// Offset 28: least significant byte first.
    pub lba: [u8; 6],
}

impl Registers {
    /// Takes the registers and the data behind them from a message's argument. The data of a
    /// short request comes with the padding Ethernet gave it.
    ///
    /// # Errors
    /// The argument is short.
    pub fn parse(argument: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (raw, data) = split::<raw::Ata>(argument, "ATA registers")?;
        let registers = Self {
            flags: raw.flags,
            feature_error: raw.feature_error,
            count: raw.count,
            command_status: raw.command_status,
            lba: raw.lba,
        };
        Ok((registers, data))
    }

    /// Writes the registers to the front of `out` and returns the rest, where data goes.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn encode<'a>(&self, out: &'a mut [u8]) -> Result<&'a mut [u8], Malformed> {
        let raw = raw::Ata {
            flags: self.flags,
            feature_error: self.feature_error,
            count: self.count,
            command_status: self.command_status,
            lba: self.lba,
            reserved: [0; 2],
        };
        put(&raw, out, "ATA registers")
    }

    /// The sector of a 28-bit command. The four bits above it are the device/head register's.
    #[must_use]
    pub fn lba28(&self) -> u64 {
        self.lba48() & 0x0fff_ffff
    }

    /// The sector of a 48-bit command.
    #[must_use]
    pub fn lba48(&self) -> u64 {
        let [a, b, c, d, e, f] = self.lba;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The LBA bytes of a sector number; bits above 48 are cut off.
    #[must_use]
    pub fn lba_bytes(sector: u64) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = sector.to_le_bytes();
        [a, b, c, d, e, f]
    }
}
