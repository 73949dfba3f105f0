//! `clvm-lock`: run a command while holding a cluster lock.

use std::process::ExitCode;

fn main() -> ExitCode {
    clvm_lock::main()
}
