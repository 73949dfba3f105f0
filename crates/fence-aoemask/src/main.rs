//! `fence_aoemask`: take a host's access to AoE targets away.

use std::process::ExitCode;

fn main() -> ExitCode {
    fence_aoemask::main()
}
