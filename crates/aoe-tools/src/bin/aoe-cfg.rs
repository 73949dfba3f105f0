//! Read, test and set the config strings of AoE targets.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use aoe_tools::cfg;

fn main() -> ExitCode {
    let name = aoe_tools::called("aoe-cfg", cfg::ORIGINAL);
    nines_cli::run(name, || aoe_tools::main(name, cfg::HELP, |arguments| cfg::run(name, arguments)))
}
