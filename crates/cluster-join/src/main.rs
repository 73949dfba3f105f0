//! `cluster-join`: keep this host a member of the cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_join::main()
}
