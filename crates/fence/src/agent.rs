//! Agents by name, and one call of one of them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use crate::child::Running;

/// Where agents are looked for unless `$FENCE_PATH` names other directories.
const DIRECTORIES: &str = "/usr/sbin:/usr/bin";

/// The agents of this host.
#[derive(Debug, Clone)]
pub struct Agents {
    directories: Vec<PathBuf>,
}

/// What an agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output up to [`crate::child::MAX_OUTPUT`].
    pub output: Vec<u8>,
    /// There was more of it.
    pub cut: bool,
    /// The last line it wrote, on standard error if there is one, made printable.
    pub last: String,
    /// How it ended, for people: `fence_x exited 1: Unable to connect`.
    pub ending: String,
}

/// Why nothing is known of what an agent did.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{agent} is not in {directories}: is the package with it installed?")]
    Missing { agent: String, directories: String },
    #[error("{agent}: cannot be started: {source}")]
    Start { agent: String, source: io::Error },
    #[error("{agent}: option `{name}' has characters that its input cannot hold")]
    Option { agent: String, name: String },
    #[error("{agent} has not ended within {} s and was killed{}", deadline.as_secs_f32(), after(last))]
    Late { agent: String, deadline: Duration, last: String },
    #[error("{agent}: {source}")]
    Watch { agent: String, source: io::Error },
}

fn after(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!("; its last words: {last}") }
}

impl Agents {
    /// The agents in the directories of `$FENCE_PATH`, or in /usr/sbin and /usr/bin.
    #[must_use]
    pub fn from_env() -> Self {
        let path = env::var_os("FENCE_PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DIRECTORIES.into());
        // A relative directory would be whatever the daemon's happens to be.
        Self::within(env::split_paths(&path).filter(|directory| directory.is_absolute()))
    }

    /// The agents in these directories.
    #[must_use]
    pub fn within(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { directories: directories.into_iter().collect() }
    }

    /// The file of an agent, the first in the order of the directories.
    ///
    /// # Errors
    /// [`CallError::Missing`].
    pub fn find(&self, agent: &str) -> Result<PathBuf, CallError> {
        let plain = !agent.is_empty() && !agent.contains('/') && ![".", ".."].contains(&agent);
        let runs = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let mut paths = self.directories.iter().map(|directory| directory.join(agent));
        paths.find(|path| plain && runs(path)).ok_or_else(|| {
            let shown: Vec<_> = self.directories.iter().map(|directory| directory.display().to_string()).collect();
            CallError::Missing { agent: agent.into(), directories: shown.join(", ") }
        })
    }

    /// Calls an agent with these `name=value` lines on its standard input and waits for its end,
    /// up to `deadline`. Whatever it left running in its process group is killed in any case.
    ///
    /// # Errors
    /// It could not be started, or had to be killed.
    pub fn call(
        &self,
        agent: &str,
        arguments: &[&str],
        options: &[(String, String)],
        deadline: Duration,
    ) -> Result<Said, CallError> {
        let path = self.find(agent)?;
        let mut input = String::new();
        for (name, value) in options {
            if name.is_empty() || name.contains('=') || format!("{name}{value}").chars().any(char::is_control) {
                return Err(CallError::Option { agent: agent.into(), name: name.escape_default().to_string() });
            }
            input.push_str(&format!("{name}={value}\n"));
        }
        let until = Instant::now() + deadline;
        let start = |source| CallError::Start { agent: agent.into(), source };
        let mut running = Running::start(&path, arguments, input).map_err(start)?;
        let ended = running.hear(until).map_err(|source| CallError::Watch { agent: agent.into(), source })?;
        let last = running.last_line();
        match ended {
            None => Err(CallError::Late { agent: agent.into(), deadline, last }),
            Some(status) => {
                let (code, ending) = (status.code(), ending(agent, status, &last));
                let (output, cut) = running.into_output();
                Ok(Said { code, output, cut, last, ending })
            }
        }
    }
}

fn ending(agent: &str, status: ExitStatus, last: &str) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    };
    if last.is_empty() { format!("{agent} {how}") } else { format!("{agent} {how}: {last}") }
}
