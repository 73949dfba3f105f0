#![forbid(unsafe_code)]

use std::process::ExitCode;

use nines_cli::Exit;

fn main() -> ExitCode {
    nines_cli::run("fence_lab", || match nines_lab::fence::main() {
        // Agents fail with 1.
        Err(error) => {
            nines_cli::log(format_args!("{error:#}"));
            Ok(Exit::Code(1))
        }
        done => done,
    })
}
