//! Ask one AoE target whether it is there.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use aoe_tools::ping;

fn main() -> ExitCode {
    let name = aoe_tools::called("aoe-ping", ping::ORIGINAL);
    nines_cli::run(name, || aoe_tools::main(name, ping::HELP, |arguments| ping::run(name, arguments)))
}
