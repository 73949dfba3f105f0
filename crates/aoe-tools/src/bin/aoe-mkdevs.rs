//! Make the aoe driver's device nodes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-mkdevs", || {
        aoe_tools::main("aoe-mkdevs", aoe_tools::mkdevs::DEVS_HELP, aoe_tools::mkdevs::devs)
    })
}
