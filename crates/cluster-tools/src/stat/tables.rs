//! Views that are a record a line, separated by tabs.

use nines_cli::clean;
use nines_proto::ctl::{
    ConfEntry, FenceEnd, FenceNode, FenceOperation, Fences, KeyEntry, LinkState, LockHolder, LockState, Member, utc,
};
use serde_json::{Value, json};

use super::picture::Picture;

/// Rows of cells; none is empty, and none has a tab or a line's end in it.
#[derive(Debug, Default)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        let cell = |cell: String| if cell.is_empty() { "-".to_owned() } else { clean(&cell).into_owned() };
        self.0.push(cells.into_iter().map(cell).collect());
    }

    /// The columns `key` say what a row is about, the others what is so.
    pub fn picture(&self, key: &[usize], json: Vec<String>) -> Picture {
        let mut picture = Picture { good: true, json, ..Picture::default() };
        for row in &self.0 {
            picture.text.push_str(&row.join("\t"));
            picture.text.push('\n');
            let part = |wanted: bool| -> Vec<&str> {
                let cells = row.iter().enumerate().filter(|(at, _)| key.contains(at) == wanted);
                cells.map(|(_, cell)| cell.as_str()).collect()
            };
            picture.facts.insert(part(true).join(" "), part(false).join(" "));
        }
        picture
    }
}

/// One row a holder or waiter: resource, state, node, mode, generation, since, kind, offer, note.
pub fn locks(locks: &[LockState]) -> Table {
    let mut table = Table::default();
    for lock in locks {
        let states = [("granted", &lock.granted), ("waiting", &lock.waiting)];
        for (state, holder) in
            states.into_iter().flat_map(|(state, list)| list.iter().map(move |holder| (state, holder)))
        {
            let LockHolder { node, mode, generation, since, note, .. } = holder;
            let offer = holder.offered_to.as_ref().map(|(node, offer)| format!("{node}:{offer}"));
            table.add([
                lock.resource.clone(),
                state.into(),
                node.clone(),
                mode.to_string(),
                generation.to_string(),
                since.to_string(),
                if holder.sticky { "host" } else { "connection" }.into(),
                offer.unwrap_or_default(),
                note.clone(),
            ]);
        }
    }
    table
}

/// `pending` and `ended` operations, then a `node` row each.
pub fn fences(fences: &Fences) -> Table {
    let mut table = Table::default();
    let mut operation = |kind: &str, of: &FenceOperation, rest: [String; 2]| {
        let FenceOperation { operation, node, incarnation, who, why, asked, attempts, .. } = of;
        let first = [kind.to_owned(), operation.to_string(), node.clone(), incarnation.to_string(), utc(*asked)];
        table.add(first.into_iter().chain([attempts.to_string(), who.clone(), why.clone()]).chain(rest));
    };
    for pending in &fences.pending {
        operation("pending", pending, ["-".into(), pending.state.clone()]);
    }
    for past in &fences.history {
        operation(
            "ended",
            past,
            [past.ended.map(utc).unwrap_or_default(), past.end.as_ref().map(end).unwrap_or_default()],
        );
    }
    for FenceNode { node, methods, bound, armed, held, tested } in &fences.nodes {
        let tested = tested.as_ref().map(|test| {
            let (how, good) =
                (if test.really { "power-cycled" } else { "asked" }, if test.good { "good" } else { "bad" });
            format!("{good}, {how} {}: {}", utc(test.time), test.what)
        });
        let state = match (held, armed) {
            (true, _) => "held",
            (false, true) => "armed",
            (false, false) => "-",
        };
        let bound = bound.map(|bound| format!("{bound}s")).unwrap_or_default();
        table.add(["node".into(), node.clone(), state.into(), bound, methods.join("; "), tested.unwrap_or_default()]);
    }
    table
}

fn end(end: &FenceEnd) -> String {
    match end {
        FenceEnd::Agent { method, by } => format!("by {method}, run by {by}"),
        FenceEnd::Watchdog => "by its watchdog".into(),
        FenceEnd::Acknowledged { who } => format!("acknowledged by {who}"),
        FenceEnd::Returned => "it came back in another boot".into(),
        FenceEnd::Void => "not needed any more".into(),
    }
}

/// Version, `current` or `-`, time, who, hash.
pub fn conf(entries: &[ConfEntry]) -> Table {
    let mut table = Table::default();
    for (at, ConfEntry { version, hash, time, who, .. }) in entries.iter().enumerate() {
        let current = if at + 1 == entries.len() { "current" } else { "-" };
        table.add([version.to_string(), current.into(), utc(*time), who.clone(), hash.clone()]);
    }
    table
}

/// Key, revision, owner, value.
pub fn keys(entries: &[KeyEntry]) -> Table {
    let mut table = Table::default();
    for KeyEntry { key, value, revision, owner } in entries {
        table.add([key.clone(), revision.to_string(), owner.clone().unwrap_or_default(), value.clone()]);
    }
    table
}

/// Node, address, `up` or `down`, since.
pub fn links(members: &[Member]) -> Table {
    let mut table = Table::default();
    for member in members {
        for LinkState { address, up, since } in &member.links {
            let state = if *up { "up" } else { "down" };
            table.add([member.name.clone(), address.clone(), state.into(), since.map(utc).unwrap_or_default()]);
        }
    }
    table
}

pub fn link_objects(members: &[Member]) -> impl Iterator<Item = Value> {
    let links = members.iter().flat_map(|member| member.links.iter().map(move |link| (member, link)));
    links
        .map(|(member, link)| json!({"node": member.name, "address": link.address, "up": link.up, "since": link.since}))
}
