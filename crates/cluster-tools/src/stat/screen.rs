//! The one screen.

use std::fmt::Write;

use nines_cli::{age, clean};
use nines_proto::ctl::{Fences, LinkState, Member, MemberState, Note, Role, Status, utc};

/// What the daemon says is to be looked at, and what it says nothing about and anybody can see.
pub fn notes(status: &Status, fences: &Fences, now: u64) -> Vec<Note> {
    let mut notes = status.notes.clone();
    let told = |name: &str| status.notes.iter().any(|note| names(&note.what, name));
    for operation in fences.pending.iter().filter(|operation| !told(&operation.node)) {
        let state = if operation.state.is_empty() { "" } else { ": " };
        let what = format!(
            "{} is being fenced for {} (operation {}, attempt {}){state}{}",
            operation.node,
            age(now, operation.asked),
            operation.operation,
            u64::from(operation.attempts) + 1,
            operation.state
        );
        // The first attempt may well be enough.
        let command = (operation.attempts > 0).then(|| format!("cluster-fence --ack {}", operation.node));
        notes.push(Note { what, command });
    }
    let pending = |name: &str| fences.pending.iter().any(|operation| operation.node == name);
    for member in status.members.iter().filter(|member| !told(&member.name) && !pending(&member.name)) {
        let name = &member.name;
        let note = |what: String, command: Option<String>| Note { what, command };
        match member.state {
            MemberState::Member | MemberState::Left => {}
            MemberState::Lost if status.quorate => {
                let what = format!("{name} is lost: its locks stay with it until it returns or is fenced");
                notes.push(note(what, Some(format!("cluster-fence {name}"))));
            }
            MemberState::Lost => notes.push(note(format!("{name} is lost"), None)),
            MemberState::Absent => {
                notes.push(note(format!("{name} has not joined: is cluster-join running there?"), None));
            }
            MemberState::Fenced => {
                notes.push(note(format!("{name} was fenced and has not come back: is it to be started?"), None));
            }
            MemberState::Held => {
                notes.push(note(format!("{name} is kept out"), Some(format!("cluster-fence unfence {name}"))));
            }
        }
        // Of a node that is away no link is up.
        let down = member.links.iter().filter(|link| !link.up && member.state == MemberState::Member);
        for LinkState { address, since, .. } in down {
            let since = since.map_or_else(|| "was never up".into(), |since| format!("is down for {}", age(now, since)));
            notes.push(note(format!("the link to {name} at {address} {since}"), None));
        }
    }
    let failed = fences.nodes.iter().filter_map(|node| Some((node, node.tested.as_ref().filter(|test| !test.good)?)));
    for (node, test) in failed {
        let what = format!("the last test of {}'s fence devices failed: {}", node.node, test.what);
        notes.push(Note { what, command: Some(format!("cluster-fence test {}", node.node)) });
    }
    notes
}

/// Whether the text speaks of the node and not of one whose name begins the same.
fn names(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_none_or(|c| !part(c) && c != '.');
        let mut behind = text[at + name.len()..].chars();
        // A full stop may end the sentence, or begin more of a name.
        before
            && match behind.next() {
                Some('.') => behind.next().is_none_or(|c| !part(c)),
                Some(c) => !part(c),
                None => true,
            }
    })
}

/// The cluster on one screen.
pub fn text(status: &Status, fences: &Fences, notes: &[Note], now: u64) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut out, status, fences, notes, now);
    out
}

fn write_all(out: &mut String, status: &Status, fences: &Fences, notes: &[Note], now: u64) -> std::fmt::Result {
    let (cluster, node) = (clean(&status.cluster), clean(&status.node));
    writeln!(out, "cluster  {cluster} (config {}), seen from {node}", status.config_version)?;
    match (status.quorate, notes.len()) {
        (true, 0) => writeln!(out, "well     yes")?,
        (true, 1) => writeln!(out, "well     no: 1 thing to look at")?,
        (true, count) => writeln!(out, "well     no: {count} things to look at")?,
        (false, _) => writeln!(out, "well     no: nothing is granted")?,
    }
    match &status.reason {
        None if status.quorate => writeln!(out, "quorate  yes")?,
        reason => writeln!(out, "quorate  no: {}", clean(reason.as_deref().unwrap_or("no reason given")))?,
    }
    writeln!(out, "votes    {} of {}, {} needed", status.votes, status.votes_expected, status.votes_needed)?;
    let leader = status.leader.as_deref().unwrap_or("-");
    writeln!(out, "leader   {} (term {}, entry {})", clean(leader), status.term, status.applied)?;
    if !notes.is_empty() {
        writeln!(out, "\nto look at")?;
        for note in notes {
            writeln!(out, "  {}", clean(&note.what))?;
            if let Some(command) = &note.command {
                writeln!(out, "      # {}", clean(command))?;
            }
        }
    }
    writeln!(out)?;
    let width = status.members.iter().map(|member| clean(&member.name).chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "  id  {:width$}  state   role     votes  run  links  fencing      since", "node")?;
    for member in &status.members {
        let since = member.since.map_or_else(|| "-".into(), |since| format!("{}  {}", utc(since), age(now, since)));
        writeln!(
            out,
            "{:4}  {:width$}  {:6}  {:7}  {:5}  {:3}  {:>5}  {:11}  {since}",
            member.id,
            clean(&member.name),
            state(member.state),
            role(member.role),
            member.votes,
            member.incarnation,
            links(member),
            fencing(member, fences),
        )?;
    }
    Ok(())
}

/// The state's word, the same as in JSON.
pub fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Member => "member",
        MemberState::Lost => "lost",
        MemberState::Absent => "absent",
        MemberState::Left => "left",
        MemberState::Fenced => "fenced",
        MemberState::Held => "held",
    }
}

pub fn role(role: Role) -> &'static str {
    match role {
        Role::Voter => "voter",
        Role::Learner => "learner",
        Role::None => "-",
    }
}

/// How many are up of how many.
fn links(member: &Member) -> String {
    match member.links.len() {
        0 => "-".into(),
        all => format!("{}/{all}", member.links.iter().filter(|link| link.up).count()),
    }
}

/// The one word that matters most about a node's fencing.
fn fencing(member: &Member, fences: &Fences) -> String {
    if let Some(operation) = fences.pending.iter().find(|operation| operation.node == member.name) {
        return format!("asked #{}", operation.operation);
    }
    match fences.nodes.iter().find(|node| node.node == member.name) {
        Some(node) if node.held => "held".into(),
        Some(node) if node.armed => "armed".into(),
        Some(node) if node.methods.is_empty() && node.bound.is_none() => "by hand".into(),
        Some(node) => match &node.tested {
            Some(test) if test.good => "tested".into(),
            Some(_) => "test failed".into(),
            None => "untested".into(),
        },
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_found_only_where_it_stands_alone() {
        assert!(names("n1 is lost", "n1") && names("waiting for n1, n2", "n2") && names("lost: n1.", "n1"));
        assert!(names("127.0.0.1 is lost", "127.0.0.1"));
        assert!(!names("n11 is lost", "n1") && !names("n1-b", "n1") && !names("10.0.0.12", "10.0.0.1"));
        assert!(!names("n1.san", "n1") && !names("110.0.0.1", "10.0.0.1"));
    }
}
