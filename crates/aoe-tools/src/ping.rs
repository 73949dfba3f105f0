//! aoe-ping, also as aoeping: ask one target whether it is there, what it is, how its disk is.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use nines_cli::{Exit, log};
use nines_proto::aoe::ata::{DATA, Registers, op, status};
use nines_proto::aoe::config::{self, Config};
use nines_proto::aoe::{Address, Command, SECTOR, Shelf, Slot};
use nines_proto::mac::Mac;
use nix::sys::signal::{Signal, raise};

use crate::exchange::{self, Answer, Port, Question, USER_TAG};
use crate::getopt::{self, Grammar, Wrong};
use crate::smart::Smart;

/// What `--help` prints.
pub const HELP: &str = "usage:	aoe-ping [options] {shelf} {slot} {netif}
options:
	-i	do ATA device identify dump as raw hex
	-I	do ATA device identify print fields
	-v	be verbose
	-h	show this usage summary
options taking arguments:
	-s	timeout in seconds
	-S	perform SMART command
	-t	specify number for starting AoE tag
other options: --help, --version
";

/// The name that behaves to the letter as the program it is from.
pub const ORIGINAL: &str = "aoeping";
/// An unanswered question is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// The hex dumps' bytes a line.
const COLUMNS: usize = 16;

#[derive(Debug, Default)]
struct Wanted {
    identify: Option<Identify>,
    verbose: bool,
    timeout: Option<Duration>,
    smart: Option<Smart>,
    tag: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identify {
    Hex,
    Fields,
}

/// No answer in the time given.
struct Silence;

/// The program, under either name.
///
/// # Errors
/// A bad number, no such interface, a target that refuses.
pub fn run(program: &str, arguments: &[OsString]) -> anyhow::Result<Exit> {
    let line = match (Grammar { letters: "hviIt:s:S:", names: &[] }).parse(arguments) {
        Ok(line) => line,
        Err(wrong) => {
            log(format_args!("{wrong}"));
            if let Wrong::Letter(letter) | Wrong::LetterAlone(letter) = wrong {
                writeln!(io::stderr(), "{program} Error: unrecognized option: {letter}")?;
            }
            usage(program)?;
            return Ok(Exit::No);
        }
    };
    let mut wanted = Wanted { tag: USER_TAG, ..Wanted::default() };
    for option in &line.options {
        match option.name.as_str() {
            "h" => {
                usage(program)?;
                return Ok(Exit::Ok);
            }
            "v" => wanted.verbose = true,
            "i" => wanted.identify = Some(Identify::Hex),
            "I" => wanted.identify = Some(Identify::Fields),
            "t" => wanted.tag = tag(&option.value)?,
            "s" => match getopt::number(&option.value, 1, u32::MAX) {
                Ok(seconds) => wanted.timeout = Some(Duration::from_secs(seconds.into())),
                Err(_) => {
                    writeln!(io::stderr(), "{program} Error: timeout seconds must be one or more")?;
                    return Ok(Exit::No);
                }
            },
            _ => match Smart::parse(&option.value.to_string_lossy()) {
                Ok(smart) => wanted.smart = Some(smart),
                Err(error) => {
                    writeln!(io::stderr(), "{program} Error: {error}")?;
                    return Ok(Exit::No);
                }
            },
        }
    }
    let [shelf, slot, netif] = line.operands.as_slice() else {
        usage(program)?;
        return Ok(Exit::No);
    };
    let address = Address {
        shelf: Shelf(getopt::number(shelf, 0, u16::MAX - 1).context("shelf")?),
        slot: Slot(getopt::number(slot, 0, u8::MAX - 1).context("slot")?),
    };
    let conversation = Conversation {
        ports: vec![Port::open(&netif.to_string_lossy())?],
        address,
        deadline: wanted.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
    };
    let outcome = conversation.hold(&wanted)?;
    match outcome {
        Ok(exit) => Ok(exit),
        Err(Silence) => {
            io::stdout().flush()?;
            let seconds = wanted.timeout.unwrap_or_default().as_secs();
            log(format_args!("{address}: no answer on {} within {seconds} s", netif.to_string_lossy()));
            if program == ORIGINAL {
                // Its alarm(2) ends it, which a shell sees as status 142.
                raise(Signal::SIGALRM).map_err(|error| anyhow::Error::msg(error.desc()))?;
            }
            Ok(Exit::No)
        }
    }
}

fn usage(program: &str) -> io::Result<()> {
    // Without the last line, which the original does not have.
    let (lines, _) = HELP.trim_end().rsplit_once('\n').unwrap_or((HELP, ""));
    writeln!(io::stderr(), "{}", lines.replacen("aoe-ping", program, 1))
}

/// As strtoul(3) takes decimal digits, a negative number wrapping round; bit 31 is always set.
fn tag(text: &OsStr) -> anyhow::Result<u32> {
    let number: i64 = getopt::number(text, i64::from(i32::MIN), i64::from(u32::MAX)).context("-t")?;
    Ok(u32::try_from(number & i64::from(u32::MAX)).unwrap_or(0) | USER_TAG)
}

struct Conversation {
    ports: Vec<Port>,
    address: Address,
    deadline: Option<Instant>,
}

impl Conversation {
    fn hold(&self, wanted: &Wanted) -> anyhow::Result<Result<Exit, Silence>> {
        let mut out = io::stdout().lock();
        let address = self.address;
        if wanted.verbose {
            let (shelf, slot, netif) = (address.shelf.0, address.slot.0, &self.ports[0].name);
            writeln!(out, "tag: {:x}\neth: {netif}\nshelf: {shelf}\nslot: {slot}", wanted.tag)?;
        }
        let query = exchange::config_argument(config::Action::Read, b"")?;
        let mut question =
            Question { to: Mac::BROADCAST, address, command: Command::Config, tag: wanted.tag, argument: &query };
        let Some(found) = self.ask(&question, true, is_config, "send config query")? else { return Ok(Err(Silence)) };
        let mac = found.header.source;
        if wanted.verbose {
            writeln!(out, "config query response:")?;
            dump(&mut out, &found.frame)?;
            let bytes: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "\nfound {address} with mac {bytes}")?;
            out.flush()?;
        }
        if wanted.identify.is_none() && wanted.smart.is_none() {
            return Ok(Ok(Exit::Ok));
        }
        let mut registers = Registers {
            flags: 0,
            feature_error: 0,
            count: 1,
            command_status: op::IDENTIFY,
            lba: [0, 0, 0, 0xa0, 0, 0],
        };
        let request = with_data(&registers, &[])?;
        question = Question {
            to: mac,
            command: Command::Ata,
            tag: wanted.tag.wrapping_add(1) | USER_TAG,
            argument: &request,
            ..question
        };
        let Some(answer) = self.ask(&question, true, |answer| is_disk(answer, SECTOR), "send ATA identify device")?
        else {
            return Ok(Err(Silence));
        };
        let Some((_, sector)) = disk_answer(&answer) else {
            log(format_args!("{address}: IDENTIFY DEVICE failed"));
            return Ok(Ok(Exit::No));
        };
        match wanted.identify {
            Some(Identify::Hex) => {
                writeln!(out, "device identify response:")?;
                dump(&mut out, sector)?;
            }
            Some(Identify::Fields) => fields(&mut out, sector)?,
            None => {}
        }
        let Some(smart) = &wanted.smart else { return Ok(Ok(Exit::Ok)) };
        if !Smart::is_announced(sector) {
            writeln!(io::stderr(), "Error: {address} does not support SMART")?;
            return Ok(Ok(Exit::No));
        }
        registers = smart.registers();
        let mut data = [0; SECTOR];
        if smart.sends_data() {
            fill(&mut data)?;
        }
        let request = with_data(&registers, if smart.sends_data() { &data } else { &[] })?;
        question = Question { tag: wanted.tag.wrapping_add(2) | USER_TAG, argument: &request, ..question };
        let due = if smart.brings_data() { SECTOR } else { 0 };
        let whole = |answer: &Answer| is_disk(answer, due);
        let Some(answer) = self.ask(&question, smart.may_be_repeated(), whole, "send SMART command")? else {
            return Ok(Err(Silence));
        };
        self.show_smart(&mut out, smart, &answer)
    }

    fn show_smart(
        &self,
        out: &mut impl Write,
        smart: &Smart,
        answer: &Answer,
    ) -> anyhow::Result<Result<Exit, Silence>> {
        let Ok((registers, data)) = Registers::parse(answer.argument()) else {
            log(format_args!("{}: the answer is no disk's", self.address));
            return Ok(Ok(Exit::No));
        };
        if registers.command_status & status::ERROR != 0 {
            writeln!(io::stderr(), "SMART command aborted on target.")?;
            return Ok(Ok(Exit::No));
        }
        writeln!(out, "ATA registers:")?;
        let [low, mid, high, ..] = registers.lba;
        for (name, value) in [
            ("Features", registers.feature_error),
            ("Sector Count", registers.count),
            ("LBA Low", low),
            ("LBA Mid", mid),
            ("LBA High", high),
            ("Status", registers.command_status),
        ] {
            writeln!(out, "{name:>20}: 0x{value:02x}")?;
        }
        if smart.brings_data() {
            writeln!(out, "SMART data:")?;
            dump(out, data.get(..SECTOR).unwrap_or(data))?;
        }
        Ok(Ok(Exit::Ok))
    }

    /// Asks until there is an answer of this target to this very question, or the time is over.
    fn ask(
        &self,
        question: &Question<'_>,
        again: bool,
        is_whole: impl Fn(&Answer) -> bool,
        what: &str,
    ) -> anyhow::Result<Option<Answer>> {
        let port = &self.ports[0];
        let mut asked = false;
        loop {
            if again || !asked {
                match port.send(question) {
                    Err(error) if !exchange::is_loss(&error) => {
                        anyhow::bail!("{}: {what}: {}", port.name, exchange::words(&error))
                    }
                    _ => asked = true,
                }
            }
            let next = Instant::now() + AGAIN;
            let until = self.deadline.map_or(next, |deadline| deadline.min(next));
            while let Some(answer) = exchange::wait(&self.ports, until)? {
                let header = &answer.header;
                if (header.address, header.tag, header.command) != (self.address, question.tag, question.command) {
                    continue;
                }
                if let Some(error) = answer.refusal() {
                    anyhow::bail!("{}: refused: {}", self.address, exchange::refusal_words(error));
                }
                if is_whole(&answer) {
                    return Ok(Some(answer));
                }
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }
}

fn with_data(registers: &Registers, data: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut argument = vec![0; DATA - nines_proto::aoe::Header::LENGTH + data.len()];
    registers.encode(&mut argument)?.copy_from_slice(data);
    Ok(argument)
}

fn is_config(answer: &Answer) -> bool {
    Config::parse(answer.argument()).is_ok()
}

/// Whether it is a disk's answer with all the data due, unless there is none because of an error.
fn is_disk(answer: &Answer, due: usize) -> bool {
    Registers::parse(answer.argument())
        .is_ok_and(|(registers, data)| data.len() >= due || registers.command_status & status::ERROR != 0)
}

/// The sector of a disk that carried the command out.
fn disk_answer(answer: &Answer) -> Option<(Registers, &[u8; SECTOR])> {
    let (registers, data) = Registers::parse(answer.argument()).ok()?;
    let fine = registers.command_status & (status::ERROR | status::FAULT) == 0;
    Some((registers, data.first_chunk::<SECTOR>()?)).filter(|_| fine)
}

/// One sector from stdin, zeroes behind what there is.
fn fill(sector: &mut [u8; SECTOR]) -> anyhow::Result<()> {
    let mut data = Vec::new();
    let read = io::stdin().lock().take(SECTOR as u64).read_to_end(&mut data);
    read.map_err(|error| anyhow::anyhow!("reading smart data from stdin: {error}"))?;
    sector[..data.len()].copy_from_slice(&data);
    Ok(())
}

fn dump(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for row in bytes.chunks(COLUMNS) {
        for byte in row {
            write!(out, "{byte:02x} ")?;
        }
        if row.len() == COLUMNS {
            writeln!(out)?;
        }
    }
    Ok(())
}

fn fields(out: &mut impl Write, sector: &[u8; SECTOR]) -> io::Result<()> {
    let word = |at: usize| u16::from_le_bytes([sector[2 * at], sector[2 * at + 1]]);
    // Its strings keep the spaces that fill them; what no disk should hold in one is a space.
    let text = |from: usize, to: usize| -> String {
        let bytes = (from..to).flat_map(|at| word(at).to_be_bytes());
        bytes.map(|byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { ' ' }).collect()
    };
    writeln!(out, "device identify fields:")?;
    for (number, at) in (7..10).enumerate() {
        writeln!(out, "vendor_specific_{number}: 0x{:X}", word(at))?;
    }
    writeln!(out, "serial_number: {}", text(10, 20))?;
    writeln!(out, "firmware_rev: {}", text(23, 27))?;
    writeln!(out, "model: {}", text(27, 47))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_ends_each_full_row() {
        let mut out = Vec::new();
        dump(&mut out, &[0xab; 17]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}\nab ", "ab ".repeat(16)));
    }

    #[test]
    fn tags_have_the_user_tools_bit() {
        for (text, wanted) in [("5", 0x8000_0005), ("-1", 0xffff_ffff), ("2147483653", 0x8000_0005)] {
            assert_eq!(tag(OsStr::new(text)).unwrap(), wanted);
        }
        assert!(tag(OsStr::new("0x10")).is_err());
    }

    #[test]
    fn fields_are_swapped_pairs_and_harmless() {
        let mut sector = [0; SECTOR];
        sector[14..16].copy_from_slice(&[0x34, 0xab]);
        sector[20..24].copy_from_slice(b"es\x1br");
        let mut out = Vec::new();
        fields(&mut out, &sector).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("vendor_specific_0: 0xAB34\n"), "{text}");
        assert!(text.contains(&format!("serial_number: ser {}\n", " ".repeat(16))), "{text}");
    }
}
