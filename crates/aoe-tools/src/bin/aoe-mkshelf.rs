//! Make the device nodes of one shelf.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-mkshelf", || {
        aoe_tools::main("aoe-mkshelf", aoe_tools::mkdevs::SHELF_HELP, aoe_tools::mkdevs::shelf)
    })
}
