//! Sessions that other nodes open to this one.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Context, bail};
use nines_proto::session::Session;
use socket2::{Domain, Socket, Type};

use super::{Arrival, Live, Shared, locked};
use crate::peer::{Hello, MAX_MESSAGE, PURPOSE};

/// Most connections that have not proved themselves: from each node's address, and from all
/// other addresses together.
const PER_NODE: usize = 4;
const STRANGERS: usize = 8;

pub fn listen(own: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(own), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&own.into())?;
    socket.listen(64)?;
    Ok(socket.into())
}

pub fn start(listener: TcpListener, shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("accept".into()).spawn(move || {
        loop {
            match listener.accept() {
                Ok((stream, from)) => admit(stream, from, &shared),
                Err(error) => {
                    shared.notices.say("accept", &error.to_string());
                    // Without descriptors or memory the next attempt fails at once as well.
                    thread::park_timeout(shared.token());
                }
            }
        }
    })?;
    Ok(())
}

fn admit(stream: TcpStream, from: SocketAddr, shared: &Arc<Shared>) {
    let known = locked(&shared.places).iter().any(|place| place.address.ip() == from.ip());
    let (class, most) = if known { (Some(from.ip()), PER_NODE) } else { (None, STRANGERS) };
    let mut handshakes = locked(&shared.handshakes);
    let count = handshakes.entry(class).or_insert(0);
    if *count >= most {
        shared.notices.say(&from.ip().to_string(), "connection refused: too many that say nothing");
        return;
    }
    *count += 1;
    drop(handshakes);
    let threads = Arc::clone(shared);
    let spawned = thread::Builder::new().name("peer-in".into()).spawn(move || serve(stream, from, class, &threads));
    if spawned.is_err() {
        leave(shared, class);
        shared.notices.say(&from.ip().to_string(), "connection refused: no thread for it");
    }
}

fn leave(shared: &Shared, class: Option<IpAddr>) {
    if let Some(count) = locked(&shared.handshakes).get_mut(&class) {
        *count -= 1;
    }
}

fn serve(stream: TcpStream, from: SocketAddr, class: Option<IpAddr>, shared: &Shared) {
    let session = greet(stream, shared);
    leave(shared, class);
    let (mut session, hello) = match session {
        Ok(session) => session,
        Err(error) => return shared.notices.say(&from.ip().to_string(), &format!("{error:#}")),
    };
    let link = shared.next_link.fetch_add(1, Ordering::Relaxed);
    let node = hello.node;
    let what = shared.name(node);
    if let Err(error) = register(&session, link, &hello, shared) {
        return shared.notices.say(&what, &format!("{error:#}"));
    }
    shared.notices.forget(&from.ip().to_string());
    let arrived = |arrival| {
        let sent = shared.arrivals.send(arrival).is_ok();
        shared.waker.wake();
        sent
    };
    if !arrived(Arrival::Up { link, hello }) {
        return;
    }
    let end = loop {
        match session.receiver.receive(MAX_MESSAGE) {
            Ok(Some(bytes)) => {
                if !arrived(Arrival::Message { link, node, bytes }) {
                    return;
                }
            }
            Ok(None) => break "it closed its session".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break "silent".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    let mut live = locked(&shared.live);
    if live.get(&node).is_some_and(|live| live.link == link) {
        live.remove(&node);
        shared.notices.say(&what, &end);
    }
    drop(live);
    session.sender.close();
    arrived(Arrival::Down { link, node });
}

fn greet(stream: TcpStream, shared: &Shared) -> anyhow::Result<(Session, Hello)> {
    shared.tune(&stream)?;
    let ours = shared.hello();
    let session = Session::accept(stream, &shared.key, PURPOSE, &serde_json::to_vec(&ours)?)?;
    let theirs = Hello::decode(&session.hello)?;
    if let Some(conflict) = ours.conflict(&theirs) {
        bail!("refused: it {conflict}");
    }
    Ok((session, theirs))
}

/// Makes this the session of its node, in place of an earlier one of the same or an earlier run.
fn register(session: &Session, link: u64, hello: &Hello, shared: &Shared) -> anyhow::Result<()> {
    let mut live = locked(&shared.live);
    if let Some(other) = live.get(&hello.node) {
        if other.incarnation > hello.incarnation {
            bail!("refused: a later incarnation of it ({}) is connected", other.incarnation);
        }
        let _ = other.stream.shutdown(Shutdown::Both);
    }
    let stream = session.receiver.stream().try_clone().context("session")?;
    live.insert(hello.node, Live { link, incarnation: hello.incarnation, stream });
    Ok(())
}
