//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Make sure that a node is off, or look at how nodes are fenced.
#[derive(Debug, Parser)]
#[command(
    name = "cluster-fence",
    version,
    about = "Make sure that a node is off",
    disable_help_subcommand = true,
    override_usage = "cluster-fence [--why TEXT] [--timeout SECS] NODE\n       \
                      cluster-fence --ack NODE [--operation N] [--incarnation N] [--yes] [--i-am-the-newest]\n       \
                      cluster-fence list | history | test NODE [--really] [--yes] | unfence NODE"
)]
pub struct Args {
    /// The node to fence, by its name in cluster.conf; `--' before one called as a command
    #[arg(value_name = "NODE")]
    pub operand: Option<String>,
    /// The same as NODE
    #[arg(long, value_name = "NODE", conflicts_with = "operand")]
    pub node: Option<String>,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Stop waiting after so many seconds; the cluster goes on trying
    #[arg(long, value_name = "SECS", conflicts_with = "ack")]
    pub timeout: Option<u64>,
    /// Say that this node, for whose fencing the cluster waits, is certainly off
    #[arg(long, value_name = "NODE", conflicts_with_all = ["operand", "node", "why"])]
    pub ack: Option<String>,
    /// Acknowledge this fencing and no other
    #[arg(long, value_name = "N", requires = "ack")]
    pub operation: Option<u64>,
    /// Acknowledge that of this run of the node and no other
    #[arg(long, value_name = "N", requires = "ack")]
    pub incarnation: Option<u64>,
    /// Do not ask
    #[arg(long, global = true)]
    pub yes: bool,
    /// This host starts alone, and no other has seen anything newer than it
    #[arg(long, requires = "ack")]
    pub i_am_the_newest: bool,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// cluster-join's socket [default: $CLUSTER_SOCKET or /run/cluster/cluster-join.sock]
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else there is to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// What is being fenced, and what each node can be fenced with
    List,
    /// What was fenced, oldest first
    History,
    /// Ask a node's fence devices for its state
    Test {
        /// Its name in cluster.conf
        node: String,
        /// Have the first method switch it off and on
        #[arg(long)]
        really: bool,
    },
    /// Give a node its power or access back, and let it join where it was held
    Unfence {
        /// Its name in cluster.conf
        node: String,
    },
}

/// What the command line comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    Fence { node: String, why: String },
    Acknowledge { node: String },
    Other(Command),
}

impl Args {
    /// # Errors
    /// It asks for nothing, or for two things.
    pub fn task(&self) -> anyhow::Result<Task> {
        let node = self.operand.as_ref().or(self.node.as_ref());
        let mut tasks = Vec::new();
        if let Some(node) = node {
            tasks.push(Task::Fence { node: node.clone(), why: self.why.clone().unwrap_or_default() });
        }
        if let Some(node) = &self.ack {
            tasks.push(Task::Acknowledge { node: node.clone() });
        }
        tasks.extend(self.command.clone().map(Task::Other));
        // clap lets a requirement go where what is required would conflict with something else.
        let names_a_fencing = self.operation.is_some() || self.incarnation.is_some() || self.i_am_the_newest;
        if names_a_fencing && self.ack.is_none() {
            anyhow::bail!("--operation, --incarnation and --i-am-the-newest go with --ack");
        }
        let only = tasks.pop().filter(|_| tasks.is_empty());
        only.ok_or_else(|| anyhow::anyhow!("name one node, or one of list, history, test and unfence: see --help"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &[&str]) -> Option<Task> {
        let words = std::iter::once("cluster-fence").chain(words.iter().copied());
        Args::try_parse_from(words).ok()?.task().ok()
    }

    #[test]
    fn a_node_called_as_a_command_can_be_named() {
        let fence = |node: &str| Some(Task::Fence { node: node.into(), why: String::new() });
        assert_eq!(task(&["xen1"]), fence("xen1"));
        assert_eq!(task(&["list"]), Some(Task::Other(Command::List)));
        assert_eq!(task(&["--socket", "x", "--json", "list"]), Some(Task::Other(Command::List)));
        assert_eq!(task(&["--", "list"]), fence("list"));
        assert_eq!(task(&["--node", "list"]), fence("list"));
        assert_eq!(task(&["--ack", "list"]), Some(Task::Acknowledge { node: "list".into() }));
        let test = Command::Test { node: "list".into(), really: true };
        assert_eq!(task(&["test", "--really", "list"]), Some(Task::Other(test)));
    }

    #[test]
    fn two_things_at_once_or_none_are_refused() {
        for words in [
            &[][..],
            &["xen1", "list"],
            &["xen1", "xen2"],
            &["--ack", "xen1", "xen2"],
            &["--node", "xen1", "history"],
            &["--ack", "xen1", "list"],
            &["--operation", "1", "xen1"],
            &["--i-am-the-newest", "xen1"],
        ] {
            assert_eq!(task(words), None, "{words:?}");
        }
    }
}
