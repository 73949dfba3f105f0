//! Keep AoE devices open and the driver's estimate of their round trip true.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-warm", || aoe_tools::main("aoe-warm", aoe_tools::warm::HELP, aoe_tools::warm::run))
}
