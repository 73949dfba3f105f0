//! The driver's `aoe_deadsecs`, lowered for a moment and put back whatever happens.
//!
//! Three things put it back: this process, on every way out that it takes itself; a child that
//! waits for this process to end, however it ends; and, should both be killed, the next run, which
//! finds the old value noted in a file. The file's lock is held by process and child, so that no
//! other run takes the lowered value for the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use nines_cli::log;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::{control, paths};

/// The smallest value that is a time: none is for ever.
const LOWERED: i64 = 1;
/// The file with the old value, in the run directory.
const NOTE: &str = "aoe-flush.deadsecs";
/// Waits for the end of its stdin, which is this process's; then, unless the note is empty, puts
/// the old value back. Its stdout is the note, for the lock alone.
const KEEPER: &str = r#"trap '' HUP INT QUIT TERM PIPE
cat >/dev/null
[ ! -s "$3" ] || { printf '%s\n' "$2" >"$1" && : >"$3"; }"#;

/// The note, locked.
#[derive(Debug)]
pub struct Note {
    file: Flock<File>,
    path: PathBuf,
}

/// The parameter while it is low.
#[derive(Debug)]
pub struct Lowered {
    note: Note,
    old: i64,
    keeper: Child,
    is_back: bool,
}

/// The parameter as it is.
///
/// # Errors
/// There is no driver, or it says no number.
fn current() -> anyhow::Result<i64> {
    let path = paths::deadsecs();
    let text = fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    text.trim().parse().with_context(|| format!("{}: `{}' is no number", path.display(), text.trim()))
}

fn set(value: i64) -> anyhow::Result<()> {
    control::write(&paths::deadsecs(), format!("{value}\n").as_bytes())
}

impl Note {
    /// Locks the note, or returns `None` when another run has it.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn lock() -> anyhow::Result<Option<Self>> {
        let path = paths::run().join(NOTE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err((_, nix::errno::Errno::EAGAIN)) => Ok(None),
            Err((_, error)) => anyhow::bail!("{}: flock: {}", path.display(), error.desc()),
        }
    }

    /// Puts back what a run noted that was killed with its keeper.
    ///
    /// # Errors
    /// The note is not what a run writes, or the driver refuses.
    pub fn put_right(&mut self) -> anyhow::Result<()> {
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| (&mut *self.file).take(64).read_to_string(&mut text));
        read.map_err(|error| anyhow::anyhow!("{}: {error}", self.path.display()))?;
        if text.is_empty() {
            return Ok(());
        }
        let old: i64 = text.trim().parse().with_context(|| {
            format!(
                "{}: `{}' is no number: set aoe_deadsecs yourself and remove the file",
                self.path.display(),
                text.trim()
            )
        })?;
        // Somebody may have set another value since.
        if current()? == LOWERED {
            set(old)?;
            log(format_args!("aoe_deadsecs: put back to {old}, as it was before a run that was killed"));
        }
        self.write("")
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let written =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(text.as_bytes()));
        written.map_err(|error| anyhow::anyhow!("{}: {error}", self.path.display()))
    }

    /// Notes the parameter and lowers it.
    ///
    /// # Errors
    /// It cannot be noted, kept, or lowered; then it is as it was.
    pub fn lower(mut self) -> anyhow::Result<Lowered> {
        let old = current()?;
        self.write(&format!("{old}\n"))?;
        let keeper = match self.keeper(old) {
            Ok(keeper) => keeper,
            Err(error) => {
                self.write("")?;
                return Err(error);
            }
        };
        let lowered = Lowered { note: self, old, keeper, is_back: false };
        // Whatever fails from here on, dropping it puts the value back.
        set(LOWERED)?;
        Ok(lowered)
    }

    fn keeper(&self, old: i64) -> anyhow::Result<Child> {
        let lock = self.file.try_clone().map_err(|error| anyhow::anyhow!("{}: {error}", self.path.display()))?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(paths::deadsecs()).arg(old.to_string()).arg(&self.path);
        // Not of our process group, which may be killed as a whole.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(lock);
        keeper.spawn().map_err(|error| anyhow::anyhow!("sh: {error}"))
    }
}

impl Lowered {
    /// Puts the value back.
    ///
    /// # Errors
    /// The driver refuses: the note stays for the next run.
    pub fn put_back(mut self) -> anyhow::Result<()> {
        self.try_put_back()
    }

    fn try_put_back(&mut self) -> anyhow::Result<()> {
        set(self.old)?;
        self.note.write("")?;
        self.is_back = true;
        // Without its stdin it ends, and with it the last hold on the lock.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        Ok(())
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        if !self.is_back
            && let Err(error) = self.try_put_back()
        {
            log(format_args!("aoe_deadsecs: not put back to {}: {error:#}", self.old));
        }
    }
}

/// Locks the note, waiting for another run to end until the time has come; `interrupted` is asked
/// meanwhile, and may wait a little.
///
/// # Errors
/// The other run does not end, or what it left cannot be put right.
pub fn lock_by(until: Instant, mut interrupted: impl FnMut() -> bool) -> anyhow::Result<Option<Note>> {
    loop {
        if let Some(mut note) = Note::lock()? {
            note.put_right()?;
            return Ok(Some(note));
        }
        anyhow::ensure!(Instant::now() < until, "{}: another run has it", paths::run().join(NOTE).display());
        if interrupted() {
            return Ok(None);
        }
    }
}

/// Puts right what a killed run left, unless a run is under way.
pub fn put_right() {
    // Without a note there is nothing to do, and no driver need be there.
    if !fs::metadata(paths::run().join(NOTE)).is_ok_and(|note| note.len() > 0) {
        return;
    }
    let done = Note::lock().and_then(|note| note.map_or(Ok(()), |mut note| note.put_right()));
    if let Err(error) = done {
        log(format_args!("{error:#}"));
    }
}
