//! This process: the signals it waits for, what becomes of its children, and that it runs when it
//! has to.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocks `signals` in this thread, and so in every thread it starts later, and returns a
/// descriptor that is readable when one of them arrives. Call it before any thread exists.
///
/// # Errors
/// The kernel refuses the mask or the descriptor.
pub fn signal_fd(signals: &[Signal]) -> io::Result<SignalFd> {
    let mask: SigSet = signals.iter().copied().collect();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Starts the child with no signal blocked, whatever this process waits for through
/// [`signal_fd`].
pub fn unblock_signals(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only pthread_sigmask runs, which is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)) }
}

/// Has the kernel send the child `signal` when the thread that started it dies, however it dies.
pub fn die_with_parent(command: &mut Command, signal: Signal) -> &mut Command {
    // SAFETY: between fork and exec only prctl(2) runs, which is async-signal-safe.
    unsafe { command.pre_exec(move || set_parent_death_signal(signal)) }
}

fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one integer argument and touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the child with the ordinary time-sharing scheduler, whatever this process has for
/// itself: a real-time daemon's helper that spins would starve the host.
pub fn schedule_ordinarily(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only sched_setscheduler(2) runs, a plain system call.
    unsafe { command.pre_exec(set_ordinary_scheduler) }
}

fn set_ordinary_scheduler() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the sched_param it is given, a local, and keeps no reference.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor of the process `pid`, readable when it has ended. It means that process and no
/// other for as long as it is open, even when the number is used again.
///
/// # Errors
/// `ESRCH`: there is no such process. `ENOSYS`: Linux before 5.3.
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open(2) takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: pidfd_open(2) has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kills the process that [`open_process`] opened.
///
/// # Errors
/// `ESRCH`: it has ended. `EPERM`: it is not ours to kill.
pub fn kill_process(process: BorrowedFd<'_>) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) with a null siginfo reads no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, none, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the memory of this process from being swapped out or dropped: all there is now, and what
/// comes later from its first use on, so that stacks cost what they use. It is refused where a
/// limit on locked memory would make later allocations fail.
///
/// # Errors
/// The limit on locked memory cannot be lifted and holds for this process, or the kernel refuses.
pub fn lock_memory() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_err() && soft != RLIM_INFINITY {
        // With a limit of nothing only CAP_IPC_LOCK gets past this, and for that there is none.
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, hard)?;
        let may = mlockall(MlockAllFlags::MCL_CURRENT);
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
        may?;
    }
    // The first call brings in what is mapped, the second one is for what will be.
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?)
}

/// Has this thread run ahead of all usual ones, in turn with others like it. The threads and
/// programs it starts run as usual, unless they call this as well.
///
/// # Errors
/// The process may not (`CAP_SYS_NICE`, `RLIMIT_RTPRIO`).
pub fn run_realtime() -> io::Result<()> {
    // SAFETY: sched_get_priority_min(2) takes and returns integers.
    let lowest = unsafe { libc::sched_get_priority_min(libc::SCHED_RR) };
    let parameter = libc::sched_param { sched_priority: lowest };
    // SAFETY: 0 is the calling thread, and the kernel only reads the parameter, which lives here.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameter) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_process_is_killed_through_its_descriptor_and_no_other_afterwards() {
        let mut command = Command::new("sleep");
        let mut child = schedule_ordinarily(command.arg("60")).spawn().unwrap();
        let process = open_process(child.id()).unwrap();
        kill_process(process.as_fd()).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(kill_process(process.as_fd()).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert!(open_process(u32::MAX).is_err());
    }

    #[test]
    fn a_child_gets_the_signals_its_parent_waits_for() {
        let _fd = signal_fd(&[Signal::SIGUSR1]).unwrap();
        let mut command = Command::new("sh");
        unblock_signals(command.args(["-c", "kill -USR1 $$; echo survived"]));
        let output = command.output().unwrap();
        assert_eq!((output.status.success(), output.stdout.as_slice()), (false, &b""[..]));
    }

    /// Scheduling policy of this thread: field 41 of its stat file, 39 behind the command's name.
    fn policy() -> u32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_realtime_thread_starts_usual_threads_and_programs() {
        std::thread::spawn(|| {
            if let Err(error) = run_realtime() {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                return assert_eq!(policy(), 0);
            }
            assert_eq!(policy(), libc::SCHED_RR.unsigned_abs());
            assert_eq!(std::thread::spawn(policy).join().unwrap(), 0);
            let output = Command::new("sh").args(["-c", "cut -d' ' -f41 /proc/$$/stat"]).output().unwrap();
            assert_eq!(output.stdout, b"0\n");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn locked_memory_is_all_there_is_and_will_be_or_none() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().to_owned();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        match lock_memory() {
            Ok(()) => {
                let before = locked();
                let block = vec![1_u8; 8 << 20];
                // Other tests in this process let go of some of theirs meanwhile.
                assert!(before > 0 && locked() >= before + 4 * 1024, "{before} kB, then {}", locked());
                drop(block);
                nix::sys::mman::munlockall().unwrap();
            }
            Err(_) => assert_eq!(locked(), 0),
        }
    }
}
