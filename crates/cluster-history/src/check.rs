//! A history's verdict: each resource and each key by itself, the counters they share, and where
//! it went wrong.

use std::fmt::Write;

use crate::locks::{self, Locks};
use crate::record::{Answered, Asked, History};
use crate::registers::{self, Registers};
use crate::search::{Found, Model, Op, search};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
    /// The search for an order took too much memory.
    Undecided,
}

/// Something that cannot have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `lock turn`, `key k1`, `generations`.
    pub subject: String,
    pub why: String,
    /// The operations of the smallest stretch of time that is wrong by itself.
    pub window: Vec<usize>,
}

#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<Violation>,
    /// Subjects without a verdict.
    pub undecided: Vec<String>,
    pub subjects: usize,
}

impl Report {
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.violations.is_empty(), self.undecided.is_empty()) {
            (false, _) => Verdict::Bad,
            (true, false) => Verdict::Undecided,
            (true, true) => Verdict::Good,
        }
    }

    /// For people: one line when all is well, else a paragraph for each violation.
    #[must_use]
    pub fn text(&self, history: &History) -> String {
        let mut text = String::new();
        let begin = history.operations.iter().map(|operation| operation.called).min().unwrap_or_default();
        for violation in &self.violations {
            let _ = writeln!(text, "{}: {}", violation.subject, violation.why);
            for id in &violation.window {
                let _ = writeln!(text, "    {}", line(history, *id, begin));
            }
        }
        for subject in &self.undecided {
            let _ = writeln!(text, "{subject}: undecided: too many orders are possible");
        }
        let (operations, clients) = (history.operations.len(), history.clients.len());
        let asked = history.operations.iter().filter(|operation| operation.asked != Asked::Close);
        let open = asked.filter(|operation| operation.answered.is_none()).count();
        let _ = writeln!(
            text,
            "{operations} operations of {clients} clients on {} locks and keys, {open} without an answer: {}",
            self.subjects,
            match self.verdict() {
                Verdict::Good => "linearizable",
                Verdict::Bad => "not linearizable",
                Verdict::Undecided => "undecided",
            }
        );
        text
    }
}

/// Milliseconds from `begin`.
fn ms(at: u64, begin: u64) -> String {
    let micro = at.saturating_sub(begin) / 1000;
    format!("{}.{:03}", micro / 1000, micro % 1000)
}

fn line(history: &History, id: usize, begin: u64) -> String {
    let operation = &history.operations[id];
    let client = &history.clients[operation.client];
    let what = match &operation.asked {
        Asked::Lock { resource, mode, wait } => {
            format!("lock {resource} {mode}{}", if *wait { "" } else { " at once" })
        }
        Asked::Convert { resource, mode, .. } => format!("convert {resource} {mode}"),
        Asked::Unlock { resource } => format!("unlock {resource}"),
        Asked::Close => "close".into(),
        Asked::Put { key, value, if_revision: None } => format!("put {key} {value}"),
        Asked::Put { key, value, if_revision: Some(revision) } => format!("put {key} {value} if at {revision}"),
        Asked::Delete { key, if_revision: None } => format!("delete {key}"),
        Asked::Delete { key, if_revision: Some(revision) } => format!("delete {key} if at {revision}"),
        Asked::Get { key } => format!("get {key}"),
    };
    let (until, answer) = match &operation.answered {
        None => ("-".into(), "no answer".into()),
        Some((at, answered)) => (
            ms(*at, begin),
            match answered {
                Answered::Granted { generation } => format!("generation {generation}"),
                Answered::Done => "done".into(),
                Answered::Wrote { revision } => format!("revision {revision}"),
                Answered::Seen { entry: None, revision } => format!("none at revision {revision}"),
                Answered::Seen { entry: Some((value, of)), revision } => {
                    format!("{value} of revision {of} at revision {revision}")
                }
                Answered::Refused(kind) => format!("refused: {kind:?}").to_lowercase(),
            },
        ),
    };
    let close = operation.asked == Asked::Close;
    let from = ms(operation.called, begin);
    let (until, answer) = if close { (String::new(), String::new()) } else { (until, format!(": {answer}")) };
    format!("{from}..{until} {client}/{} {what}{answer}", operation.session)
}

/// Checks everything there is to check.
#[must_use]
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    let owners = locks::owners(history);
    for (name, ops) in locks::by_resource(history) {
        let holders = |state: &locks::State| {
            let who: Vec<String> = state
                .holders()
                .map(|(owner, mode, generation)| {
                    let (client, session) = owners[owner as usize];
                    format!("{}/{session} holds {mode} of generation {generation}", history.clients[client])
                })
                .collect();
            if who.is_empty() { "nobody holds it".into() } else { who.join(", ") }
        };
        one::<Locks>(&format!("lock {name}"), &ops, history, holders, &mut report);
    }
    for (name, ops) in registers::by_key(history) {
        let value = |state: &registers::State| match state {
            registers::State::Anything => "its value is not known".into(),
            registers::State::Absent => "it does not exist".into(),
            registers::State::Value(value, revision) => format!("it is {value} of revision {revision}"),
            registers::State::Unseen(value) => format!("it is {value}"),
        };
        one::<Registers>(&format!("key {name}"), &ops, history, value, &mut report);
    }
    counter("generations", history, &mut report, |answered| match answered {
        Answered::Granted { generation } => Some((*generation, true)),
        _ => None,
    });
    counter("revisions", history, &mut report, |answered| match answered {
        Answered::Wrote { revision } => Some((*revision, true)),
        Answered::Seen { revision, .. } => Some((*revision, false)),
        _ => None,
    });
    report
}

fn one<M: Model>(
    subject: &str,
    ops: &[Op<M::What>],
    history: &History,
    describe: impl Fn(&M::State) -> String,
    report: &mut Report,
) {
    report.subjects += 1;
    match search::<M>(ops, M::start()) {
        Found::Order => {}
        Found::GaveUp => report.undecided.push(subject.into()),
        Found::None { at, state } => {
            let (window, begun) = window::<M>(ops, at);
            let state = begun.unwrap_or(state);
            let begin = history.operations.iter().map(|operation| operation.called).min().unwrap_or_default();
            let stuck = line(history, ops[at].id, begin);
            let why = format!("no order explains `{stuck}': before it, {}", describe(&state));
            report.violations.push(Violation { subject: subject.into(), why, window });
        }
    }
}

/// The operations of the smallest stretch of time up to the answer of `at` that no state before it
/// explains, and a state that shows why.
fn window<M: Model>(ops: &[Op<M::What>], at: usize) -> (Vec<usize>, Option<M::State>) {
    let end = ops[at].returned.unwrap_or(u64::MAX);
    let from = |start: u64| -> Vec<Op<M::What>> {
        let inside = |op: &&Op<M::What>| op.called <= end && op.returned.is_none_or(|returned| returned >= start);
        let until = |op: &Op<M::What>| Op { returned: op.returned.filter(|returned| *returned <= end), ..op.clone() };
        ops.iter().filter(inside).map(until).collect()
    };
    let wrong = |start: u64| match search::<M>(&from(start), M::anything()) {
        Found::None { state, .. } => Some(state),
        _ => None,
    };
    let mut starts: Vec<u64> = ops.iter().map(|op| op.called).filter(|called| *called <= end).collect();
    starts.sort_unstable();
    starts.dedup();
    // The later it begins, the less is wrong; look from the end, where it shows.
    let mut length = 1;
    while length < starts.len() && wrong(starts[starts.len() - length]).is_none() {
        length *= 2;
    }
    let from_here = starts.len().saturating_sub(length);
    let count = from_here + starts[from_here..].partition_point(|start| wrong(*start).is_some());
    let start = count.checked_sub(1).map_or(0, |last| starts[last]);
    // What began before and had no answer may matter; it is shown only where it is near.
    let mut shown: Vec<&Op<M::What>> = ops.iter().filter(|op| op.called <= end && op.called >= start).collect();
    if count == 0 {
        shown = ops.iter().filter(|op| op.called <= end).collect();
    } else {
        let across = ops.iter().filter(|op| op.called < start && op.returned.is_some_and(|returned| returned >= start));
        shown.extend(across);
    }
    shown.sort_unstable_by_key(|op| (op.called, op.id));
    let mut window: Vec<usize> = shown.into_iter().map(|op| op.id).collect();
    window.dedup();
    (window, if count == 0 { None } else { wrong(start) })
}

/// A number that all share and that only grows: what is answered later than another answer came is
/// larger, and no two changes have the same one.
fn counter(subject: &str, history: &History, report: &mut Report, number: impl Fn(&Answered) -> Option<(u64, bool)>) {
    struct Reading {
        called: u64,
        returned: u64,
        number: u64,
        change: bool,
        id: usize,
    }
    let mut readings: Vec<Reading> = Vec::new();
    for (id, operation) in history.operations.iter().enumerate() {
        if let Some((returned, answered)) = &operation.answered
            && let Some((number, change)) = number(answered)
        {
            readings.push(Reading { called: operation.called, returned: *returned, number, change, id });
        }
    }
    readings.sort_unstable_by_key(|reading| reading.returned);
    let mut by_call: Vec<&Reading> = readings.iter().collect();
    by_call.sort_unstable_by_key(|reading| reading.called);
    let mut done = readings.iter().peekable();
    let mut most: Option<&Reading> = None;
    for reading in by_call {
        while let Some(earlier) = done.next_if(|earlier| earlier.returned < reading.called) {
            if most.is_none_or(|most| earlier.number > most.number) {
                most = Some(earlier);
            }
        }
        if let Some(most) = most
            && (most.number > reading.number || (most.number == reading.number && reading.change))
        {
            report.violations.push(Violation {
                subject: subject.into(),
                why: format!("{} is answered to a call made after {} was answered", reading.number, most.number),
                window: vec![most.id, reading.id],
            });
            break;
        }
    }
    let mut changes: Vec<&Reading> = readings.iter().filter(|reading| reading.change).collect();
    changes.sort_unstable_by_key(|reading| reading.number);
    if let Some(pair) = changes.windows(2).find(|pair| pair[0].number == pair[1].number) {
        report.violations.push(Violation {
            subject: subject.into(),
            why: format!("{} is given out twice", pair[0].number),
            window: vec![pair[0].id, pair[1].id],
        });
    }
}

#[cfg(test)]
mod tests;
