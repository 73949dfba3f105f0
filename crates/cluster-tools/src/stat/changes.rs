//! What is different from the look before.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nines_cli::clean;
use nines_proto::ctl::{Note, Status, utc};

use super::screen::{role, state};

pub type Facts = BTreeMap<String, String>;

/// What of a status is worth a line when it changes: not what only grows.
pub fn of_status(status: &Status, notes: &[Note]) -> Facts {
    let mut facts = Facts::new();
    let mut add = |about: String, what: String| facts.insert(about, what);
    let quorate =
        if status.quorate { "yes".into() } else { format!("no: {}", status.reason.as_deref().unwrap_or("-")) };
    add("quorate".into(), quorate);
    add("votes".into(), format!("{} of {}", status.votes, status.votes_expected));
    add("leader".into(), status.leader.clone().unwrap_or_else(|| "-".into()));
    add("config".into(), status.config_version.to_string());
    for member in &status.members {
        let what = format!("{} {} run {}", state(member.state), role(member.role), member.incarnation);
        add(format!("node {}", member.name), what);
        for link in &member.links {
            add(format!("link {} {}", member.name, link.address), if link.up { "up" } else { "down" }.into());
        }
    }
    for note in notes {
        // Numbers in a note count up; the note stays the same one.
        let about: String = note.what.chars().filter(|c| !c.is_ascii_digit()).collect();
        add(format!("note {about}"), note.command.clone().unwrap_or_else(|| "-".into()));
    }
    facts
}

/// A line for each change: when, what it is about, what was, what is; `-` where there is nothing.
pub fn write(out: &mut impl Write, now: u64, before: &Facts, after: &Facts) -> io::Result<()> {
    let abouts: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for about in abouts {
        let (old, new) = (before.get(about), after.get(about));
        if old != new {
            let show = |fact: Option<&String>| fact.map_or_else(|| "-".into(), |fact| clean(fact).into_owned());
            writeln!(out, "{}\t{}\t{}\t{}", utc(now), clean(about), show(old), show(new))?;
        }
    }
    Ok(())
}
