//! The commands: their names, options and examples, in the order an admin meets them.

mod activate;
mod lvcreate;
mod lvremove;
mod pv;
mod report;
mod vg;

use crate::opts::Opt;
use crate::session::Session;
use crate::stop::{Result, Stop};

/// A command.
#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    pub about: &'static str,
    /// What follows the name.
    pub usage: &'static str,
    pub examples: &'static [(&'static str, &'static str)],
    pub options: &'static [Opt],
    /// Answers the exit code.
    pub run: fn(&Session) -> Result<u8>,
}

pub const COMMANDS: &[Command] = &[
    pv::PVCREATE,
    report::PVS,
    vg::VGCREATE,
    report::VGS,
    lvcreate::LVCREATE,
    report::LVS,
    activate::LVCHANGE,
    activate::VGCHANGE,
    lvremove::LVREMOVE,
    vg::VGREMOVE,
    pv::PVREMOVE,
];

#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Whether a line is one of getopt's, which begin with the command's name.
#[must_use]
pub fn is_getopt_line(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, what)| find(name).is_some() && what.contains("option"))
}

/// A command line that fits no form of the command.
#[must_use]
pub fn no_such_syntax(command: &str) -> Stop {
    Stop::usage(format_args!(
        "No command with matching syntax recognised.  Run '{command} --help' for more information."
    ))
}
