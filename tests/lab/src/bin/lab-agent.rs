//! Runs commands in a lab host for the `lab` command, over virtio-serial ports.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("lab-agent", nines_lab::agent::main)
}
