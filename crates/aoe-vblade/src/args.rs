//! vblade's command line: short options, permuted with the operands as getopt(3) does, and a few
//! long ones beside them. Numbers are taken whole or refused; vblade takes what atoi makes of
//! them, and so serves shelf 0 when the shelf is a typing error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;
use nines_sys::disk::Kind;

use crate::store::Opening;

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

/// A target to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Shelf and slot.
    pub address: Address,
    /// The interface's name.
    pub interface: String,
    /// The export.
    pub opening: Opening,
    /// `-b`
    pub buffers: u16,
    /// `-m`
    pub mask: Vec<Mac>,
    /// `--engine`; whatever is possible when not given.
    pub engine: Option<Kind>,
    /// `--ready-fd`
    pub ready_fd: Option<u32>,
}

/// What is wrong with the command line, for people; the usage line follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub Option<String>);

/// vblade's usage line, from the program's name on.
pub const USAGE: &str =
    "[-b bufcnt] [-o offset] [-l length] [-d ] [-s] [-r] [ -m mac[,mac...] ] shelf slot netif filename";

/// What `--help` adds to it.
pub const HELP: &str = "
Export a file or block device over ATA over Ethernet.

  -b bufcnt        messages the target says it can queue (64)
  -o offset        sectors to leave out at the beginning (0)
  -l length        sectors to export (all that are left)
  -d               direct I/O for reads of a regular file too; block devices always
                   have it
  -s               O_SYNC: timestamps durable too
  -r               read only
  -m mac[,mac...]  serve these Ethernet addresses only
  --write-back     unsafe: answer writes before they are on stable storage
  --engine NAME    how the disk is used: io_uring or threads (io_uring where
                   the kernel allows it)
  --ready-fd N     write a newline to descriptor N when serving
  --help           print this
  --version        print the version
";

/// Messages a target can queue unless told: what Linux uses at most.
const BUFFERS: u16 = 64;

#[derive(Default)]
struct Given {
    buffers: Option<u16>,
    offset: Option<u64>,
    length: Option<u64>,
    direct: bool,
    sync: bool,
    read_only: bool,
    write_back: bool,
    mask: Vec<Mac>,
    engine: Option<Kind>,
    ready_fd: Option<u32>,
    operands: Vec<OsString>,
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Wrong> {
    let mut given = Given::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--" => {
                given.operands.extend(arguments);
                break;
            }
            b"--help" => return Ok(Invocation::Help),
            b"--version" => return Ok(Invocation::Version),
            [b'-', b'-', ..] => given.long(&argument, &mut arguments)?,
            [b'-', first, ..] if *first != b'-' => given.short(&argument, &mut arguments)?,
            _ => given.operands.push(argument),
        }
    }
    given.finish().map(|options| Invocation::Serve(Box::new(options)))
}

impl Given {
    fn long(&mut self, argument: &OsStr, more: &mut impl Iterator<Item = OsString>) -> Result<(), Wrong> {
        let text = argument.to_string_lossy();
        let (name, value) = text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value.to_owned())));
        match (name, value) {
            ("--write-back", None) => self.write_back = true,
            ("--engine", value) => {
                self.engine = Some(match &*argument_of("--engine", value, more)? {
                    "io_uring" => Kind::Ring,
                    "threads" => Kind::Threads,
                    other => return Err(wrong(format!("--engine `{other}': neither io_uring nor threads"))),
                });
            }
            ("--ready-fd", value) => {
                let value = argument_of("--ready-fd", value, more)?;
                let number = value.parse().map_err(|_| wrong(format!("--ready-fd `{value}': not a descriptor")))?;
                self.ready_fd = Some(number);
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

    fn finish(self) -> Result<Options, Wrong> {
        let operands: [OsString; 4] = self.operands.try_into().map_err(|_| Wrong(None))?;
        let [shelf, slot, interface, path] = operands;
        let [shelf, slot, interface] = [shelf, slot, interface].map(|text| text.to_string_lossy().into_owned());
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
        Ok(Options {
            address,
            interface,
            opening: Opening {
                path: path.into(),
                offset: self.offset.unwrap_or(0),
                length: self.length,
                read_only: self.read_only,
                direct: self.direct,
                sync: self.sync,
                write_back: self.write_back,
            },
            buffers: self.buffers.unwrap_or(BUFFERS),
            mask: self.mask,
            engine: self.engine,
            ready_fd: self.ready_fd,
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
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Invocation, Wrong> {
        parse(text.split_whitespace().map(OsString::from))
    }

    fn options(text: &str) -> Options {
        match line(text) {
            Ok(Invocation::Serve(options)) => *options,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refusal(text: &str) -> Option<String> {
        line(text).unwrap_err().0
    }

    #[test]
    fn four_operands_are_enough() {
        let options = options("7 3 eth1 /dev/md3");
        assert_eq!(options.address.to_string(), "e7.3");
        assert_eq!((options.interface.as_str(), options.buffers, options.ready_fd), ("eth1", 64, None));
        let opening = Opening {
            path: "/dev/md3".into(),
            offset: 0,
            length: None,
            read_only: false,
            direct: false,
            sync: false,
            write_back: false,
        };
        assert_eq!(options.opening, opening);
    }

    #[test]
    fn options_come_in_any_place_and_cluster() {
        let macs = ["02:00:00:00:00:01".parse().unwrap(), "02000000000A".to_lowercase().parse().unwrap()];
        for text in [
            "-dsr -b 16 -o 0x10 -l 010 -m 02:00:00:00:00:01,02000000000A 7 3 eth1 f",
            "7 3 eth1 f -dsr -b16 -o16 -l8 -m02:00:00:00:00:01 -m 02000000000a",
            "7 -d 3 -rs -b 16 eth1 -o 020 -l 0X8 -m 020000000001 -m 02000000000a -- f",
        ] {
            let options = options(text);
            assert_eq!((options.buffers, options.opening.offset, options.opening.length), (16, 16, Some(8)));
            assert_eq!(options.mask, macs);
            let opening = options.opening;
            assert!(opening.direct && opening.sync && opening.read_only && !opening.write_back, "{text}");
        }
        assert_eq!(options("-- 7 3 eth1 -f").opening.path.as_os_str(), "-f");
        assert_eq!(options("7 3 eth1 f --ready-fd 5 --write-back").ready_fd, Some(5));
        assert_eq!(options("7 3 eth1 f --ready-fd=6").ready_fd, Some(6));
        assert_eq!(options("--engine threads 7 3 eth1 f").engine, Some(Kind::Threads));
        assert_eq!(options("--engine=io_uring 7 3 eth1 f").engine, Some(Kind::Ring));
        assert_eq!(refusal("--engine aio 7 3 eth1 f").unwrap(), "--engine `aio': neither io_uring nor threads");
    }

    #[test]
    fn the_wrong_number_of_operands_gets_the_usage_line_alone() {
        for text in ["", "7 3 eth1", "7 3 eth1 f g", "-r"] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn what_atoi_would_make_something_of_is_refused() {
        for shelf in ["x", "65535", "70000", "-1", "+1", "7x", ""] {
            let arguments = ["--", shelf, "3", "eth1", "f"].map(OsString::from);
            let message = parse(arguments).unwrap_err().0.unwrap();
            assert_eq!(message, format!("shelf `{shelf}': not a number from 0 to 65534"));
        }
        assert_eq!(refusal("7 255 eth1 f").unwrap(), "slot `255': not a number from 0 to 254");
        for text in ["-b 0", "-b x", "-b 65536", "-o 5x", "-o -5", "-l 0", "-l 08", "-o 0x", "-o +1", "-m zz", "-m 02,"]
        {
            assert!(refusal(&format!("{text} 7 3 eth1 f")).is_some(), "{text}");
        }
        assert_eq!(
            refusal("-m 02:00:00:00:00:01,zz 7 3 eth1 f").unwrap(),
            "-m: `zz' is not an Ethernet address such as 00:16:3e:00:00:0a"
        );
    }

    #[test]
    fn unknown_options_are_named_as_getopt_names_them() {
        assert_eq!(refusal("-x 7 3 eth1 f").unwrap(), "invalid option -- 'x'");
        assert_eq!(refusal("7 3 eth1 f -b").unwrap(), "option requires an argument -- 'b'");
        assert_eq!(refusal("--verbose 7 3 eth1 f").unwrap(), "unrecognized option '--verbose'");
        assert_eq!(refusal("--write-back=1 7 3 eth1 f").unwrap(), "unrecognized option '--write-back=1'");
        assert_eq!(refusal("-s --write-back 7 3 eth1 f").unwrap(), "--write-back and -s contradict each other");
        assert_eq!(line("--help"), Ok(Invocation::Help));
        assert_eq!(line("7 --version"), Ok(Invocation::Version));
    }
}
