use std::process::ExitCode;

fn main() -> ExitCode {
    nines_cli::run("vg-tool", vg_tool::main)
}
