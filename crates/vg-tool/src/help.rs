//! The help: what there is, and for each command its options with what they do and examples.

use std::io::Write;

use crate::cmd::{COMMANDS, Command};
use crate::opts::{COMMON, Opt};

fn print(text: &str) {
    // A reader that went away has read enough.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

pub fn version() {
    print(&format!("vg-tool {}, metadata as LVM2 2.03 writes it\n", env!("CARGO_PKG_VERSION")));
}

pub fn overview() {
    let mut text = String::from(
        "Usage: vg-tool COMMAND [OPTION...] [ARGUMENT...]\n\n\
         Volume groups and logical volumes in LVM2's format, cluster-locked.\n\nCommands:\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:10} {}\n", command.name, command.about));
    }
    text.push_str(
        "\nFrom a disk to a volume:\n\
         \x20 vg-tool pvcreate /dev/etherd/e0.1\n\
         \x20 vg-tool vgcreate pool /dev/etherd/e0.1 /dev/etherd/e1.1\n\
         \x20 vg-tool lvcreate -L 10g -n web-00 pool /dev/etherd/e0.1\n\
         \x20 vg-tool lvs pool\n\n\
         `vg-tool help COMMAND' explains one command. Called by a command's name (a symbolic link\n\
         lvs, or lvm), the program is that command.\n",
    );
    print(&text);
}

pub fn command(command: &Command) {
    let mut text =
        format!("{} - {}\n\nUsage: vg-tool {} {}\n", command.name, command.about, command.name, command.usage);
    if !command.examples.is_empty() {
        text.push_str("\nExamples:\n");
        for (line, what) in command.examples {
            text.push_str(&format!("  vg-tool {line}\n      {what}\n"));
        }
    }
    text.push_str("\nOptions:\n");
    for opt in command.options.iter().chain(COMMON) {
        text.push_str(&line(opt));
    }
    print(&text);
}

fn line(opt: &Opt) -> String {
    let short = opt.short.map_or_else(|| "    ".into(), |short| format!("-{short}, "));
    let value = opt.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("  {:28} {}\n", format!("{short}--{}{value}", opt.long), opt.help)
}
