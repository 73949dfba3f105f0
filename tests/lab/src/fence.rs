//! `fence_lab`: the fence agent of the lab's power switch, in the standard agent interface.
//!
//! `name=value` lines on stdin: `ip`, `ipport`, `plug` (or `port`), `action` (or `option`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nines_cli::Exit;

/// Longest input that is read.
const MAX_INPUT: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

const METADATA: &str = r#"<?xml version="1.0"?>
<resource-agent name="fence_lab" shortdesc="Fence agent for the power switch of the lab">
<longdesc>Asks the lab's power switch to cut or restore the power of an emulated host.</longdesc>
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/><shortdesc lang="en">Fencing action</shortdesc></parameter>
<parameter name="ip" unique="0" required="1"><content type="string"/><shortdesc lang="en">Address of the switch</shortdesc></parameter>
<parameter name="ipport" unique="0" required="0"><content type="integer" default="7777"/><shortdesc lang="en">Its TCP port</shortdesc></parameter>
<parameter name="plug" unique="0" required="1" obsoletes="port"><content type="string"/><shortdesc lang="en">The host</shortdesc></parameter>
</parameters>
<actions>
<action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/>
</actions>
</resource-agent>
"#;

/// Does what stdin says.
///
/// # Errors
/// The switch did not do it, or nobody knows whether it did.
pub fn main() -> Result<Exit> {
    let mut input = String::new();
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut input).context("stdin")?;
    let words: BTreeMap<&str, &str> =
        input.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let word = |names: &[&str]| names.iter().find_map(|name| words.get(name).copied());
    let action = word(&["action", "option"]).unwrap_or("reboot");
    if action == "metadata" {
        print!("{METADATA}");
        return Ok(Exit::Ok);
    }
    let ip = word(&["ip", "ipaddr"]).context("ip: missing")?;
    let port: u16 = word(&["ipport"]).unwrap_or("7777").parse().context("ipport")?;
    let plug = word(&["plug", "port"]).context("plug: missing")?;
    let tell = |verb: &str| -> Result<TcpStream> {
        let mut stream = TcpStream::connect((ip, port)).with_context(|| format!("{ip}:{port}"))?;
        stream.write_all(format!("{verb} {plug}\n").as_bytes()).with_context(|| format!("{ip}:{port}"))?;
        Ok(stream)
    };
    let ask = |verb: &str| -> Result<String> {
        let stream = tell(verb)?;
        stream.set_read_timeout(Some(PATIENCE)).context("socket")?;
        let mut said = String::new();
        BufReader::new(stream.take(1024)).read_line(&mut said).with_context(|| format!("{ip}:{port}"))?;
        match said.trim() {
            state @ ("on" | "off") => Ok(state.to_owned()),
            other => bail!("{plug}: {verb}: the switch says `{other}'"),
        }
    };
    match action {
        "off" | "on" => ensure!(ask(action)? == action, "the switch has not done it"),
        "reboot" => {
            ensure!(ask("off")? == "off", "the switch has not cut the power");
            // It has been off, which is all that was asked for; nobody has to wait until it is on.
            let _ = tell("on");
        }
        "status" | "monitor" => {
            let state = ask("status")?;
            println!("Status: {}", state.to_uppercase());
            return Ok(if state == "on" { Exit::Ok } else { Exit::Code(2) });
        }
        other => bail!("action `{other}' is not known"),
    }
    Ok(Exit::Ok)
}
