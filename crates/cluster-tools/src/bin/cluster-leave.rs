//! `cluster-leave`: take this host out of the cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_tools::leave::main()
}
