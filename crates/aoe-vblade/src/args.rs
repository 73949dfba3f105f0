//! vblade's command line: short options, permuted with the operands as getopt(3) does, and a few
//! long ones beside them. Numbers are taken whole or refused; vblade takes what atoi makes of
//! them, and so serves shelf 0 when the shelf is a typing error.
//!
//! A table of exports has the same words, a line each: [`table`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;
use nines_sys::disk::Kind;

use crate::store::Opening;

pub mod table;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Serve.
    Serve(Box<Options>),
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// A process that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What it serves.
    pub exports: Exports,
    /// What else it is.
    pub process: Process,
}

/// What is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exports {
    /// What the command line says.
    One(ExportOptions),
    /// `--config`: a table in a file.
    Table(PathBuf),
}

/// What concerns the process and no single export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// `--engine`; whatever is possible when not given.
    pub engine: Option<Kind>,
    /// `--control`
    pub control: Option<PathBuf>,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--no-sandbox`
    pub no_sandbox: bool,
    /// `--ready-fd`
    pub ready_fd: Option<u32>,
}

/// A target to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Shelf and slot.
    pub address: Address,
    /// The interfaces' names, each once.
    pub interfaces: Vec<String>,
    /// The export.
    pub opening: Opening,
    /// `-b`
    pub buffers: u16,
    /// `-m`
    pub mask: Vec<Mac>,
    /// Not `--fixed-mask`.
    pub wire_edits: bool,
}

/// What is wrong with the command line, for people; the usage line follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub Option<String>);

/// vblade's usage line, from the program's name on.
pub const USAGE: &str =
    "[-b bufcnt] [-o offset] [-l length] [-d ] [-s] [-r] [ -m mac[,mac...] ] shelf slot netif filename";

/// What `--help` adds to it.
pub const HELP: &str = "
Export a file or block device over ATA over Ethernet. netif may be several
interfaces, as in eth1,eth2. SIGHUP has the table and the sizes looked at again.

  -b bufcnt        messages the target says it can queue (64)
  -o offset        sectors to leave out at the beginning (0)
  -l length        sectors to export (all that are left)
  -d               direct I/O for reads of a regular file too; block devices always
                   have it
  -s               O_SYNC: timestamps durable too
  -r               read only
  -m mac[,mac...]  serve these Ethernet addresses only
  --fixed-mask     refuse changes of the -m list that come over the wire
  --exclusive      claim a block device from everyone, this host's device-mapper
                   included (O_EXCL)
  --write-back     unsafe: answer writes before they are on stable storage
  --engine NAME    how the disk is used: io_uring or threads (io_uring where
                   the kernel allows it)
  --config FILE    serve a table of exports, in place of the operands; a line
                   each, written as on the command line
  --control PATH   listen there for fencing, and for who wants to know
  --state DIR      keep the mask, the reservation, the config string and who is
                   denied over a restart
  --no-sandbox     keep every right the process has
  --ready-fd N     write a newline to descriptor N when serving
  --help           print this
  --version        print the version
";

/// Messages a target can queue unless told: what Linux uses at most.
const BUFFERS: u16 = 64;

#[derive(Debug, Default)]
struct Given {
    buffers: Option<u16>,
    offset: Option<u64>,
    length: Option<u64>,
    direct: bool,
    sync: bool,
    read_only: bool,
    write_back: bool,
    mask: Vec<Mac>,
    fixed_mask: bool,
    exclusive: bool,
    config: Option<PathBuf>,
    process: Process,
    operands: Vec<OsString>,
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Wrong> {
    let mut given = Given::default();
    if let Some(other) = given.take(arguments)? {
        return Ok(other);
    }
    let process = std::mem::take(&mut given.process);
    let exports = match given.config.take() {
        Some(table) if given.has_export() => {
            return Err(wrong(format!("--config {}: what is exported is written there", table.display())));
        }
        Some(table) => Exports::Table(table),
        None => Exports::One(given.export()?),
    };
    Ok(Invocation::Serve(Box::new(Options { exports, process })))
}

impl Given {
    /// Takes the words in; what they ask for instead of serving is returned.
    fn take(&mut self, arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Invocation>, Wrong> {
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_bytes() {
                b"--" => {
                    self.operands.extend(arguments);
                    break;
                }
                b"--help" => return Ok(Some(Invocation::Help)),
                b"--version" => return Ok(Some(Invocation::Version)),
                [b'-', b'-', ..] => self.long(&argument, &mut arguments)?,
                [b'-', first, ..] if *first != b'-' => self.short(&argument, &mut arguments)?,
                _ => self.operands.push(argument),
            }
        }
        Ok(None)
    }

    /// Whether anything was said of a single export.
    fn has_export(&self) -> bool {
        let Self { buffers, offset, length, direct, sync, read_only, write_back, mask, fixed_mask, exclusive, .. } =
            self;
        let flags = [*direct, *sync, *read_only, *write_back, *fixed_mask, *exclusive, !mask.is_empty()];
        flags.contains(&true) || buffers.is_some() || offset.is_some() || length.is_some() || !self.operands.is_empty()
    }

    fn long(&mut self, argument: &OsStr, more: &mut impl Iterator<Item = OsString>) -> Result<(), Wrong> {
        let text = argument.to_string_lossy();
        let (name, value) = text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value.to_owned())));
        match (name, value) {
            ("--write-back", None) => self.write_back = true,
            ("--fixed-mask", None) => self.fixed_mask = true,
            ("--exclusive", None) => self.exclusive = true,
            ("--config", value) => self.config = Some(argument_of("--config", value, more)?.into()),
            ("--control", value) => self.process.control = Some(argument_of("--control", value, more)?.into()),
            ("--state", value) => self.process.state = Some(argument_of("--state", value, more)?.into()),
            ("--no-sandbox", None) => self.process.no_sandbox = true,
            ("--engine", value) => {
                self.process.engine = Some(match &*argument_of("--engine", value, more)? {
                    "io_uring" => Kind::Ring,
                    "threads" => Kind::Threads,
                    other => return Err(wrong(format!("--engine `{other}': neither io_uring nor threads"))),
                });
            }
            ("--ready-fd", value) => {
                let value = argument_of("--ready-fd", value, more)?;
                let number = value.parse().map_err(|_| wrong(format!("--ready-fd `{value}': not a descriptor")))?;
                self.process.ready_fd = Some(number);
            }
            _ => return Err(wrong(format!("unrecognized option '{text}'"))),
        }
        Ok(())
    }

    fn short(&mut self, argument: &OsStr, more: &mut impl Iterator<Item = OsString>) -> Result<(), Wrong> {
        let mut letters = &argument.as_bytes()[1..];
        while let Some((letter, rest)) = letters.split_first() {
            letters = rest;
            match letter {
                b'd' => self.direct = true,
                b's' => self.sync = true,
                b'r' => self.read_only = true,
                b'b' | b'o' | b'l' | b'm' => {
                    let value = if rest.is_empty() { more.next() } else { Some(OsString::from_vec(rest.to_vec())) };
                    let letter = char::from(*letter);
                    let value = value.ok_or_else(|| wrong(format!("option requires an argument -- '{letter}'")))?;
                    return self.valued(letter, &value.to_string_lossy());
                }
                other => return Err(wrong(format!("invalid option -- '{}'", char::from(*other)))),
            }
        }
        Ok(())
    }

    fn valued(&mut self, letter: char, value: &str) -> Result<(), Wrong> {
        let refuse = |wanted: &str| wrong(format!("-{letter} `{value}': not {wanted}"));
        match letter {
            'b' => {
                let buffers = value.parse().ok().filter(|buffers| *buffers > 0);
                self.buffers = Some(buffers.ok_or_else(|| refuse("a number from 1 to 65535"))?);
            }
            'o' => self.offset = Some(sectors(value).ok_or_else(|| refuse("a number of sectors"))?),
            'l' => {
                let length = sectors(value).filter(|length| *length > 0);
                self.length = Some(length.ok_or_else(|| refuse("a number of sectors above 0"))?);
            }
            _ => {
                for mac in value.split(',') {
                    // An entry dropped from the list could leave it empty, which admits everybody.
                    self.mask.push(mac.parse().map_err(|bad| wrong(format!("-m: {bad}")))?);
                }
            }
        }
        Ok(())
    }

    fn export(self) -> Result<ExportOptions, Wrong> {
        let operands: [OsString; 4] = self.operands.try_into().map_err(|_| Wrong(None))?;
        let [shelf, slot, names, path] = operands;
        let [shelf, slot, names] = [shelf, slot, names].map(|text| text.to_string_lossy().into_owned());
        let address = Address {
            shelf: number(&shelf, Shelf::ALL.0 - 1)
                .map(Shelf)
                .ok_or_else(|| wrong(format!("shelf `{shelf}': not a number from 0 to 65534")))?,
            slot: number(&slot, Slot::ALL.0 - 1)
                .map(Slot)
                .ok_or_else(|| wrong(format!("slot `{slot}': not a number from 0 to 254")))?,
        };
        if self.write_back && self.sync {
            return Err(wrong("--write-back and -s contradict each other"));
        }
        let mut interfaces: Vec<String> = Vec::new();
        for name in names.split(',') {
            if name.is_empty() || interfaces.iter().any(|known| known == name) {
                return Err(wrong(format!("netif `{names}': not a list of interfaces, each once")));
            }
            interfaces.push(name.to_owned());
        }
        Ok(ExportOptions {
            address,
            interfaces,
            opening: Opening {
                path: path.into(),
                offset: self.offset.unwrap_or(0),
                length: self.length,
                read_only: self.read_only,
                direct: self.direct,
                sync: self.sync,
                write_back: self.write_back,
                exclusive: self.exclusive,
            },
            buffers: self.buffers.unwrap_or(BUFFERS),
            mask: self.mask,
            wire_edits: !self.fixed_mask,
        })
    }
}

/// A long option's argument, behind its `=' or as the next word.
fn argument_of(name: &str, value: Option<String>, more: &mut impl Iterator<Item = OsString>) -> Result<String, Wrong> {
    let value = value.or_else(|| more.next().map(|v| v.to_string_lossy().into_owned()));
    value.ok_or_else(|| wrong(format!("option '{name}' requires an argument")))
}

fn wrong(message: impl Into<String>) -> Wrong {
    Wrong(Some(message.into()))
}

fn number<N: std::str::FromStr + PartialOrd + Copy>(text: &str, most: N) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= most)
}

/// Decimal, 0x hexadecimal or 0 octal, as strtoll(3) with base 0 takes them, up to the number of
/// bytes a file can have.
fn sectors(text: &str) -> Option<u64> {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u64::from_str_radix(digits, base).ok().filter(|sectors| plain && *sectors <= i64::MAX.cast_unsigned() / 512)
}

#[cfg(test)]
mod tests;
