//! Does one fence job as the daemon would: `fence-run CLUSTER.CONF NODE fence|test|really|unfence|check`.
//!
//! Prints `done METHOD: WHAT` or `failed: WHAT`; exit status 0 or 1. For tests, and for trying
//! a configuration without a cluster.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use cluster_conf::Conf;
use fence::{Action, End, Job};

fn main() -> ExitCode {
    match run() {
        Ok(End::Done { method, what }) => {
            println!("done {method}: {what}");
            ExitCode::SUCCESS
        }
        Ok(End::Failed { what }) => {
            println!("failed: {what}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fence-run: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<End, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, node, what] = arguments.as_slice() else {
        return Err("usage: fence-run CLUSTER.CONF NODE fence|test|really|unfence|check".into());
    };
    let conf = Conf::parse(file, &std::fs::read_to_string(file)?)?;
    let node = conf.nodes.iter().find(|known| known.name == *node).ok_or("no such node")?;
    let (name, methods) = (node.name.clone(), node.methods.clone());
    if what == "check" {
        return Ok(check(&methods));
    }
    let action = match what.as_str() {
        "fence" => Action::Fence(methods),
        "test" => Action::Test(methods, false),
        "really" => Action::Test(methods, true),
        "unfence" => Action::Unfence(node.unfence.clone()),
        _ => return Err(format!("`{what}' is nothing to do").into()),
    };
    Ok(fence::run(&Job { number: 1, node: name, action }))
}

/// What the agents say about the devices.
fn check(methods: &[cluster_conf::Method]) -> End {
    let mut complaints = Vec::new();
    for device in methods.iter().flat_map(|method| &method.devices) {
        match fence::metadata::metadata(&device.agent) {
            Ok(metadata) => complaints.extend(metadata.complaints(device)),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    let what = complaints.join("; ");
    if what.is_empty() { End::Done { method: "check".into(), what } } else { End::Failed { what } }
}
