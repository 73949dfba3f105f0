//! Print what keeps AoE devices from being used at their best.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-sancheck", || {
        aoe_tools::main("aoe-sancheck", aoe_tools::sancheck::HELP, aoe_tools::sancheck::run)
    })
}
