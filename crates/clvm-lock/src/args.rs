//! The command line: flock(1)'s where it means the same, and commands for what flock cannot do.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use nines_proto::ctl::{Mode, VALUE_DIGITS};

const USAGE: &str = "clvm-lock [OPTIONS] <RESOURCE> -- <COMMAND>...
       clvm-lock [OPTIONS] -c <COMMAND> <RESOURCE>
       clvm-lock run|take|convert|drop|list ...";
const COMMANDS: &str = "Commands:
  run      Run a command while holding a lock, whatever the lock's name
  take     Take a lock that stays when this program has ended
  convert  Change the mode of such a lock
  drop     Give such a lock back
  list     Show who holds and who waits for locks";

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    Run(Run),
    Take(Take),
    Convert(Convert),
    Drop(GiveBack),
    List(List),
}

/// Run a command while holding a cluster lock.
#[derive(Debug, Parser)]
#[command(name = "clvm-lock", version, about = "Run a command while holding a cluster lock")]
#[command(override_usage = USAGE, after_help = COMMANDS)]
pub struct Run {
    #[command(flatten)]
    pub ask: Ask,
    /// NL, CR, CW, PR, PW or EX [default: EX]
    #[arg(short, long, value_name = "MODE", conflicts_with = "shared")]
    mode: Option<Mode>,
    /// As flock(1)'s: PR, any number of readers
    #[arg(short, long)]
    shared: bool,
    /// Say on stderr when the lock was taken and given back
    #[arg(short, long)]
    pub verbose: bool,
    /// Run this with sh -c
    #[arg(short, long, value_name = "COMMAND", conflicts_with = "argv")]
    pub command: Option<String>,
    /// Write this value block, 64 hexadecimal digits, when the command has ended well
    #[arg(long, value_name = "HEX", value_parser = block)]
    pub value: Option<String>,
    /// What to lock: any name of up to 255 bytes without blanks
    pub resource: String,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "command")]
    pub argv: Vec<OsString>,
}

/// How to ask for a lock.
#[derive(Debug, Args)]
pub struct Ask {
    /// Fail at once when the lock is in use
    #[arg(short, long, conflicts_with = "wait")]
    nonblock: bool,
    /// Fail when the lock is still in use after so many seconds
    #[arg(short, long, value_name = "SECS", visible_alias = "timeout", value_parser = seconds)]
    wait: Option<u64>,
    /// Exit status when the lock is in use or the time is up
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 1)]
    pub conflict_exit_code: u8,
    #[command(flatten)]
    pub at: At,
}

/// Whom to ask.
#[derive(Debug, Args)]
pub struct At {
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Whose a lock that stays is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["session", "host"]))]
pub struct Owner {
    /// The lock belongs to the session of this name on this host
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// It belongs to this host itself, as those of vg-tool and xen-domctl do
    #[arg(long)]
    host: bool,
}

#[derive(Debug, Subcommand)]
enum Named {
    /// Run a command while holding a lock, whatever the lock's name
    #[command(override_usage = "clvm-lock run [OPTIONS] <RESOURCE> -- <COMMAND>...")]
    Run(Run),
    /// Take a lock that stays when this program has ended
    Take(Take),
    /// Change the mode of such a lock
    Convert(Convert),
    /// Give such a lock back
    Drop(GiveBack),
    /// Show who holds and who waits for locks
    List(List),
}

#[derive(Debug, Args)]
pub struct Take {
    #[command(flatten)]
    pub owner: Owner,
    /// NL, CR, CW, PR, PW or EX [default: EX]
    #[arg(short, long, value_name = "MODE", conflicts_with = "shared")]
    mode: Option<Mode>,
    /// As flock(1)'s: PR, any number of readers
    #[arg(short, long)]
    shared: bool,
    #[command(flatten)]
    pub ask: Ask,
    /// What others are told this lock is for
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    pub resource: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).args(["mode", "shared"]))]
pub struct Convert {
    #[command(flatten)]
    pub owner: Owner,
    /// NL, CR, CW, PR, PW or EX
    #[arg(short, long, value_name = "MODE")]
    mode: Option<Mode>,
    /// The same as -m PR
    #[arg(short, long)]
    shared: bool,
    #[command(flatten)]
    pub ask: Ask,
    /// The value block to write on the way down from PW or EX
    #[arg(long, value_name = "HEX", value_parser = block)]
    pub value: Option<String>,
    pub resource: String,
}

#[derive(Debug, Args)]
pub struct GiveBack {
    #[command(flatten)]
    pub owner: Owner,
    /// The value block to write, from PW or EX
    #[arg(long, value_name = "HEX", value_parser = block)]
    pub value: Option<String>,
    #[command(flatten)]
    pub at: At,
    pub resource: String,
}

#[derive(Debug, Args)]
pub struct List {
    /// One JSON object a line, one line a holder or waiter
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: At,
    /// Only this one
    pub resource: Option<String>,
}

fn chosen(mode: Option<Mode>, shared: bool) -> Mode {
    mode.unwrap_or(if shared { Mode::Pr } else { Mode::Ex })
}

impl Run {
    pub fn mode(&self) -> Mode {
        chosen(self.mode, self.shared)
    }
}

impl Take {
    pub fn mode(&self) -> Mode {
        chosen(self.mode, self.shared)
    }
}

impl Convert {
    pub fn mode(&self) -> Mode {
        chosen(self.mode, self.shared)
    }
}

impl Ask {
    pub fn wait_ms(&self) -> Option<u64> {
        if self.nonblock { Some(0) } else { self.wait }
    }
}

impl Command {
    /// Reads a command line. One that has always meant a lock by the name of a command still
    /// does: `clvm-lock list -- true`.
    ///
    /// # Errors
    /// It means nothing, or asks for help.
    pub fn parse(words: &[OsString]) -> Result<Self, clap::Error> {
        let named = Named::augment_subcommands(clap::Command::new("clvm-lock"))
            .subcommand_required(true)
            .disable_help_subcommand(true)
            .version(env!("CARGO_PKG_VERSION"));
        let is_named = |word: &OsString| named.get_subcommands().any(|known| word == known.get_name());
        let plain = Run::command().try_get_matches_from(words).and_then(|matches| Run::from_arg_matches(&matches));
        match plain {
            Err(_) if words.get(1).is_some_and(is_named) => {}
            plain => return plain.map(Self::Run),
        }
        let matches = named.try_get_matches_from(words)?;
        Ok(match Named::from_arg_matches(&matches)? {
            Named::Run(run) => Self::Run(run),
            Named::Take(take) => Self::Take(take),
            Named::Convert(convert) => Self::Convert(convert),
            Named::Drop(give_back) => Self::Drop(give_back),
            Named::List(list) => Self::List(list),
        })
    }
}

/// A value block.
fn block(text: &str) -> Result<String, String> {
    let fits = text.len() == VALUE_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| text.to_owned()).ok_or_else(|| format!("a value block has {VALUE_DIGITS} hexadecimal digits"))
}

/// Seconds, with a fraction if need be, as milliseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}' is not a number of seconds");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || text == "." || !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    let milliseconds: u64 = milliseconds.parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|whole| whole.checked_add(milliseconds)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction() {
        for (text, wanted) in [("0", 0), ("2", 2000), ("0.5", 500), (".25", 250), ("1.", 1000), ("1.0009", 1000)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "a", "1.2.3", "99999999999999999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        Command::parse(&words)
    }

    /// The lock of a line that runs something.
    fn runs(line: &str) -> String {
        match parse(line) {
            Ok(Command::Run(run)) => run.resource,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_command_is_needed_one_way_or_the_other() {
        assert!(parse("clvm-lock r").is_err());
        assert_eq!(runs("clvm-lock r -- true"), "r");
        assert_eq!(runs("clvm-lock -c true r"), "r");
        assert!(parse("clvm-lock -n -w 1 r -- true").is_err());
        assert!(parse("clvm-lock --timeout 1 -s r -- true").is_ok());
    }

    #[test]
    fn a_lock_named_like_a_command_is_within_reach() {
        for name in ["run", "take", "convert", "drop", "list"] {
            assert_eq!(runs(&format!("clvm-lock {name} -- true")), name);
            assert_eq!(runs(&format!("clvm-lock -n {name} -- true")), name);
            assert_eq!(runs(&format!("clvm-lock {name} -n -c true")), name);
            assert_eq!(runs(&format!("clvm-lock run {name} -- true")), name);
        }
        assert_eq!(runs("clvm-lock run -n r -- list --json"), "r");
        assert_eq!(runs("clvm-lock run -c true r"), "r");
    }

    #[test]
    fn commands_need_what_they_are_about() {
        assert!(matches!(parse("clvm-lock list"), Ok(Command::List(List { resource: None, .. }))));
        assert!(matches!(parse("clvm-lock list --json V_vg"), Ok(Command::List(List { json: true, .. }))));
        assert!(matches!(parse("clvm-lock take --session s -s r"), Ok(Command::Take(take)) if take.mode() == Mode::Pr));
        assert!(matches!(parse("clvm-lock drop --host r"), Ok(Command::Drop(_))));
        assert!(matches!(parse("clvm-lock convert --session s -m CR r"), Ok(Command::Convert(_))));
        for line in [
            "clvm-lock take r",
            "clvm-lock take --session s --host r",
            "clvm-lock drop --session s",
            "clvm-lock convert --session s r",
            "clvm-lock convert --session s -s -m EX r",
            "clvm-lock drop --session s --value 00 r",
            "clvm-lock run -- ",
        ] {
            let error = parse(line);
            assert!(error.is_err() || line.ends_with("-- "), "{line}: {error:?}");
        }
    }
}
