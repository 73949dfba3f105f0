//! Have the aoe driver forget devices.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-flush", || aoe_tools::main("aoe-flush", aoe_tools::flush::HELP, aoe_tools::flush::run))
}
