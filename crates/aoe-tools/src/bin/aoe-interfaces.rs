//! Restrict the aoe driver to named network interfaces.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-interfaces", || {
        aoe_tools::main("aoe-interfaces", aoe_tools::interfaces::HELP, aoe_tools::interfaces::run)
    })
}
