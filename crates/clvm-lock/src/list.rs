//! Who holds and who waits: one line each.

use std::io::{self, Write};

use nines_cli::{Exit, age, clean, log};
use nines_proto::ctl::{Client, LockHolder, LockState};
use serde_json::json;

use crate::args::List;

/// One holder or waiter.
struct Line<'a> {
    resource: &'a str,
    /// `granted`, `converting` or `waiting`.
    state: &'static str,
    holder: &'a LockHolder,
}

pub fn list(args: &List) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.at.socket.as_deref())?;
    let status = client.status()?;
    let mut locks = client.locks()?;
    if let Some(resource) = &args.resource {
        locks.retain(|lock| lock.resource == *resource);
    }
    if let Some(reason) = &status.reason {
        log(format_args!("this is how {} last saw it: {reason}", status.node));
    }
    let now = nines_cli::now();
    let lines: Vec<Line<'_>> = locks.iter().flat_map(lines).collect();
    let mut out = io::stdout().lock();
    if args.json {
        for line in &lines {
            writeln!(out, "{}", object(line, now))?;
        }
    } else {
        table(&mut out, &lines, now)?;
    }
    out.flush()?;
    Ok(if args.resource.is_some() && lines.is_empty() { Exit::No } else { Exit::Ok })
}

fn lines(lock: &LockState) -> impl Iterator<Item = Line<'_>> {
    let resource = lock.resource.as_str();
    let granted = lock.granted.iter().map(move |holder| Line { resource, state: "granted", holder });
    // Whoever waits for another mode of what he has is among the holders as well, with the same note.
    let owner = |holder: &LockHolder| (holder.node.clone(), holder.sticky, holder.session.clone(), holder.note.clone());
    let waiting = lock.waiting.iter().map(move |holder| {
        let converts = lock.granted.iter().any(|has| owner(has) == owner(holder));
        Line { resource, state: if converts { "converting" } else { "waiting" }, holder }
    });
    granted.chain(waiting)
}

fn owner(holder: &LockHolder) -> String {
    match &holder.session {
        Some(name) => format!("session {name}"),
        None if holder.sticky => "host".to_owned(),
        None => "program".to_owned(),
    }
}

fn object(line: &Line<'_>, now: u64) -> serde_json::Value {
    let Line { resource, state, holder } = line;
    json!({
        "resource": resource, "state": state, "node": holder.node, "mode": holder.mode,
        "generation": holder.generation, "since": holder.since, "seconds": now.saturating_sub(holder.since),
        "sticky": holder.sticky, "session": holder.session, "offered_to": holder.offered_to, "note": holder.note,
    })
}

fn table(out: &mut impl Write, lines: &[Line<'_>], now: u64) -> io::Result<()> {
    let head = ["RESOURCE", "STATE", "MODE", "NODE", "FOR", "OWNER"].map(str::to_owned);
    let rows: Vec<([String; 6], &str)> = lines
        .iter()
        .map(|line| {
            let holder = line.holder;
            let text = |text: &str| clean(text).into_owned();
            let row = [
                text(line.resource),
                line.state.to_owned(),
                holder.mode.to_string(),
                text(&holder.node),
                age(now, holder.since),
                text(&owner(holder)),
            ];
            (row, holder.note.as_str())
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let all = || rows.iter().map(|(row, _)| row).chain([&head]);
    let width: Vec<usize> =
        (0..head.len()).map(|at| all().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut print = |row: &[String], note: &str| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&width) {
            line += &format!("{cell:width$}  ");
        }
        writeln!(out, "{}", (line + &clean(note)).trim_end())
    };
    print(&head, "NOTE")?;
    rows.iter().try_for_each(|(row, note)| print(row, note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nines_proto::ctl::Mode;

    fn holder(node: &str, mode: Mode, note: &str) -> LockHolder {
        LockHolder {
            node: node.into(),
            mode,
            generation: 0,
            since: 100,
            sticky: false,
            session: None,
            offered_to: None,
            note: note.into(),
        }
    }

    #[test]
    fn holders_come_before_those_who_wait_and_columns_line_up() {
        let lock = LockState {
            resource: "V_vg".into(),
            granted: vec![holder("n1", Mode::Pr, "pid 7"), holder("node10", Mode::Pr, "")],
            waiting: vec![holder("n1", Mode::Ex, "pid 7"), holder("n2", Mode::Ex, "\x1b[2J")],
        };
        let mut out = Vec::new();
        table(&mut out, &lines(&lock).collect::<Vec<_>>(), 190).unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted = "RESOURCE  STATE       MODE  NODE    FOR    OWNER    NOTE
V_vg      granted     PR    n1      1m30s  program  pid 7
V_vg      granted     PR    node10  1m30s  program
V_vg      converting  EX    n1      1m30s  program  pid 7
V_vg      waiting     EX    n2      1m30s  program  \\u{1b}[2J
";
        assert_eq!(text, wanted);
    }
}
