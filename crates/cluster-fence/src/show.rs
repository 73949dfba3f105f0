//! What the commands print: records of fields separated by tabs, or JSON objects.

use std::fmt::Write;

use nines_proto::ctl::{FenceEnd, FenceNode, FenceOperation, FenceTested, Fences, utc};
use serde_json::json;

/// What is pending, then every node.
pub fn list(fences: &Fences, json: bool) -> serde_json::Result<String> {
    let mut text = String::new();
    for operation in &fences.pending {
        let line = if json { serde_json::to_string(&json!({ "pending": operation }))? } else { pending(operation) };
        line_of(&mut text, &line);
    }
    for node in &fences.nodes {
        let line = if json { serde_json::to_string(&json!({ "node": node }))? } else { described(node) };
        line_of(&mut text, &line);
    }
    Ok(text)
}

/// What has ended.
pub fn history(fences: &Fences, json: bool) -> serde_json::Result<String> {
    let mut text = String::new();
    for operation in &fences.history {
        let line = if json { serde_json::to_string(operation)? } else { past(operation) };
        line_of(&mut text, &line);
    }
    Ok(text)
}

/// A test's outcome.
pub fn tested(node: &str, tested: &FenceTested) -> String {
    format!("{node}\t{}\t{}", verdict(tested), printable(&tested.what))
}

fn pending(operation: &FenceOperation) -> String {
    let FenceOperation { node, operation: number, incarnation, who, why, asked, attempts, state, .. } = operation;
    let fields = [
        "pending".into(),
        node.clone(),
        number.to_string(),
        incarnation.to_string(),
        utc(*asked),
        format!("{attempts} attempts"),
        or_dash(state),
        format!("asked by {who}: {why}"),
    ];
    fields.map(|field| printable(&field)).join("\t")
}

fn described(node: &FenceNode) -> String {
    let state = match (node.held, node.armed) {
        (true, _) => "held",
        (false, true) => "armed",
        (false, false) => "-",
    };
    let bound = node.bound.map_or_else(|| "-".into(), |seconds| format!("watchdog {seconds} s"));
    let tested = node.tested.as_ref().map_or_else(
        || "never tested".into(),
        |tested| format!("{} at {}: {}", verdict(tested), utc(tested.time), tested.what),
    );
    let methods = if node.methods.is_empty() { "-".into() } else { node.methods.join("; ") };
    ["node".into(), node.node.clone(), state.into(), bound, tested, methods].map(|field| printable(&field)).join("\t")
}

fn past(operation: &FenceOperation) -> String {
    let FenceOperation { node, operation: number, incarnation, who, why, asked, ended, end, .. } = operation;
    let how = match end {
        Some(FenceEnd::Agent { method, by }) => format!("fenced by method {method}, run by {by}"),
        Some(FenceEnd::Watchdog) => "fenced by its watchdog".into(),
        Some(FenceEnd::Acknowledged { who }) => format!("acknowledged by {who}"),
        Some(FenceEnd::Returned) => "it returned in another boot".into(),
        Some(FenceEnd::Void) => "no longer needed".into(),
        None => "-".into(),
    };
    let fields = [
        utc(ended.unwrap_or(*asked)),
        node.clone(),
        number.to_string(),
        incarnation.to_string(),
        how,
        format!("asked by {who} at {}: {why}", utc(*asked)),
    ];
    fields.map(|field| printable(&field)).join("\t")
}

fn verdict(tested: &FenceTested) -> &'static str {
    match (tested.good, tested.really) {
        (true, true) => "power-cycled",
        (true, false) => "answers",
        (false, _) => "failed",
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// What other hosts and agents wrote must not look like a field or a line of ours.
fn printable(field: &str) -> String {
    field.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn line_of(text: &mut String, line: &str) {
    // A String takes everything.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> FenceOperation {
        FenceOperation {
            operation: 17,
            node: "xen2".into(),
            incarnation: 4,
            who: "xen1".into(),
            why: "silent\tfor 1 s".into(),
            asked: 1_795_368_001,
            attempts: 2,
            state: "agent fence_x exited 1: no\nroute".into(),
            ended: None,
            end: None,
        }
    }

    #[test]
    fn a_record_is_a_line_whatever_is_in_it() {
        let node = FenceNode {
            node: "xen2".into(),
            methods: vec!["1: ipmi (fence_ipmilan)".into()],
            bound: Some(9),
            armed: true,
            held: false,
            tested: Some(FenceTested { time: 0, good: false, really: false, what: "a\tb".into() }),
        };
        let fences = Fences { pending: vec![operation()], history: vec![], nodes: vec![node] };
        assert_eq!(
            list(&fences, false).unwrap(),
            "pending\txen2\t17\t4\t2026-11-22 17:20:01 UTC\t2 attempts\tagent fence_x exited 1: no route\t\
             asked by xen1: silent for 1 s\n\
             node\txen2\tarmed\twatchdog 9 s\tfailed at 1970-01-01 00:00:00 UTC: a b\t1: ipmi (fence_ipmilan)\n"
        );
        let lines = list(&fences, true).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["pending"]["operation"], &lines[1]["node"]["bound"]), (&json!(17), &json!(9)));
    }

    #[test]
    fn history_says_how_each_ended() {
        let ended = |end: FenceEnd| FenceOperation { ended: Some(1_795_368_003), end: Some(end), ..operation() };
        let ends = [FenceEnd::Agent { method: "1".into(), by: "xen1".into() }, FenceEnd::Watchdog, FenceEnd::Void];
        let fences = Fences { history: ends.map(ended).to_vec(), ..Fences::default() };
        let text = history(&fences, false).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            "2026-11-22 17:20:03 UTC\txen2\t17\t4\tfenced by method 1, run by xen1\t\
             asked by xen1 at 2026-11-22 17:20:01 UTC: silent for 1 s"
        );
        assert_eq!(text.lines().count(), 3);
    }
}
