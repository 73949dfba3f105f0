//! `cluster-stat`: look at the cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_tools::stat::main()
}
