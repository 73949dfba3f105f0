//! `cluster-history`: drive a cluster with clients that record what they saw, or check such records.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_history::main()
}
