//! Print the status of the AoE devices.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-stat", || aoe_tools::main("aoe-stat", aoe_tools::stat::HELP, aoe_tools::stat::run))
}
