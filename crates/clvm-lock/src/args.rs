//! The command line, flock(1)'s where it means the same.

use std::path::PathBuf;

use clap::Parser;
use nines_proto::ctl::Mode;

/// Run a command while holding a cluster lock.
#[derive(Debug, Parser)]
#[command(name = "clvm-lock", version, about = "Run a command while holding a cluster lock")]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub struct Args {
    /// NL, CR, CW, PR, PW or EX [default: EX]
    #[arg(short, long, value_name = "MODE", conflicts_with = "shared")]
    pub mode: Option<Mode>,
    /// As flock(1)'s: PR, any number of readers
    #[arg(short, long)]
    pub shared: bool,
    /// Fail at once when the lock is in use
    #[arg(short, long, conflicts_with = "wait")]
    pub nonblock: bool,
    /// Fail when the lock is still in use after so many seconds
    #[arg(short, long, value_name = "SECS", alias = "timeout", value_parser = seconds)]
    pub wait: Option<u64>,
    /// Exit status when the lock is in use or the time is up
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 1)]
    pub conflict_exit_code: u8,
    /// Say on stderr when the lock was taken and given back
    #[arg(short, long)]
    pub verbose: bool,
    /// Run this with sh -c
    #[arg(short, long, value_name = "COMMAND", conflicts_with = "argv")]
    pub command: Option<String>,
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to lock: any name of up to 255 bytes without blanks
    pub resource: String,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "command")]
    pub argv: Vec<std::ffi::OsString>,
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

    #[test]
    fn a_command_is_needed_one_way_or_the_other() {
        assert!(Args::try_parse_from(["clvm-lock", "r"]).is_err());
        assert!(Args::try_parse_from(["clvm-lock", "r", "--", "true"]).is_ok());
        assert!(Args::try_parse_from(["clvm-lock", "-c", "true", "r"]).is_ok());
        assert!(Args::try_parse_from(["clvm-lock", "-n", "-w", "1", "r", "--", "true"]).is_err());
    }
}
