//! What is to be done: `name=value` lines on standard input, or a command line.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;

/// The longest input that is read.
const MAX_INPUT: u64 = 64 << 10;
/// The most targets, interfaces and addresses.
const MOST: usize = 256;
const TIMEOUT: u64 = 10;
const LONGEST: u64 = 3600;

/// Take a host's access to AoE targets away.
#[derive(Debug, Default, Parser)]
#[command(
    name = "fence_aoemask",
    version,
    about = "Take a host's access to AoE targets away",
    after_help = "Without arguments options are read from standard input, one name=value a line."
)]
struct Raw {
    /// off, on, status, monitor, list, metadata or validate-all [default: off]
    #[arg(short = 'o', long, value_name = "ACTION")]
    action: Option<String>,
    /// Network interfaces to the targets
    #[arg(short, long, value_name = "IF,...")]
    interface: Option<String>,
    /// Targets, each perhaps with the one interface it is at
    #[arg(short = 'n', long, value_name = "SHELF.SLOT[@IF],...")]
    plug: Option<String>,
    /// The host's Ethernet addresses
    #[arg(short, long, value_name = "MAC,...")]
    mac: Option<String>,
    /// Seconds after which the agent has failed [default: 10]
    #[arg(short, long, value_name = "SECS")]
    timeout: Option<String>,
    /// Seconds to wait before off
    #[arg(long, value_name = "SECS")]
    delay: Option<String>,
    /// Say what each target answered
    #[arg(short, long)]
    verbose: bool,
}

/// What an agent can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Off,
    On,
    Status,
    Monitor,
    List,
    Metadata,
    Validate,
}

/// A target as it is named, and the one interface it is asked at, if that is named as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    pub address: Address,
    pub interface: Option<String>,
}

/// What is to be done, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub action: Action,
    pub interfaces: Vec<String>,
    pub plugs: Vec<Plug>,
    pub victims: Vec<Mac>,
    /// From the start of the work to its failure.
    pub patience: Duration,
    pub delay: Duration,
    pub verbose: bool,
}

/// The command line and, without one, standard input.
///
/// # Errors
/// clap's, which holds help and version as well; ours for what is missing or no value.
pub fn read(arguments: &[std::ffi::OsString], input: impl Read) -> anyhow::Result<Options> {
    let raw = if arguments.len() > 1 {
        Raw::try_parse_from(arguments)?
    } else {
        let mut text = Vec::new();
        input.take(MAX_INPUT).read_to_end(&mut text).context("stdin")?;
        ensure!((text.len() as u64) < MAX_INPUT, "stdin: more than {MAX_INPUT} bytes");
        Raw::from_lines(&String::from_utf8_lossy(&text))
    };
    raw.checked()
}

impl Raw {
    /// The last of several lines of one name counts; what is not known is for somebody else.
    fn from_lines(text: &str) -> Self {
        let mut raw = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = Some(value.to_owned());
            match name {
                "action" | "option" => raw.action = value,
                "interface" => raw.interface = value,
                "plug" | "port" => raw.plug = value,
                "mac" => raw.mac = value,
                "timeout" => raw.timeout = value,
                "delay" => raw.delay = value,
                "verbose" => raw.verbose = matches!(value.as_deref(), Some("1" | "on" | "yes" | "true")),
                _ => {}
            }
        }
        raw
    }

    fn checked(self) -> anyhow::Result<Options> {
        let action = match self.action.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "off" | "disable") => Action::Off,
            Some("on" | "enable") => Action::On,
            Some("status") => Action::Status,
            Some("monitor") => Action::Monitor,
            Some("list") => Action::List,
            Some("metadata") => Action::Metadata,
            Some("validate-all") => Action::Validate,
            Some("reboot") => bail!("action: this agent takes access away and cannot reboot a host: use off"),
            Some(other) => bail!("action: `{other}' is not off, on, status, monitor, list, metadata or validate-all"),
        };
        let seconds = |name: &str, text: Option<&str>, otherwise: u64| match text {
            None | Some("") => Ok(otherwise),
            Some(text) => {
                let number: Option<u64> = text.strip_suffix('s').unwrap_or(text).parse().ok();
                let fits = number.filter(|seconds| *seconds <= LONGEST);
                fits.with_context(|| format!("{name}: `{text}' is not 0 to {LONGEST} seconds"))
            }
        };
        let timeout = seconds("timeout", self.timeout.as_deref(), TIMEOUT)?.max(1);
        let options = Options {
            action,
            interfaces: words(self.interface.as_deref()).map(str::to_owned).collect(),
            plugs: words(self.plug.as_deref()).map(plug).collect::<anyhow::Result<_>>().context("plug")?,
            victims: words(self.mac.as_deref()).map(victim).collect::<anyhow::Result<_>>().context("mac")?,
            // Whoever called may kill us when its timeout is over, of the same name and number:
            // before that we can still say why.
            patience: Duration::from_millis(timeout * 900),
            delay: Duration::from_secs(seconds("delay", self.delay.as_deref(), 0)?),
            verbose: self.verbose,
        };
        options.complete()
    }
}

impl Options {
    fn complete(self) -> anyhow::Result<Self> {
        let Self { action, interfaces, plugs, victims, .. } = &self;
        if *action == Action::Metadata {
            return Ok(self);
        }
        let most = interfaces.len().max(plugs.len()).max(victims.len());
        ensure!(most <= MOST, "more than {MOST} interfaces, targets or addresses");
        let named = plugs.iter().all(|plug| plug.interface.is_some()) && !plugs.is_empty();
        ensure!(!interfaces.is_empty() || named, "interface: none given: at which ones are the targets?");
        if *action != Action::List {
            ensure!(!plugs.is_empty(), "plug: none given: which targets, as shelf.slot?");
        }
        if matches!(action, Action::Off | Action::On | Action::Status) {
            ensure!(!victims.is_empty(), "mac: none given: which Ethernet addresses has the host?");
        }
        Ok(self)
    }

    /// Every interface that is used, once.
    #[must_use]
    pub fn used_interfaces(&self) -> Vec<&str> {
        let named = self.plugs.iter().filter_map(|plug| plug.interface.as_deref());
        let mut all: Vec<&str> = self.interfaces.iter().map(String::as_str).chain(named).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    let separates = |c: char| c == ',' || c == ';' || c.is_whitespace();
    text.unwrap_or_default().split(separates).filter(|word| !word.is_empty())
}

fn plug(text: &str) -> anyhow::Result<Plug> {
    let (address, interface) = text.split_once('@').map_or((text, None), |(address, at)| (address, Some(at)));
    let bare = address.strip_prefix('e').unwrap_or(address);
    let parsed = bare.split_once('.').and_then(|(shelf, slot)| {
        let address = Address { shelf: Shelf(shelf.parse().ok()?), slot: Slot(slot.parse().ok()?) };
        (!address.is_wild()).then_some(address)
    });
    let address = parsed.with_context(|| format!("`{text}' is not a target such as 7.3 or 7.3@eth1"))?;
    Ok(Plug { address, interface: interface.filter(|name| !name.is_empty()).map(Into::into) })
}

fn victim(text: &str) -> anyhow::Result<Mac> {
    let mac: Mac = text.parse()?;
    ensure!(mac.0[0] & 1 == 0 && mac.0 != [0; 6], "{mac} is not the address of a host");
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Options, String> {
        read(&["fence_aoemask".into()], text.as_bytes()).map_err(|error| format!("{error:#}"))
    }

    const WHOLE: &str = "# a comment\nnodename=xen2\nagent=fence_aoemask\ninterface=eth1, eth2\nport=e7.3 8.0@eth2\n\
                         mac=00163e00000B\ntimeout=5\n";

    #[test]
    fn lines_and_words_say_the_same() {
        let words = ["fence_aoemask", "-i", "eth1,eth2", "--plug=7.3,8.0@eth2", "-m", "00:16:3e:00:00:0b", "-t", "5s"];
        let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
        let options = lines(WHOLE).unwrap();
        assert_eq!(read(&words, std::io::empty()).unwrap(), options);
        assert_eq!((options.action, options.patience.as_millis()), (Action::Off, 4500));
        assert_eq!(options.plugs[1].interface.as_deref(), Some("eth2"));
        assert_eq!(options.used_interfaces(), ["eth1", "eth2"]);
    }

    #[test]
    fn the_last_line_of_a_name_counts_and_unknown_names_do_not() {
        let options = lines(&format!("{WHOLE}action=off\noption=STATUS\nlogin=me\n\nnonsense\n")).unwrap();
        assert_eq!(options.action, Action::Status);
    }

    #[test]
    fn what_is_missing_or_no_value_is_refused() {
        for (change, wanted) in [
            ("action=reboot", "action: this agent takes access away and cannot reboot a host: use off"),
            ("interface=\nplug=7.3", "interface: none given: at which ones are the targets?"),
            ("plug=", "plug: none given: which targets, as shelf.slot?"),
            ("plug=7", "plug: `7' is not a target such as 7.3 or 7.3@eth1"),
            ("plug=65535.255", "plug: `65535.255' is not a target such as 7.3 or 7.3@eth1"),
            ("mac=", "mac: none given: which Ethernet addresses has the host?"),
            ("mac=ff:ff:ff:ff:ff:ff", "mac: ff:ff:ff:ff:ff:ff is not the address of a host"),
            ("mac=x", "mac: `x' is not an Ethernet address such as 00:16:3e:00:00:0a"),
            ("timeout=soon", "timeout: `soon' is not 0 to 3600 seconds"),
        ] {
            assert_eq!(lines(&format!("{WHOLE}{change}\n")), Err(wanted.to_owned()));
        }
        assert!(lines(&"x".repeat(70_000)).is_err());
        assert!(lines("action=metadata").is_ok());
    }
}
