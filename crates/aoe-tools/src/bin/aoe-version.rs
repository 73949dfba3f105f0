//! Print the versions of the tools and of the aoe driver.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("aoe-version", || aoe_tools::main("aoe-version", aoe_tools::version::HELP, aoe_tools::version::run))
}
