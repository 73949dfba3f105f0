//! What is asked over the control socket.

use nines_cli::log;
use nines_proto::aoe::control::{self, Answer, Request};
use nines_proto::aoe::statistics;
use nines_proto::mac::Mac;

use super::Server;
use crate::export::Export;

/// A host that is denied, and who waits to hear that nothing of it touches a disk any more.
#[derive(Debug)]
pub(super) struct Denial {
    connection: u64,
    exports: Vec<usize>,
    mac: Mac,
}

impl Server {
    /// Takes what was said and answers what can be answered at once.
    pub(super) fn steer(&mut self) {
        let Some(control) = &mut self.control else { return };
        for (connection, heard) in control.hear() {
            let answer = match heard.and_then(|request| self.carry_out(connection, &request)) {
                Ok(Some(answer)) => answer,
                Ok(None) => continue,
                Err(error) => Answer::Error { error },
            };
            self.tell(connection, &answer);
        }
        self.settle_denials();
    }

    fn tell(&mut self, connection: u64, answer: &Answer) {
        if let Some(control) = &mut self.control {
            control.answer(connection, answer);
        }
    }

    /// None when the answer comes later.
    fn carry_out(&mut self, connection: u64, request: &Request) -> Result<Option<Answer>, String> {
        match request {
            Request::Exports => {
                let exports = self.directory.iter().map(|(_, number)| self.show(&self.exports[*number])).collect();
                Ok(Some(Answer::Exports { exports }))
            }
            Request::Statistics { export } => {
                let numbers = self.named(export.as_deref())?;
                let exports = numbers.into_iter().map(|number| count(&self.exports[number])).collect();
                let interfaces = self.wires.iter_mut().map(|(_, wire)| wire.show()).collect();
                Ok(Some(Answer::Statistics { exports, interfaces }))
            }
            Request::Deny { export, mac } => {
                let (exports, mac) = (self.concerned(export.as_deref())?, address(mac)?);
                for number in &exports {
                    self.exports[*number].target.deny(mac);
                }
                self.withdraw(&exports, mac);
                self.note(export.as_deref(), &exports, mac, true)?;
                self.denials.push(Denial { connection, exports, mac });
                Ok(None)
            }
            Request::Admit { export, mac } => {
                let (exports, mac) = (self.concerned(export.as_deref())?, address(mac)?);
                for number in &exports {
                    self.exports[*number].target.admit(mac);
                }
                for (_, page) in self.legacies.iter_mut().filter(|_| export.is_none()) {
                    page.admit(mac);
                }
                self.note(export.as_deref(), &exports, mac, false)?;
                Ok(Some(Answer::Done))
            }
            Request::Mask { export, add, delete } => {
                let list = |texts: &[String]| texts.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>();
                let (exports, add, delete) = (self.concerned(export.as_deref())?, list(add)?, list(delete)?);
                for number in exports {
                    let target = &mut self.exports[number].target;
                    target.change_mask(&add, &delete).map_err(|error| format!("{}: {error}", target.address()))?;
                    self.keep(number)?;
                }
                Ok(Some(Answer::Done))
            }
        }
    }

    /// The exports a request means.
    fn named(&self, export: Option<&str>) -> Result<Vec<usize>, String> {
        let Some(name) = export else {
            return Ok(self.directory.iter().map(|(_, number)| *number).collect());
        };
        let found = self.directory.iter().find(|(address, _)| address.to_string() == name);
        found.map(|(_, number)| vec![*number]).ok_or_else(|| format!("{name}: not exported here"))
    }

    /// Those and the ones that are leaving: they have requests under way, and successors that take
    /// over from them.
    fn concerned(&self, export: Option<&str>) -> Result<Vec<usize>, String> {
        let meant = |one: &Export| export.is_none_or(|name| one.options.address.to_string() == name);
        let found: Vec<usize> = self.exports.iter().filter(|(_, one)| meant(one)).map(|(number, _)| number).collect();
        match export {
            Some(name) if found.is_empty() => Err(format!("{name}: not exported here")),
            _ => Ok(found),
        }
    }

    /// Has it kept, for exports that are yet to come too, that a host is denied or admitted.
    fn note(&mut self, export: Option<&str>, exports: &[usize], mac: Mac, denied: bool) -> Result<(), String> {
        let state = if denied { "denied" } else { "no longer denied" };
        log(format_args!("{}: {mac} is {state}", export.unwrap_or("every export")));
        let before = self.everywhere.clone();
        match export {
            None => self.everywhere.all(mac, denied),
            Some(name) => self.everywhere.one(name, mac, denied),
        }
        let mut result = Ok(());
        if self.everywhere != before
            && let Some(memory) = self.memory.as_ref().filter(|_| self.table.is_some())
        {
            result = memory.keep_everywhere(&self.everywhere).map_err(|error| failed(&error));
        }
        // One that cannot be kept is no reason not to keep the others.
        exports.iter().fold(result, |result, number| result.and(self.keep(*number)))
    }

    fn show(&self, export: &Export) -> control::Export {
        let Export { options, target, medium, wires, .. } = export;
        let kept = target.kept();
        control::Export {
            export: options.address.to_string(),
            path: options.opening.path.display().to_string(),
            interfaces: wires.iter().map(|wire| self.wires[*wire].name().to_owned()).collect(),
            sectors: medium.sectors,
            read_only: options.opening.read_only,
            write_back: options.opening.write_back,
            buffers: options.buffers,
            mask: kept.mask,
            reserved: kept.reserved,
            denied: kept.denied,
            config: kept.config,
        }
    }

    /// Saves what has changed of an export, before anyone is told that it has.
    pub(super) fn keep(&mut self, number: usize) -> Result<(), String> {
        let Export { target, options, .. } = &mut self.exports[number];
        let Some(memory) = &self.memory else { return Ok(()) };
        if !target.changed() {
            return Ok(());
        }
        memory.keep(target, &options.mask).map_err(|error| failed(&error))
    }

    /// Drops the requests of a host that have not begun.
    fn withdraw(&mut self, exports: &[usize], mac: Mac) {
        for frame in 0..self.requests.len() {
            let Some(request) = self.requests[frame] else { continue };
            if exports.contains(&request.export) && request.pending.client() == mac && !request.begun {
                self.drop_waiting(frame);
            }
        }
    }

    /// Answers those who wait for the last of a denied host's requests.
    pub(super) fn settle_denials(&mut self) {
        if self.denials.is_empty() {
            return;
        }
        let requests = &self.requests;
        let settled = |denial: &Denial| {
            let its = |request: &super::Request| {
                denial.exports.contains(&request.export) && request.pending.client() == denial.mac
            };
            !requests.iter().flatten().any(its)
        };
        let (done, waiting) = std::mem::take(&mut self.denials).into_iter().partition(settled);
        self.denials = waiting;
        let done: Vec<Denial> = done;
        for Denial { connection, .. } in done {
            self.tell(connection, &Answer::Done);
        }
    }
}

fn count(export: &Export) -> statistics::Export {
    let Export { options, counters, clients, .. } = export;
    statistics::Export {
        export: options.address.to_string(),
        write_back: options.opening.write_back,
        frames: counters.frames,
        disk_errors: counters.disk_errors,
        malformed: counters.malformed,
        masked: counters.masked,
        denied: counters.denied,
        tests_failed: counters.tests_failed,
        too_long: counters.too_long,
        all: clients.together(),
        clients: clients.each(),
    }
}

/// What the asker is told is in the log too.
fn failed(error: &anyhow::Error) -> String {
    let error = format!("{error:#}");
    log(format_args!("{error}"));
    error
}

fn address(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|bad: nines_proto::mac::BadMac| bad.to_string())
}
