//! The conversation with a target's control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nines_proto::aoe::control::{Answer, Request};

use super::Told;

/// A target answers between two batches of frames; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer: a thousand exports with long lists.
const LONGEST: u64 = 64 << 20;

/// Asks for everything that is counted: export by export, so that no answer is very long.
pub(super) fn statistics(socket: &Path) -> anyhow::Result<Told> {
    let mut conversation = Conversation::open(socket)?;
    let Answer::Exports { exports: known } = conversation.ask(&Request::Exports)? else {
        bail!("answers something else");
    };
    let (mut exports, mut interfaces) = (Vec::new(), Vec::new());
    for export in known {
        match conversation.ask(&Request::Statistics { export: Some(export.export) })? {
            Answer::Statistics { exports: these, interfaces: all } => {
                exports.extend(these);
                interfaces = all;
            }
            // Gone in between.
            Answer::Error { .. } => {}
            _ => bail!("answers something else"),
        }
    }
    Ok(Told { socket: socket.to_owned(), exports, interfaces })
}

struct Conversation {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Conversation {
    fn open(socket: &Path) -> anyhow::Result<Self> {
        // Texts rather than io::Errors, which would pass for a closed stdout.
        let stream = UnixStream::connect(socket).map_err(|error| anyhow::Error::msg(error.to_string()))?;
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)))?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, answers })
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::WouldBlock => anyhow::Error::msg("does not answer"),
            _ => anyhow::Error::msg(error.to_string()),
        };
        self.stream.write_all(&line).map_err(failed)?;
        let mut line = Vec::new();
        Read::by_ref(&mut self.answers).take(LONGEST).read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            bail!("hangs up");
        }
        serde_json::from_slice(&line)
            .map_err(|error| anyhow::Error::msg(error.to_string()))
            .context("no target's answer")
    }
}
