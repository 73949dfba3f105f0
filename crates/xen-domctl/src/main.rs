use std::process::ExitCode;

fn main() -> ExitCode {
    match nines_cli::parse::<xen_domctl::Args>() {
        Ok(args) => nines_cli::run("xen-domctl", || xen_domctl::main(args)),
        Err(code) => code,
    }
}
