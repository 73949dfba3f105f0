//! Export a file or block device over ATA over Ethernet.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-vblade", aoe_vblade::main)
}
