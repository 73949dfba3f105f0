//! SMART commands by name (ATA8-ACS §7.52), one sector of data at most.

use nines_proto::aoe::SECTOR;
use nines_proto::aoe::ata::{Registers, flag};

/// The operation code they share.
const OP: u8 = 0xb0;
/// What the LBA registers hold so that no other command passes for one.
const MID: u8 = 0x4f;
const HIGH: u8 = 0xc2;
/// Word 82 bit 0 of IDENTIFY: the disk has the commands.
const ANNOUNCED: u8 = 1;

/// Where a command's sector of data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    In,
    Out,
}

const COMMANDS: [(&str, u8, Data); 7] = [
    ("read_data", 0xd0, Data::In),
    ("offline_immediate", 0xd4, Data::None),
    ("read_log", 0xd5, Data::In),
    ("write_log", 0xd6, Data::Out),
    ("enable", 0xd8, Data::None),
    ("disable", 0xd9, Data::None),
    ("return_status", 0xda, Data::None),
];

/// A command with its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smart {
    feature: u8,
    data: Data,
    low: u8,
}

impl Smart {
    /// Takes `name` or `name:parameter`.
    ///
    /// # Errors
    /// No such command, or the parameter is no byte.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (name, parameter) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let command = COMMANDS.iter().find(|(known, ..)| *known == name);
        let Some(&(_, feature, data)) = command else { anyhow::bail!("no such SMART command: {name}") };
        let low = parameter.map_or(Some(0), |text| match text.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        });
        let Some(low) = low else {
            anyhow::bail!("parameter of {name}: `{}': not a number from 0 to 255", parameter.unwrap_or_default())
        };
        Ok(Self { feature, data, low })
    }

    /// Whether the disk of this IDENTIFY sector has the commands.
    #[must_use]
    pub fn is_announced(sector: &[u8; SECTOR]) -> bool {
        sector[2 * 82] & ANNOUNCED != 0
    }

    /// The request's registers.
    #[must_use]
    pub fn registers(&self) -> Registers {
        Registers {
            flags: if self.sends_data() { flag::WRITE } else { 0 },
            feature_error: self.feature,
            count: u8::from(self.data != Data::None),
            command_status: OP,
            lba: [self.low, MID, HIGH, 0, 0, 0],
        }
    }

    /// A sector goes to the disk.
    #[must_use]
    pub fn sends_data(&self) -> bool {
        self.data == Data::Out
    }

    /// A sector comes from the disk.
    #[must_use]
    pub fn brings_data(&self) -> bool {
        self.data == Data::In
    }

    /// Carrying it out twice is as good as once. A self-test that runs would be started over.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        self.feature != 0xd4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_their_registers() {
        let log = Smart::parse("write_log:0x80").unwrap().registers();
        let wanted = Registers {
            flags: 1,
            feature_error: 0xd6,
            count: 1,
            command_status: 0xb0,
            lba: [0x80, 0x4f, 0xc2, 0, 0, 0],
        };
        assert_eq!(log, wanted);
        assert_eq!(Smart::parse("return_status").unwrap().registers().count, 0);
        assert!(!Smart::parse("offline_immediate:2").unwrap().may_be_repeated());
        for (bad, why) in [
            ("foo", "no such SMART command: foo"),
            ("read_log:256", "parameter of read_log: `256': not a number from 0 to 255"),
            ("read_log:", "parameter of read_log: `': not a number from 0 to 255"),
        ] {
            assert_eq!(Smart::parse(bad).unwrap_err().to_string(), why);
        }
    }
}
