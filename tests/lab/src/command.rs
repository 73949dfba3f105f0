//! What each `lab` command does.

use std::ffi::OsString;
use std::fs::File;
use std::io::{SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nines_cli::{Exit, No, log};
use serde_json::json;

use crate::args::{Args, Command, Interface, State};
use crate::client::{Outcome, Session};
use crate::console::{self, Watch, tail};
use crate::message::Reply;
use crate::process::Program;
use crate::state::{Lab, Node, Settings};
use crate::{host, image, net, power, process};

/// How long a host may take to come up.
const BOOT: Duration = Duration::from_secs(180);

/// The exit statuses of env(1) and timeout(1) for what is not the command's own.
const TIMED_OUT: u8 = 124;
const LAB_FAILED: u8 = 125;

/// Does what the command line asks for.
///
/// # Errors
/// Naming what failed.
pub fn main(args: Args) -> Result<Exit> {
    let lab = Lab::open()?;
    match args.command {
        Command::Up { nodes, no_xen, disks, mem } => {
            let disks = if disks.is_empty() { vec![512 << 20; 2] } else { disks };
            let mem = mem.unwrap_or(if no_xen { host::DEFAULT_PLAIN_MEM } else { host::DEFAULT_MEM });
            up(&lab, &Settings { xen: !no_xen, nodes, mem, disks })
        }
        Command::Down => {
            let lock = lab.lock()?;
            down(&lab)?;
            drop(lock);
            lab.forget();
            Ok(Exit::Ok)
        }
        Command::Status { json } => status(&lab, json),
        Command::Exec { timeout, no_stdin, node, argv } => Ok(exec(&lab, node, argv, timeout, no_stdin)),
        Command::Push { node, file, path } => push(&lab, node, &file, &path),
        Command::Console { node } => console::follow(&lab, node).map(|()| Exit::Ok),
        Command::Kill { node } => {
            node.of(&lab)?;
            let _lock = lab.lock()?;
            host::kill(&lab, node)?;
            Ok(Exit::Ok)
        }
        Command::Start { node, no_wait } => start(&lab, node, no_wait),
        Command::Wait { node, state, timeout } => wait(&lab, node, state, Duration::from_secs(timeout)),
        Command::Cut { node, interface } => cable(&lab, node, interface, false),
        Command::Join { node, interface } => cable(&lab, node, interface, true),
        Command::Power { delay, ready_fd } => power::serve(&lab, net::POWER, Duration::from_millis(delay), ready_fd),
        Command::Netns => {
            println!("{}", lab.netns());
            Ok(Exit::Ok)
        }
        Command::Net { argv } => Err(net::exec(&lab, &argv)),
    }
}

fn up(lab: &Lab, settings: &Settings) -> Result<Exit> {
    let _lock = lab.lock()?;
    down(lab)?;
    image::provide(lab)?;
    let began = Instant::now();
    lab.remember(settings)?;
    lab.make_run_dir()?;
    net::up(lab, settings.nodes)?;
    let mut watches = Vec::new();
    for node in Node::all(settings.nodes) {
        host::create(lab, node, settings)?;
        watches.push((node, power_on(lab, node, settings)?));
    }
    let results = std::thread::scope(|scope| {
        let wait = |(node, mut watch)| scope.spawn(move || wait_ready(lab, node, &mut watch, began));
        let threads: Vec<_> = watches.into_iter().map(wait).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("waiting failed"))).collect::<Vec<_>>()
    });
    results.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Exit::Ok)
}

/// Takes down whatever is left of this lab, and of labs whose directory is gone.
fn down(lab: &Lab) -> Result<()> {
    let mut labs = Lab::orphans()?;
    labs.push(lab.clone());
    for lab in labs {
        host::cut_power(&lab.run_dir())?;
        net::down(&lab)?;
        lab.clear()?;
    }
    Ok(())
}

fn start(lab: &Lab, node: Node, no_wait: bool) -> Result<Exit> {
    let settings = node.of(lab)?;
    let lock = lab.lock()?;
    let began = Instant::now();
    let mut watch = power_on(lab, node, &settings)?;
    drop(lock);
    if !no_wait {
        wait_ready(lab, node, &mut watch, began)?;
    }
    Ok(Exit::Ok)
}

/// Switches a host on and watches its console from then on.
fn power_on(lab: &Lab, node: Node, settings: &Settings) -> Result<Watch> {
    let log = lab.console_log(node);
    File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
    let watch = Watch::new(&log, SeekFrom::End(0))?;
    host::start(lab, node, settings)?;
    Ok(watch)
}

fn wait_ready(lab: &Lab, node: Node, watch: &mut Watch, began: Instant) -> Result<()> {
    let log = lab.console_log(node);
    let outcome = Session::open(lab, node).and_then(|session| session.ready(watch, began + BOOT));
    match outcome {
        Ok(Outcome::Exit(0)) => {
            println!("{node}\tready\t{:.1}", began.elapsed().as_secs_f64());
            Ok(())
        }
        Ok(Outcome::TimedOut) => bail!("{node}: not ready after {} s\n{}", BOOT.as_secs(), tail(&log)),
        Ok(other) => bail!("{node}: its agent fails: {other:?}"),
        Err(error) => {
            // A crash on the console explains why a host went off.
            watch.look().with_context(|| node.to_string())?;
            Err(error.context(format!("console:\n{}", tail(&log))))
        }
    }
}

fn wait(lab: &Lab, node: Node, state: State, timeout: Duration) -> Result<Exit> {
    node.of(lab)?;
    let deadline = Instant::now() + timeout;
    let late = || Err(No(format!("{node}: not {} after {} s", name(state), timeout.as_secs())).into());
    match state {
        State::Ready => {
            let mut watch = Watch::new(&lab.console_log(node), SeekFrom::End(0))?;
            match Session::open(lab, node)?.ready(&mut watch, deadline)? {
                Outcome::TimedOut => late(),
                _ => Ok(Exit::Ok),
            }
        }
        State::Off => match host::running(lab, node)? {
            Some(qemu) if !qemu.wait(deadline) => late(),
            _ => Ok(Exit::Ok),
        },
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Off => "off",
    }
}

fn status(lab: &Lab, json: bool) -> Result<Exit> {
    let settings = lab.settings()?;
    for node in Node::all(settings.nodes) {
        let qemu = process::find(Program::Qemu, &lab.sockets(node))?.pop();
        let state = if qemu.is_some() { "on" } else { "off" };
        let pid = qemu.map(|qemu| qemu.pid.as_raw());
        let cut: Vec<_> = Interface::ALL.into_iter().filter(|interface| host::is_cut(lab, node, *interface)).collect();
        let cut: Vec<_> = cut.into_iter().map(Interface::name).collect();
        if json {
            println!(
                "{}",
                json!({"node": node.to_string(), "state": state, "pid": pid, "cut": cut, "xen": settings.xen})
            );
        } else {
            let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
            let cut = if cut.is_empty() { "-".to_owned() } else { cut.join(",") };
            println!("{node}\t{state}\t{pid}\t{cut}");
        }
    }
    Ok(Exit::Ok)
}

fn exec(lab: &Lab, node: Node, argv: Vec<OsString>, timeout: Option<u64>, no_stdin: bool) -> Exit {
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let run = || -> Result<Outcome> {
        let input = if no_stdin { None } else { Some(File::from(std::io::stdin().as_fd().try_clone_to_owned()?)) };
        Session::open(lab, node)?.exec(argv, input, deadline, show)
    };
    Exit::Code(match run() {
        Ok(Outcome::Exit(status)) => status,
        Ok(Outcome::Failed(status, why)) => {
            log(format_args!("{node}: {why}"));
            status
        }
        Ok(Outcome::TimedOut) => {
            log(format_args!("{node}: not done after {} s", timeout.unwrap_or(0)));
            TIMED_OUT
        }
        Err(error) => {
            log(format_args!("{error:#}"));
            LAB_FAILED
        }
    })
}

fn show(reply: Reply) -> Result<()> {
    match reply {
        Reply::Out(bytes) => {
            let mut stdout = std::io::stdout();
            stdout.write_all(&bytes).and_then(|()| stdout.flush()).context("stdout")
        }
        Reply::Err(bytes) => std::io::stderr().write_all(&bytes).context("stderr"),
        _ => Ok(()),
    }
}

fn push(lab: &Lab, node: Node, file: &Path, path: &Path) -> Result<Exit> {
    let from = File::open(file).with_context(|| file.display().to_string())?;
    let metadata = from.metadata().with_context(|| file.display().to_string())?;
    if metadata.is_dir() {
        bail!("{}: is a directory", file.display());
    }
    let path = target(file, path)?;
    match Session::open(lab, node)?.push(from, metadata.permissions().mode(), path.into())? {
        Outcome::Exit(0) => Ok(Exit::Ok),
        Outcome::Failed(_, why) => bail!("{node}: {why}"),
        other => bail!("{node}: {other:?}"),
    }
}

/// A path that ends in a slash is the directory to put the file into.
fn target(file: &Path, path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() {
        bail!("{}: not an absolute path", path.display());
    }
    if path.to_string_lossy().ends_with('/') {
        return Ok(path.join(file.file_name().with_context(|| format!("{}: has no name", file.display()))?));
    }
    Ok(path.to_owned())
}

fn cable(lab: &Lab, node: Node, interface: Interface, plugged: bool) -> Result<Exit> {
    node.of(lab)?;
    let _lock = lab.lock()?;
    host::cable(lab, node, interface, plugged)?;
    Ok(Exit::Ok)
}
