//! Sessions between nodes. Each node opens one to every other and only sends over it; what it
//! receives comes over those the others opened. So a cable that works in one direction only is
//! seen as what it is, and no two nodes argue over which of two sessions to keep.

mod incoming;
mod outgoing;
mod wake;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nines_proto::session::Key;
use socket2::{SockRef, TcpKeepalive};

use crate::notice::Notices;
use crate::peer::Hello;
use wake::Waker;
pub use wake::Wakeup;

/// What comes from other nodes.
#[derive(Debug)]
pub enum Arrival {
    Up { link: u64, hello: Hello },
    Down { link: u64, node: u64 },
    Message { link: u64, node: u64, bytes: Vec<u8> },
}

/// Most arrivals that wait for the main loop; senders are slowed down behind that.
const ARRIVALS: usize = 256;
/// Most messages and bytes that wait for one node. More is dropped, as consensus allows.
const QUEUED: usize = 1024;
const QUEUED_BYTES: usize = 96 << 20;

/// The sessions of this node.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    outlets: BTreeMap<u64, Outlet>,
}

#[derive(Debug)]
struct Outlet {
    queue: SyncSender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
}

/// Where another node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: u64,
    pub name: String,
    pub address: SocketAddr,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    key: Key,
    own: IpAddr,
    token_ms: AtomicU64,
    places: Mutex<Vec<Place>>,
    hello: Mutex<Hello>,
    /// The session each node sends to us over.
    live: Mutex<BTreeMap<u64, Live>>,
    /// Ours to others.
    dialled: Mutex<BTreeMap<u64, TcpStream>>,
    arrivals: SyncSender<Arrival>,
    waker: Waker,
    next_link: AtomicU64,
    handshakes: Mutex<BTreeMap<Option<IpAddr>, usize>>,
    notices: Notices,
}

#[derive(Debug)]
struct Live {
    link: u64,
    incarnation: u64,
    stream: TcpStream,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    /// Listens on `own` and opens sessions to the others, in threads of their own.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(
        own: SocketAddr,
        places: Vec<Place>,
        key: Key,
        token: Duration,
        hello: Hello,
    ) -> anyhow::Result<(Self, Receiver<Arrival>, Wakeup)> {
        let listener = incoming::listen(own).with_context(|| format!("listen on {own}"))?;
        let (arrivals, inbox) = sync_channel(ARRIVALS);
        let (waker, wakeup) = wake::pair().context("socketpair")?;
        let shared = Arc::new(Shared {
            key,
            own: own.ip(),
            token_ms: AtomicU64::new(0),
            places: Mutex::default(),
            hello: Mutex::new(hello),
            live: Mutex::default(),
            dialled: Mutex::default(),
            arrivals,
            waker,
            next_link: AtomicU64::new(1),
            handshakes: Mutex::default(),
            notices: Notices::default(),
        });
        let mut net = Self { shared, outlets: BTreeMap::new() };
        net.set_places(places, token)?;
        incoming::start(listener, &net.shared)?;
        Ok((net, inbox, wakeup))
    }

    /// Where the other nodes are from now on: sessions to nodes that are no longer among them, or
    /// are somewhere else now, end, and new ones are opened.
    ///
    /// # Errors
    /// There is no thread for a new node.
    pub fn set_places(&mut self, places: Vec<Place>, token: Duration) -> anyhow::Result<()> {
        let token_ms = u64::try_from(token.as_millis()).unwrap_or(u64::MAX);
        self.shared.token_ms.store(token_ms, Ordering::Relaxed);
        let former = std::mem::replace(&mut *locked(&self.shared.places), places.clone());
        for gone in former.iter().filter(|place| !places.contains(place)) {
            // Its thread ends when it finds nobody at the other end of the queue.
            self.outlets.remove(&gone.node);
            if let Some(stream) = locked(&self.shared.dialled).remove(&gone.node) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let stays = places.iter().any(|place| place.node == gone.node);
            if let Some(live) = locked(&self.shared.live).get(&gone.node).filter(|_| !stays) {
                let _ = live.stream.shutdown(Shutdown::Both);
            }
        }
        for place in places {
            if self.outlets.contains_key(&place.node) {
                continue;
            }
            let (queue, messages) = sync_channel(QUEUED);
            let bytes = Arc::new(AtomicUsize::new(0));
            self.outlets.insert(place.node, Outlet { queue, bytes: Arc::clone(&bytes) });
            outgoing::start(place, messages, bytes, &self.shared)?;
        }
        Ok(())
    }

    /// Queues a message, or drops it when too much waits already.
    pub fn send(&self, to: u64, message: Vec<u8>) {
        let Some(outlet) = self.outlets.get(&to) else { return };
        let length = message.len();
        if outlet.bytes.fetch_add(length, Ordering::Relaxed) + length > QUEUED_BYTES
            || outlet.queue.try_send(message).is_err()
        {
            outlet.bytes.fetch_sub(length, Ordering::Relaxed);
        }
    }

    /// The greeting for sessions from now on.
    pub fn set_hello(&self, hello: Hello) {
        *locked(&self.shared.hello) = hello;
    }

    /// Ends every session; new ones follow.
    pub fn reconnect(&self) {
        let streams = locked(&self.shared.live);
        for stream in streams.values().map(|live| &live.stream).chain(locked(&self.shared.dialled).values()) {
            // Closed already is what was wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn hello(&self) -> Hello {
        locked(&self.hello).clone()
    }

    fn name(&self, node: u64) -> String {
        let places = locked(&self.places);
        let place = places.iter().find(|place| place.node == node);
        place.map_or_else(|| format!("node {node}"), |place| format!("node {}", place.name))
    }

    /// How long a peer may take for one step of a conversation.
    fn patience(&self) -> Duration {
        self.token().max(Duration::from_secs(1)) * 3
    }

    fn token(&self) -> Duration {
        Duration::from_millis(self.token_ms.load(Ordering::Relaxed))
    }

    /// No delay for small messages, and an end to connections whose other end is gone.
    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(true)?;
        let idle = Duration::from_secs(1);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle).with_retries(3))?;
        socket.set_tcp_user_timeout(Some(self.token() * 2))?;
        stream.set_read_timeout(Some(self.patience()))?;
        stream.set_write_timeout(Some(self.patience()))
    }
}
