//! Records: one file a client, one line when it asks and one when it is answered, with the time on
//! the machine's monotonic clock. A question without an answer may or may not have had its effect,
//! then or later.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nines_proto::ctl::{ErrorKind, Mode};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Longest line of a record.
const MAX_LINE: u64 = 64 << 10;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Asked {
    Lock {
        resource: String,
        mode: Mode,
        /// Whether it would wait for others.
        wait: bool,
    },
    Convert {
        resource: String,
        mode: Mode,
        wait: bool,
    },
    Unlock {
        resource: String,
    },
    /// The client acts on nothing any more and its connection closes. There is no answer.
    Close,
    /// The values that all clients write are different from each other.
    Put {
        key: String,
        value: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
    },
    Delete {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_revision: Option<u64>,
    },
    Get {
        key: String,
    },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    Granted {
        generation: u64,
    },
    Done,
    Wrote {
        revision: u64,
    },
    /// The revision of the key space, and value and revision of the key.
    Seen {
        revision: u64,
        entry: Option<(String, u64)>,
    },
    Refused(ErrorKind),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Ask { at: u64, session: u64, what: Asked },
    End { at: u64, what: Answered },
}

/// One operation of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Place in [`History::clients`].
    pub client: usize,
    /// Which of the client's connections; what one holds goes when it closes.
    pub session: u64,
    pub called: u64,
    pub asked: Asked,
    /// When it was answered, and what.
    pub answered: Option<(u64, Answered)>,
}

/// Everything all clients recorded; each one's operations in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub clients: Vec<String>,
    pub operations: Vec<Operation>,
}

/// Nanoseconds on the clock all processes of this machine share.
///
/// # Errors
/// The kernel has no such clock.
pub fn monotonic() -> io::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let parts = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_nsec()));
    match parts {
        (Ok(seconds), Ok(nanoseconds)) => Ok(seconds * 1_000_000_000 + nanoseconds),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Writes one client's record; each line is one write, so that a killed client leaves whole ones.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    session: u64,
}

impl Recorder {
    /// # Errors
    /// The file exists or cannot be made.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| path.display().to_string())?;
        Ok(Self { file, session: 0 })
    }

    /// A new connection.
    pub fn next_session(&mut self) {
        self.session += 1;
    }

    /// # Errors
    /// The file cannot be written.
    pub fn ask(&mut self, what: Asked) -> io::Result<()> {
        let session = self.session;
        self.line(&Line::Ask { at: monotonic()?, session, what })
    }

    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self, what: Answered) -> io::Result<()> {
        self.line(&Line::End { at: monotonic()?, what })
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}

/// Reads records; of a directory, all that end in `.history`.
///
/// # Errors
/// A file cannot be read or is no record: which, and in which line.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<History> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
                let file = entry.with_context(|| path.display().to_string())?.path();
                if file.extension().is_some_and(|extension| extension == "history") {
                    files.push(file);
                }
            }
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    let mut history = History::default();
    for file in files {
        let client = history.clients.len();
        let name = file.file_stem().map_or_else(|| "-".into(), |stem| stem.to_string_lossy().into_owned());
        history.clients.push(name);
        let reader = BufReader::new(File::open(&file).with_context(|| file.display().to_string())?);
        let operations = parse(client, reader).with_context(|| file.display().to_string())?;
        history.operations.extend(operations);
    }
    Ok(history)
}

/// Reads one client's record.
///
/// # Errors
/// A line that is no line of a record, or cannot follow the ones before it.
pub fn parse(client: usize, mut reader: impl BufRead) -> anyhow::Result<Vec<Operation>> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut held: BTreeMap<String, Mode> = BTreeMap::new();
    let (mut last, mut current, mut over) = (0, 0, false);
    for number in 1.. {
        let mut bytes = Vec::new();
        (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        if bytes.last() != Some(&b'\n') {
            ensure!((bytes.len() as u64) < MAX_LINE, "line {number}: longer than {MAX_LINE} bytes");
            // The client was killed while it wrote its last line.
            break;
        }
        let line: Line = serde_json::from_slice(&bytes).with_context(|| format!("line {number}"))?;
        let at = match &line {
            Line::Ask { at, .. } | Line::End { at, .. } => *at,
        };
        ensure!(at >= last, "line {number}: the time {at} is before the line before it");
        last = at;
        match line {
            Line::Ask { session, what, .. } => {
                if session != current {
                    ensure!(session > current, "line {number}: session {session} after {current}");
                    current = session;
                    held.clear();
                } else {
                    ensure!(!over, "line {number}: session {session} has closed");
                    let open = operations.last().is_some_and(|operation| operation.answered.is_none());
                    ensure!(!open || what == Asked::Close, "line {number}: the call before it is not answered");
                }
                over = what == Asked::Close;
                operations.push(Operation { client, session, called: at, asked: what, answered: None });
            }
            Line::End { what, .. } => {
                let Some(operation) = operations.last_mut().filter(|operation| operation.answered.is_none()) else {
                    bail!("line {number}: an answer to nothing");
                };
                fits(&operation.asked, &what, &mut held).with_context(|| format!("line {number}"))?;
                operation.answered = Some((at, what));
            }
        }
    }
    Ok(operations)
}

/// Whether the answer is one to this question, and the question one this client may ask.
fn fits(asked: &Asked, answered: &Answered, held: &mut BTreeMap<String, Mode>) -> anyhow::Result<()> {
    match (asked, answered) {
        (Asked::Lock { resource, mode, .. }, Answered::Granted { .. }) => {
            let before = held.insert(resource.clone(), *mode);
            ensure!(before.is_none(), "{resource}: locked by a session that has it");
        }
        (Asked::Convert { resource, mode, .. }, Answered::Granted { .. }) => {
            let before = held.insert(resource.clone(), *mode);
            ensure!(before.is_some(), "{resource}: converted by a session that does not have it");
            ensure!(before != Some(*mode), "{resource}: converted to the mode it has");
        }
        (Asked::Unlock { resource }, Answered::Done) => {
            ensure!(held.remove(resource).is_some(), "{resource}: given back by a session that does not have it");
        }
        (Asked::Put { .. } | Asked::Delete { .. }, Answered::Wrote { .. })
        | (Asked::Get { .. }, Answered::Seen { .. }) => {}
        (Asked::Close, _) => bail!("a close has no answer"),
        (_, Answered::Refused(_)) => {}
        _ => bail!("{answered:?} is no answer to {asked:?}"),
    }
    Ok(())
}
