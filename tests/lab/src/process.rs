//! Finding and ending the lab's own processes.
//!
//! They are known by what they are and by the lab's socket directory in their arguments, so that
//! one started by a `lab` that died before it could write anything down is found as well, and
//! nobody else's is.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process, not to be confused with a later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: Pid,
    started: String,
}

/// The programs a lab leaves in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Qemu,
    Nbdkit,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Nbdkit => "nbdkit",
        }
    }
}

/// The processes of `program` with a socket in `dir`.
///
/// # Errors
/// When /proc cannot be read.
pub fn find(program: Program, dir: &Path) -> Result<Vec<Process>> {
    let needle = format!("{}/", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends while it is looked at is not there.
        let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let cmdline = String::from_utf8_lossy(&cmdline);
        let mut words = cmdline.split('\0');
        let is_program = words.next().is_some_and(|first| first.rsplit('/').next() == Some(program.name()));
        if is_program
            && words.any(|word| word.contains(&needle))
            && let Some(started) = start_time(pid)
        {
            found.push(Process { pid: Pid::from_raw(pid), started });
        }
    }
    Ok(found)
}

/// Sends a signal to each that is still the process that was found.
pub fn signal(processes: &[Process], signal: Signal) {
    for process in processes.iter().filter(|process| process.is_there()) {
        // It may end between the two.
        let _ = kill(process.pid, signal);
    }
}

/// Waits for the end of killed processes.
///
/// # Errors
/// When one is there after ten seconds.
pub fn wait_for_end(processes: &[Process]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for process in processes {
        if !process.wait(deadline) {
            bail!("process {}: does not end", process.pid);
        }
    }
    Ok(())
}

impl Process {
    pub fn is_there(&self) -> bool {
        start_time(self.pid.as_raw()).is_some_and(|started| started == self.started)
    }

    /// Waits for its end; false when it is there at the deadline. It is not our child and nothing
    /// safe tells when it is gone, so this looks.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> bool {
        while self.is_there() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// Field 22 of /proc/PID/stat; none for one that is gone, or a zombie.
fn start_time(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// This process and those that started it.
pub fn ancestors() -> Vec<i32> {
    let mut pid = Pid::this().as_raw();
    let mut line = vec![pid];
    while pid > 1 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        pid = parent.unwrap_or(0);
        line.push(pid);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_there_until_it_ends() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid: Pid::from_raw(pid), started: start_time(pid).unwrap() };
        assert!(process.is_there());
        signal(std::slice::from_ref(&process), Signal::SIGKILL);
        child.wait().unwrap();
        assert!(!process.is_there());
        wait_for_end(&[process]).unwrap();
    }

    #[test]
    fn a_later_process_of_the_same_number_is_not_signalled() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        signal(&[Process { pid, started: "0".into() }], Signal::SIGKILL);
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn a_test_is_its_own_ancestor() {
        assert_eq!(ancestors().first(), Some(&Pid::this().as_raw()));
    }
}
