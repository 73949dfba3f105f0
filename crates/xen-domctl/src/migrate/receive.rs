//! `xen-domctl receive`: the daemon that domains arrive through. One thread a migration, each
//! doing what the target's state machine decides.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};
use nines_cli::{Exit, No, Ready, log};
use nines_proto::session::{Key, Session};
use nix::poll::{PollFd, PollFlags};

use super::arrive;
use super::link;
use super::message::{Hello, Lock, Outcome, PURPOSE, ToSource, VERSION, Welcome};
use super::waits::readable;
use crate::lock::Cluster;
use crate::state::{Guard, RunDir};
use crate::{Context, conf, domain};

/// Migrations at a time: each builds a domain, and they share one link.
const MOST: usize = 4;
/// Connections at a time, those that have yet to prove the key included.
const MOST_CONNECTIONS: usize = 16;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    pub listen: Option<IpAddr>,
    pub port: u16,
    pub conf: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ready_fd: Option<u32>,
}

/// Serves until SIGTERM; what has not passed "go" by then is called off, the rest is finished.
pub fn receive(context: &Context, options: Options) -> anyhow::Result<Exit> {
    let key = conf::key(options.key, options.conf.clone())?;
    super::sweep::sweep(context, &RunDir::open()?);
    let address = match options.listen {
        Some(address) => address,
        None => own_address(context, options.conf)?,
    };
    let address = SocketAddr::new(address, options.port);
    let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
    listener.set_nonblocking(true)?;
    log(format_args!("receiving domains on {}", listener.local_addr()?));
    Ready::new(options.ready_fd).announce().context("ready-fd")?;

    let (connections, migrations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Every migration watches the reading end; dropping the writing end ends them all.
    let (stopped, stop) = io::pipe()?;
    thread::scope(|scope| {
        let fds =
            [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(context.signals.as_fd(), PollFlags::POLLIN)];
        while readable(&fds) {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                // Gone before it was picked up, or no descriptor for it; the next may fare better.
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        log(format_args!("{address}: {error}"));
                    }
                    continue;
                }
            };
            let Some(slot) = Slot::take(&connections, MOST_CONNECTIONS) else {
                log(format_args!("{peer}: refused: {MOST_CONNECTIONS} connections already"));
                continue;
            };
            let (key, migrations, stopped) = (&key, &migrations, &stopped);
            let handler = move || {
                let _slot = slot;
                if let Err(error) = welcome(context, stream, peer, key, migrations, stopped) {
                    log(format_args!("{error:#}"));
                }
            };
            if let Err(error) = thread::Builder::new().name("migration".into()).spawn_scoped(scope, handler) {
                log(format_args!("{peer}: refused: {error}"));
            }
        }
        drop(stop);
        anyhow::Ok(())
    })?;
    Ok(Exit::Ok)
}

/// One of a limited number of places, given back when dropped.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < most).then_some(count + 1));
        taken.ok().map(|_| Self(count))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn own_address(context: &Context, conf: Option<PathBuf>) -> anyhow::Result<IpAddr> {
    if let Ok(status) = context.cluster().and_then(|mut cluster| cluster.client.status())
        && let Some(own) = status.members.iter().find(|member| member.name == status.node)
    {
        return Ok(conf::with_port(&own.address, 0)?.ip());
    }
    let host = nix::unistd::gethostname()?;
    conf::Conf::load(conf)?.own_address(&host.to_string_lossy())
}

/// A connection: proof of the key, greetings, and the migration if nothing is against it.
fn welcome(
    context: &Context,
    stream: TcpStream,
    peer: SocketAddr,
    key: &Key,
    migrations: &AtomicUsize,
    stopped: &io::PipeReader,
) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    link::prepare(&stream)?;
    // The greeting goes out before the peer's is read in full, so that it says who we are only;
    // what is against the migration is the first message.
    let node = context.cluster()?.client.status()?.node;
    let welcome = Welcome { version: VERSION, node: node.clone() };
    let session =
        Session::accept(stream, key, PURPOSE, &link::encode_hello(&welcome)).with_context(|| peer.to_string())?;
    let hello: Hello = link::decode_hello(&session.hello).with_context(|| format!("{peer}: its greeting"))?;
    domain::check_name(&hello.domain).map_err(|cause| anyhow!("{peer}: {cause}"))?;
    link::established(session.sender.stream())?;
    let slot = Slot::take(migrations, MOST);
    let admitted = match &slot {
        Some(_) => admit(context, &hello, &node),
        None => Err(No(format!("{node}: {MOST} migrations at a time are enough")).into()),
    };
    let name = hello.domain.clone();
    let mut session = session;
    match admitted {
        Ok((run, guard, cluster)) => {
            session.sender.send(&ToSource::Admitted.encode()).with_context(|| peer.to_string())?;
            log(format_args!("{name}: arriving from {}", hello.from));
            let arrival =
                arrive::Arrival { context, name: name.clone(), from: hello.from, run, cluster, session, stopped };
            let ended = arrival.run().context(name);
            drop(guard);
            ended
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let refusal = ToSource::Outcome(Outcome::Failed { reason, lock: Lock::Untouched });
            session.sender.send(&refusal.encode()).with_context(|| peer.to_string())?;
            Err(error.context(format!("{name} from {}: refused", hello.from)))
        }
    }
}

/// Whether this host could take the domain, as far as that can be told before its data comes.
fn admit(context: &Context, hello: &Hello, node: &str) -> anyhow::Result<(RunDir, Guard, Cluster)> {
    if hello.version != VERSION {
        return Err(No(format!("speaks version {VERSION} of migration, not {}", hello.version)).into());
    }
    let run = RunDir::open()?;
    let guard = run.guard(&hello.domain)?;
    let mut cluster = context.cluster()?;
    let held = cluster.domains()?.into_iter().find(|held| held.domain == hello.domain);
    match held {
        Some(held) if held.holder.node == hello.from => {}
        Some(held) => {
            return Err(No(format!("{}: is on {}, not on {}", hello.domain, held.holder.node, hello.from)).into());
        }
        // This host's view may lag behind the source's; the accept decides.
        None => {}
    }
    if let Some(row) = context.xl.find(&hello.domain)?.first() {
        return Err(No(format!("{}: {} with id {} is on {node} already", hello.domain, row.name, row.id)).into());
    }
    Ok((run, guard, cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let count = AtomicUsize::new(0);
        let first = Slot::take(&count, 2);
        let second = Slot::take(&count, 2);
        assert!(first.is_some() && second.is_some() && Slot::take(&count, 2).is_none());
        drop(first);
        assert!(Slot::take(&count, 2).is_some());
    }
}
