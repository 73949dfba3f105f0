//! The system calls that are left.
//!
//! Any other fails with EPERM rather than ending the process: hosts have file systems on what is
//! served here, and a C library that asks for something new must not take them down. Who has taken
//! the process over gains nothing by being allowed to try.

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Whatever their arguments. Those that come with every request are here: the kernel remembers
/// the verdict for each of them and runs no filter.
const ALLOWED: &[c_long] = &[
    // Frames.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    // The disk.
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_io_uring_enter,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    // Open descriptors: signals, the log, the control socket.
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_lseek,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // Interfaces that come back.
    libc::SYS_bind,
    // Files: which ones is for Landlock to say.
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    // Memory and threads that are there.
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // Time, where it is no vDSO's.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    // Who this is, and its end: in order or by abort(3).
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_tgkill,
    libc::SYS_uname,
];

/// The same under the names only this processor has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ALLOWED_HERE: &[c_long] = &[];

/// io_uring_register(2)'s operations that go on on the one ring there is.
const BUFFERS: u64 = 0;
const NO_BUFFERS: u64 = 1;

/// BLKGETSIZE64, BLKSSZGET and BLKPBSZGET.
const DISKS: [u64; 3] = [0x8008_1272, 0x1268, 0x127b];

type Rules = Vec<(c_long, Vec<SeccompRule>)>;

pub(super) fn seal(more: bool) -> Result<(), String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| "not for this processor".to_owned())?;
    let build = |rules: Rules, otherwise, matched| -> Result<BpfProgram, String> {
        let filter = SeccompFilter::new(rules.into_iter().collect(), otherwise, matched, arch);
        filter.and_then(TryInto::try_into).map_err(|error| error.to_string())
    };
    let rules = rules(more).map_err(|error| error.to_string())?;
    let filter = build(rules, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow)?;
    if more {
        // Its arguments are out of a filter's sight. Where it does not exist, threads are started
        // by clone(2).
        let hidden = vec![(libc::SYS_clone3, Vec::new())];
        let none = build(hidden, SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS)))?;
        apply(&none)?;
    }
    apply(&filter)
}

fn apply(filter: &BpfProgram) -> Result<(), String> {
    apply_filter_all_threads(filter).map_err(|error| match error {
        Error::Seccomp(error) | Error::Prctl(error) => error.to_string(),
        other => other.to_string(),
    })
}

fn rules(more: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    // No new code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.push((call, vec![rule(&[masked(2, libc::PROT_EXEC.unsigned_abs().into(), 0)?])?]));
    }
    let interfaces = [libc::SIOCGIFINDEX, libc::SIOCGIFHWADDR, libc::SIOCGIFMTU, libc::SIOCGIFFLAGS];
    let streams = [libc::FIONBIO, libc::FIOCLEX];
    let numbers = interfaces.into_iter().chain(streams).chain(DISKS);
    rules.push((libc::SYS_ioctl, numbers.map(|number| rule(&[equal(1, number)?])).collect::<Result<_, _>>()?));
    let operations = [BUFFERS, NO_BUFFERS].map(|number| rule(&[equal(1, number)?]));
    rules.push((libc::SYS_io_uring_register, operations.into_iter().collect::<Result<_, _>>()?));
    rules.push((libc::SYS_prctl, vec![rule(&[equal(0, libc::PR_SET_NAME.unsigned_abs().into())?])?]));
    // One to ask interfaces through, and packet sockets.
    let families = if more { &[libc::AF_UNIX, libc::AF_PACKET][..] } else { &[libc::AF_UNIX] };
    let families = families.iter().map(|family| rule(&[equal(0, family.unsigned_abs().into())?]));
    rules.push((libc::SYS_socket, families.collect::<Result<_, _>>()?));
    if more {
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        rules.push((libc::SYS_clone, vec![rule(&[masked(0, thread, thread)?])?]));
        // Refused by the other filter.
        rules.push((libc::SYS_clone3, Vec::new()));
        rules.push((libc::SYS_rseq, Vec::new()));
    }
    Ok(rules)
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.to_vec())
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn errno(number: libc::c_int) -> u32 {
    number.unsigned_abs()
}
