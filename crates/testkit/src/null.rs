//! A target without a disk: it answers at once, reads with whatever its buffers hold, and throws
//! writes away. What it takes is the cost of the wire and of the initiator.

use anyhow::Context;
use nines_proto::aoe::ata::{DATA, Registers, op, status};
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::{Identity, Sector, Trim};
use nines_proto::aoe::{Address, Command, Flags, Header, SECTOR, VERSION, pad, sectors_per_frame};
use nines_proto::mac::Mac;
use nines_sys::packet::Instruction;
use nines_sys::packet::link::Link;

use crate::load::Wire;

/// Requests only.
const REQUESTS: [Instruction; 4] =
    [Instruction::Load8(14), Instruction::IfAnyBit(0x08, 1, 0), Instruction::Accept, Instruction::Refuse];

/// What it claims to be.
#[derive(Debug)]
pub struct Null {
    wire: Wire,
    address: Address,
    mac: Mac,
    most: u8,
    buffers: u16,
    identify: Sector,
}

impl Null {
    /// A disk of so many sectors that is not there.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(interface: &str, address: Address, sectors: u64, buffers: u16) -> anyhow::Result<Self> {
        let link = Link::named(interface).with_context(|| interface.to_owned())?;
        let identity = Identity {
            serial: "nothing",
            firmware: "0",
            model: "no disk at all",
            sectors,
            write_cache: true,
            physical_exponent: 0,
            rotating: None,
            trim: Trim::None,
        };
        let wire = Wire::open(&link, &REQUESTS)?;
        let (mac, most) = (Mac(link.address), sectors_per_frame(link.mtu));
        Ok(Self { wire, address, mac, most, buffers, identify: identity.encode() })
    }

    /// Answers for ever.
    ///
    /// # Errors
    /// The interface's own.
    pub fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            let Self { wire, address, mac, most, buffers, identify } = self;
            let answer =
                |frame: &mut [u8], length| answer(frame, length, (*address, *mac), (*most, *buffers), identify);
            wire.answer(answer)?;
        }
    }
}

/// Turns a request into its answer, in place.
fn answer(
    frame: &mut [u8],
    length: usize,
    (address, mac): (Address, Mac),
    (most, buffers): (u8, u16),
    identify: &Sector,
) -> Option<usize> {
    let (request, argument) = Header::parse(frame.get(..length)?).ok()?;
    if request.flags.has(Flags::RESPONSE) || !request.address.reaches(address) {
        return None;
    }
    let header = request.answer(mac, address);
    let length = match request.command {
        Command::Config => {
            let action = Config::parse(argument).ok()?.action;
            let config = Config { buffers, firmware: 0, sectors: most, version: VERSION, action, string: b"" };
            Header::LENGTH + config.encode(header.encode(frame).ok()?).ok()?
        }
        Command::Ata => {
            let (registers, _) = Registers::parse(argument).ok()?;
            let data = match registers.command_status {
                op::IDENTIFY => SECTOR,
                op::READ | op::READ_EXT => usize::from(registers.count.min(most)) * SECTOR,
                _ => 0,
            };
            let done = Registers { feature_error: 0, count: 0, command_status: status::READY, ..registers };
            let rest = done.encode(header.encode(frame).ok()?).ok()?;
            if registers.command_status == op::IDENTIFY {
                rest.get_mut(..SECTOR)?.copy_from_slice(identify);
            }
            DATA + data
        }
        _ => return None,
    };
    (length <= frame.len()).then(|| pad(frame, length))
}
