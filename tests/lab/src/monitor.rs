//! QEMU's monitor (QMP): one JSON object a line, after a greeting and a handshake.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::state::{Lab, Node};

/// Far longer than any answer of QEMU's.
const LINE_LIMIT: u64 = 1 << 20;

/// Gives a host's network card its carrier or takes it away.
///
/// # Errors
/// When QEMU does not answer, or refuses.
pub fn set_link(lab: &Lab, node: Node, device: &str, up: bool) -> Result<()> {
    ask(&lab.sockets(node).join("qmp"), "set_link", &json!({"name": device, "up": up}))
        .with_context(|| format!("{node}: {device}"))
}

fn ask(socket: &Path, command: &str, arguments: &Value) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    read(&mut lines)?;
    for request in [json!({"execute": "qmp_capabilities"}), json!({"execute": command, "arguments": arguments})] {
        stream.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let answer = read(&mut lines)?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {}", error["desc"].as_str().unwrap_or("refused"));
            }
            // Anything else is an event.
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}

fn read(lines: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    if lines.take(LINE_LIMIT).read_line(&mut line).context("monitor")? == 0 {
        bail!("monitor: closed");
    }
    serde_json::from_str(&line).context("monitor")
}
