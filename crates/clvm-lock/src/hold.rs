//! Locks that stay when the program has ended: taken, converted and given back by a session's
//! name or for the host itself.

use std::io::{self, Write};
use std::time::Duration;

use nines_cli::{Exit, log};
use nines_proto::ctl::{Client, ClientError, Granted, Whose};

use crate::args::{Convert, GiveBack, Owner, Take};
use crate::{note, refused};

impl Owner {
    fn whose(&self) -> Whose<'_> {
        self.session.as_deref().map_or(Whose::Host, Whose::Session)
    }
}

/// Takes a lock, or finds that its owner has it.
pub fn take(args: &Take) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.ask.at.socket.as_deref())?;
    let whose = args.owner.whose();
    let note = note(args.note.as_deref().unwrap_or_default());
    let granted = client.lock_as(whose, &args.resource, args.mode(), args.ask.wait_ms(), &note);
    told(granted, args.ask.conflict_exit_code)
}

pub fn convert(args: &Convert) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.ask.at.socket.as_deref())?;
    let (whose, value) = (args.owner.whose(), args.value.as_deref());
    let granted = client.convert_as(whose, &args.resource, args.mode(), args.ask.wait_ms(), value);
    told(granted, args.ask.conflict_exit_code)
}

pub fn give_back(args: &GiveBack) -> anyhow::Result<Exit> {
    let mut client = Client::connect(args.at.socket.as_deref())?;
    let deadline = Duration::from_secs(30);
    match client.unlock_as(args.owner.whose(), &args.resource, args.value.as_deref(), Some(deadline)) {
        Ok(()) => Ok(Exit::Ok),
        Err(ClientError::Refused(failure)) => {
            log(format_args!("{failure}"));
            Ok(refused(failure.kind, 1))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GENERATION`, or `GENERATION VALUE valid|doubtful` where the lock has a value block.
fn told(granted: Result<Granted, ClientError>, conflict: u8) -> anyhow::Result<Exit> {
    let granted = match granted {
        Ok(granted) => granted,
        Err(ClientError::Refused(failure)) => {
            log(format_args!("{failure}"));
            return Ok(refused(failure.kind, conflict));
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = io::stdout().lock();
    match granted.value {
        None => writeln!(out, "{}", granted.generation)?,
        Some((value, valid)) => {
            let state = if valid { "valid" } else { "doubtful" };
            writeln!(out, "{} {value} {state}", granted.generation)?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
