//! Have the aoe driver ask a device for its size again.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-revalidate", || {
        aoe_tools::main("aoe-revalidate", aoe_tools::revalidate::HELP, aoe_tools::revalidate::run)
    })
}
