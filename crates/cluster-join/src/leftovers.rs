//! What a host has that only a member may have: lockspaces of the kernel's DLM, and whatever the
//! programs in a directory find, domains or active volumes. A host of a new boot that has any is
//! not let in, since nobody's locks protect it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::net::Waker;
use crate::peer::{MAX_LEFTOVER, MAX_LEFTOVERS};

/// Where the kernel shows its lockspaces.
const DLM: &str = "/sys/kernel/dlm";
/// How long one program may look.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a starting daemon waits for all of them.
const SOON: Duration = Duration::from_secs(1);
/// How often a host that was found unclean looks again.
const AGAIN: Duration = Duration::from_secs(5);
/// Most of a program's output that is read.
const MAX_OUTPUT: u64 = 16 << 10;

/// What is left over here now, as the programs in `directory` see it.
#[must_use]
pub fn collect(directory: &Path) -> Vec<String> {
    let mut found: Vec<String> =
        names(Path::new(DLM)).into_iter().map(|name| format!("the DLM lockspace {name}")).collect();
    for name in names(directory) {
        let path = directory.join(&name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            found.extend(ask(&path, &name));
        }
    }
    found.truncate(MAX_LEFTOVERS);
    found.into_iter().map(|line| cut(&line)).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn cut(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fits = |length: &usize| line.is_char_boundary(*length);
    line[..(0..=MAX_LEFTOVER.min(line.len())).rev().find(fits).unwrap_or_default()].to_owned()
}

/// Exit status 0: clean. 1: what its lines name. Anything else is not known to be clean.
fn ask(path: &Path, name: &str) -> Vec<String> {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = match nines_sys::proc::unblock_signals(&mut command).spawn() {
        Ok(child) => child,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let stdout = child.stdout.take();
    let (sender, lines) = channel();
    let reader = thread::Builder::new().name("leftovers".into()).spawn(move || {
        let mut text = Vec::new();
        if let Some(stdout) = stdout {
            // What cannot be read is as good as not said.
            let _ = stdout.take(MAX_OUTPUT).read_to_end(&mut text);
        }
        let _ = sender.send(text);
    });
    let until = Instant::now() + DEADLINE;
    let text = if reader.is_ok() { lines.recv_timeout(until - Instant::now()).ok() } else { None };
    if text.is_none()
        && let Ok(group) = group
    {
        // It may have ended in the meantime.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let Ok(status) = child.wait() else { return vec![format!("{name}: its end is not known")] };
    let text = text.unwrap_or_default();
    let lines = String::from_utf8_lossy(&text);
    let lines: Vec<String> = lines.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    match status.code() {
        Some(0) => Vec::new(),
        Some(1) if !lines.is_empty() => lines,
        _ => vec![format!("{name}: {status}, which says nothing about what is left over")],
    }
}

/// What is left over, as far as that is known soon, and each change until nothing is. A daemon
/// whose host's watchdog runs has no time to wait for slow programs, and a host that the cluster
/// knows already needs no answer of them.
#[must_use]
pub fn watch(directory: PathBuf, waker: Arc<Waker>) -> (Vec<String>, Receiver<Vec<String>>) {
    let (sender, changes) = channel();
    let look = move || {
        let mut last = None;
        loop {
            let found = collect(&directory);
            let clean = found.is_empty();
            if last.as_ref() != Some(&found) {
                last = Some(found.clone());
                if sender.send(found).is_err() {
                    return;
                }
                waker.wake();
            }
            if clean {
                return;
            }
            thread::sleep(AGAIN);
        }
    };
    let first = match thread::Builder::new().name("leftovers".into()).spawn(look) {
        Ok(_) => {
            changes.recv_timeout(SOON).unwrap_or_else(|_| vec!["programs that have not said yet what is left".into()])
        }
        Err(error) => vec![format!("no thread to look for what is left over: {error}")],
    };
    (first, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_what_is_left_and_silence_is_not_clean() {
        let directory = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(collect(directory.path()), Vec::<String>::new());
        program("clean", "exit 0", 0o755);
        program("domains", "echo 'domain web1'; echo domain web2; exit 1", 0o755);
        program("not-a-program", "echo x; exit 1", 0o644);
        program("odd", "exit 3", 0o755);
        let found = collect(directory.path());
        assert_eq!(found[..2], ["domain web1", "domain web2"]);
        assert_eq!(found[2], "odd: exit status: 3, which says nothing about what is left over");
        assert_eq!(found.len(), 3);
        program("many", "seq 100; exit 1", 0o755);
        assert_eq!(collect(directory.path()).len(), MAX_LEFTOVERS);
        assert!(collect(Path::new("/nonexistent")).is_empty());
    }
}
