//! `cluster-conf`: check, change and show the cluster's configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_tools::conf::main()
}
