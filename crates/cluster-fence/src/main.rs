//! `cluster-fence`: make sure that a node is off.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_fence::main()
}
