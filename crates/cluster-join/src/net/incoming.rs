//! Sessions that other nodes open to this one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::Context;
use nines_proto::session::{Refusal, Session};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Arrival, HEADER, Shared, locked};
use crate::count::Cause;
use crate::peer::{Hello, MAX_MESSAGE, PURPOSE};

/// Most connections that have not proved themselves: from each node's address, and from all
/// other addresses together. The oldest has to go for one more; where those that go have not
/// gone yet, the new one does. So many that a node gets in among some hundred others a second.
const PER_NODE: usize = 16;
const STRANGERS: usize = 32;
/// Most connections that the kernel holds for us.
const BACKLOG: i32 = 1024;

/// Connections that have not proved themselves, oldest first: by a node's address, or a
/// stranger's.
#[derive(Debug, Default)]
pub struct Handshakes(BTreeMap<Option<IpAddr>, Vec<(u64, TcpStream)>>);

/// A listening socket and its thread, which ends with this.
#[derive(Debug)]
pub struct Listening {
    socket: Arc<TcpListener>,
    ended: Arc<AtomicBool>,
}

impl Listening {
    pub fn start(address: SocketAddr, ring: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let socket = Arc::new(listen(address, ring)?);
        let ended = Arc::new(AtomicBool::new(false));
        let this = Self { socket: Arc::clone(&socket), ended: Arc::clone(&ended) };
        let shared = Arc::clone(shared);
        thread::Builder::new().name("accept".into()).spawn(move || {
            shared.hurry();
            while !ended.load(Ordering::Acquire) {
                match socket.accept() {
                    Ok((stream, from)) => admit(stream, from, ring, &shared),
                    Err(_) if ended.load(Ordering::Acquire) => return,
                    Err(error) => {
                        shared.notices.say("accept", &error.to_string());
                        // Without descriptors or memory the next attempt fails at once as well.
                        thread::park_timeout(shared.token());
                    }
                }
            }
        })?;
        Ok(this)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Gets the thread out of its accept.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

fn listen(own: SocketAddr, ring: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(own), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if ring > 0 {
        // The second network may come up later.
        match own {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    socket.bind(&own.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn admit(stream: TcpStream, from: SocketAddr, ring: usize, shared: &Arc<Shared>) {
    let what = from.ip().to_string();
    let class = Some(from.ip()).filter(|address| shared.is_known(*address));
    let most = if class.is_some() { PER_NODE } else { STRANGERS };
    let id = shared.next_link.fetch_add(1, Ordering::Relaxed);
    let Ok(copy) = stream.try_clone() else {
        return shared.notices.say(&what, "connection refused: no descriptor for it");
    };
    let mut handshakes = locked(&shared.handshakes);
    let waiting = handshakes.0.entry(class).or_default();
    if waiting.len() >= most {
        shared.counters.add(Cause::Crowd);
        shared.notices.say(&what, "connections ended: too many that say nothing");
        let Some((_, oldest)) = waiting.get(waiting.len() - most) else { return };
        let _ = oldest.shutdown(Shutdown::Both);
        if waiting.len() >= 2 * most {
            return;
        }
    }
    waiting.push((id, copy));
    drop(handshakes);
    let threads = Arc::clone(shared);
    let serve = move || serve(stream, from, (ring, id, class), &threads);
    if thread::Builder::new().name("peer-in".into()).spawn(serve).is_err() {
        leave(&shared.handshakes, class, id);
        shared.notices.say(&what, "connection refused: no thread for it");
    }
}

/// Notes that a connection has proved itself or never will.
fn leave(handshakes: &Mutex<Handshakes>, class: Option<IpAddr>, id: u64) {
    let mut handshakes = locked(handshakes);
    if let Some(waiting) = handshakes.0.get_mut(&class) {
        waiting.retain(|(other, _)| *other != id);
        if waiting.is_empty() {
            handshakes.0.remove(&class);
        }
    }
}

fn serve(stream: TcpStream, from: SocketAddr, (ring, link, class): (usize, u64, Option<IpAddr>), shared: &Shared) {
    let session = greet(stream, shared);
    leave(&shared.handshakes, class, link);
    let (mut session, hello) = match session {
        Ok(session) => session,
        Err(error) => return shared.notices.say(&from.ip().to_string(), &format!("{error:#}")),
    };
    let node = hello.node;
    let what = shared.name(node);
    let registered = session.receiver.stream().try_clone().context("session").and_then(|stream| {
        locked(&shared.sessions).register((node, ring), link, hello.incarnation, &session.key, stream)
    });
    if let Err(error) = registered {
        return shared.notices.say(&what, &format!("{error:#}"));
    }
    shared.notices.forget(&from.ip().to_string());
    shared.hurry();
    let arrived = |arrival| {
        let sent = shared.arrivals.send(arrival).is_ok();
        shared.waker.wake();
        sent
    };
    if !arrived(Arrival::Up { link, ring, hello: Box::new(hello) }) {
        return;
    }
    let end = loop {
        match session.receiver.receive(HEADER + MAX_MESSAGE) {
            Ok(Some(frame)) => {
                let Some(bytes) = unpack(frame, (node, ring), link, shared) else { continue };
                if !arrived(Arrival::Message { link, node, bytes }) {
                    return;
                }
            }
            Ok(None) => break "it closed its session".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break "silent".to_owned(),
            Err(error) => {
                if Refusal::of(&error).is_some() {
                    shared.counters.add(Cause::Record);
                }
                break error.to_string();
            }
        }
    };
    if locked(&shared.sessions).ended((node, ring), link) {
        shared.notices.say(&format!("{what} from {}", from.ip()), &end);
    }
    session.sender.close();
    arrived(Arrival::Down { link, node });
}

/// A frame's message, unless it came before over another link.
fn unpack(mut frame: Vec<u8>, at: (u64, usize), link: u64, shared: &Shared) -> Option<Vec<u8>> {
    let Some((header, _)) = frame.split_first_chunk::<HEADER>() else {
        shared.counters.add(Cause::Message);
        return None;
    };
    let header = u128::from_be_bytes(*header);
    // The upper and the lower half.
    #[allow(clippy::cast_possible_truncation)]
    let (run, number) = ((header >> 64) as u64, header as u64);
    if number != 0 && !locked(&shared.sessions).fresh(at, link, run, number) {
        return None;
    }
    frame.drain(..HEADER);
    Some(frame)
}

fn greet(stream: TcpStream, shared: &Shared) -> anyhow::Result<(Session, Hello)> {
    shared.tune(&stream)?;
    let ours = shared.hello();
    let keys = locked(&shared.keys).clone();
    let session = Session::accept_any(stream, keys.keys(), PURPOSE, &serde_json::to_vec(&ours)?);
    let session = session.inspect_err(|error| {
        shared.counters.add(match Refusal::of(error) {
            Some(Refusal::Key) => Cause::Key,
            Some(Refusal::Replayed) => Cause::Replayed,
            Some(Refusal::Malformed | Refusal::Record) => Cause::Malformed,
            None => Cause::Silent,
        });
    })?;
    let theirs = Hello::decode(&session.hello).inspect_err(|_| shared.counters.add(Cause::Malformed))?;
    if let Some(conflict) = ours.conflict(&theirs) {
        shared.counters.add(if theirs.cluster == ours.cluster { Cause::Node } else { Cause::Cluster });
        anyhow::bail!("refused: it {conflict}");
    }
    Ok((session, theirs))
}
