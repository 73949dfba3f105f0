#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match nines_cli::parse() {
        Ok(args) => nines_cli::run("lab", || nines_lab::command::main(args)),
        Err(code) => code,
    }
}
