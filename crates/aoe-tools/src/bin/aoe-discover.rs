//! Tell the aoe driver to discover AoE devices.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-discover", || {
        aoe_tools::main("aoe-discover", aoe_tools::discover::HELP, aoe_tools::discover::run)
    })
}
