//! A target as the tests want it: `aoe-fake IF SHELF SLOT [WORD...]`, with
//!
//! - `sectors=N`: advertise so many (2 unless given)
//! - `hears=N`: overlook frames longer than this
//! - `smart`: have SMART commands; `aborts`: announce them and abort each
//! - `refuses=N`: answer config queries with this AoE error
//! - `garbage`: before each answer, send it cut off at every length, with a wrong tag, address,
//!   command and version, and without the response flag
//!
//! It says `ready` when it hears, and then what each frame asks for.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use nines_cli::Exit;
use nines_proto::aoe::ata::{DATA, Registers, op, status};
use nines_proto::aoe::config::Config;
use nines_proto::aoe::identify::Identity;
use nines_proto::aoe::{Address, Code, Command, ETHERTYPE, Flags, Header, SECTOR, Shelf, Slot, VERSION, pad};
use nines_proto::mac::Mac;
use nines_sys::packet::PacketSocket;
use nines_sys::packet::link::Link;
use std::os::fd::AsFd;

struct Fake {
    socket: PacketSocket,
    mac: Mac,
    address: Address,
    words: Vec<String>,
}

fn main() -> ExitCode {
    nines_cli::run("aoe-fake", || {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [netif, shelf, slot, words @ ..] = arguments.as_slice() else { anyhow::bail!("IF SHELF SLOT [WORD...]") };
        let link = Link::named(netif).context("interface")?;
        let socket = PacketSocket::open(ETHERTYPE, &[nines_sys::packet::Instruction::Accept])?;
        socket.set_buffers(1 << 20)?;
        socket.bind(link.index)?;
        let address = Address { shelf: Shelf(shelf.parse()?), slot: Slot(slot.parse()?) };
        let fake = Fake { socket, mac: Mac(link.address), address, words: words.to_vec() };
        println!("ready");
        fake.serve()
    })
}

impl Fake {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|given| given == word)
    }

    fn number(&self, word: &str) -> Option<usize> {
        self.words.iter().find_map(|given| given.strip_prefix(word)?.strip_prefix('=')?.parse().ok())
    }

    fn serve(&self) -> anyhow::Result<Exit> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut polled = [nix::poll::PollFd::new(self.socket.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut polled, nix::poll::PollTimeout::NONE)?;
            let Ok(length) = self.socket.receive(&mut buffer) else { continue };
            let frame = &buffer[..length];
            let Ok((header, argument)) = Header::parse(frame) else { continue };
            let deaf = self.number("hears").is_some_and(|most| length > most);
            if header.flags.has(Flags::RESPONSE) || !header.address.reaches(self.address) || deaf {
                continue;
            }
            let Some(answer) = self.answer(&header, argument)? else { continue };
            if self.has("garbage") {
                self.send_garbage(&answer);
            }
            self.socket.send(&answer)?;
        }
    }

    fn answer(&self, request: &Header, argument: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let mut frame = vec![0; DATA + 255 * SECTOR];
        let mut header = request.answer(self.mac, self.address);
        let length = match request.command {
            Command::Config => {
                println!("config");
                if self.number("refuses").is_some() {
                    header = header.refused(Code::BadArgument);
                }
                let asked = Config::parse(argument)?;
                let sectors = u8::try_from(self.number("sectors").unwrap_or(2))?;
                let config =
                    Config { buffers: 16, firmware: 1, sectors, version: VERSION, action: asked.action, string: b"" };
                Header::LENGTH + config.encode(header.encode(&mut frame)?)?
            }
            Command::Ata => {
                let (mut registers, data) = Registers::parse(argument)?;
                let op = registers.command_status;
                println!(
                    "ata {op:02x} {:02x} flags {:x} data {:02x}",
                    registers.feature_error,
                    registers.flags,
                    data.first().copied().unwrap_or(0)
                );
                registers.command_status = status::READY;
                registers.feature_error = 0;
                let known = op == op::IDENTIFY || op == 0xb0 && self.has("smart");
                if !known {
                    registers.command_status |= status::ERROR;
                    registers.feature_error = nines_proto::aoe::ata::error::ABORTED;
                }
                let rest = registers.encode(header.encode(&mut frame)?)?;
                match op {
                    op::IDENTIFY => rest[..SECTOR].copy_from_slice(&self.identity()),
                    _ => rest[..SECTOR].fill(0xa5),
                }
                DATA + SECTOR
            }
            _ => return Ok(None),
        };
        frame.truncate(length.max(nines_proto::aoe::MIN_FRAME));
        let length = pad(&mut frame, length);
        frame.truncate(length);
        Ok(Some(frame))
    }

    fn identity(&self) -> [u8; SECTOR] {
        let mac = self.mac.to_string();
        let identity = Identity {
            serial: &mac,
            firmware: "1",
            model: "a fake",
            sectors: 2048,
            write_cache: false,
            physical_exponent: 0,
            rotating: None,
            trim: nines_proto::aoe::identify::Trim::None,
        };
        let mut sector = identity.encode();
        sector[164] = u8::from(self.has("smart") || self.has("aborts"));
        sector
    }

    fn send_garbage(&self, answer: &[u8]) {
        let mut wrong: Vec<Vec<u8>> = (14..answer.len().min(80)).map(|length| answer[..length].to_vec()).collect();
        for (at, byte) in [(14, 0x10), (16, 0xff), (18, 0xff), (19, 0x77), (20, 0), (23, 0xee), (30, 0xff), (31, 0xff)]
        {
            let mut frame = answer.to_vec();
            frame[at] = byte;
            // A config answer's length field is no mistake elsewhere.
            if at < 30 || answer[19] == 1 {
                wrong.push(frame);
            }
        }
        for frame in wrong {
            // Some are too short for any interface.
            let _ = self.socket.send(&frame);
        }
    }
}
