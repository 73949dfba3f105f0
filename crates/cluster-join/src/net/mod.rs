//! Sessions between nodes. Each node opens one to every other over each network they share, and
//! only sends over it; what it receives comes over those the others opened. So a cable that works
//! in one direction only is seen as what it is, and no two nodes argue over which of two sessions
//! to keep.
//!
//! Every message goes over all links that are up, under a number by which the receiver knows the
//! second copy; only what is as large as a snapshot goes over one. Losing a link therefore loses
//! and delays nothing that goes over the other.

mod incoming;
mod outgoing;
mod place;
mod sessions;
pub(crate) mod wake;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nines_proto::session::Keyring;
use socket2::{SockRef, TcpKeepalive};

use crate::count::{Cause, Counters};
use crate::notice::Notices;
use crate::peer::{self, Hello};
use incoming::{Handshakes, Listening};
use outgoing::Outlet;
pub use place::{Addresses, Place, Places, RINGS};
use sessions::Sessions;
pub use wake::{Waker, Wakeup, pair as wake_pair};

/// What comes from other nodes.
#[derive(Debug)]
pub enum Arrival {
    /// A session of a node on the network `ring` opened; `link` is its number.
    Up {
        link: u64,
        ring: usize,
        hello: Box<Hello>,
    },
    Down {
        link: u64,
        node: u64,
    },
    Message {
        link: u64,
        node: u64,
        bytes: Vec<u8>,
    },
}

/// Most arrivals that wait for the main loop; senders are slowed down behind that.
const ARRIVALS: usize = 256;
/// From this size on a message goes over one link only. Parts of the log are half of that.
const LARGE: usize = 2 << 20;
/// What goes before each message: the sender's run and the message's number in it, 0 for one
/// of which every copy counts.
const HEADER: usize = 16;

/// The sessions of this node.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    listening: [Option<Listening>; RINGS],
    outlets: BTreeMap<(u64, usize), Outlet>,
    next_outlet: u64,
    /// Of this daemon, so that nobody takes its first message for an earlier one's.
    run: u64,
    /// The last message to each node.
    numbers: BTreeMap<u64, u64>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    keys: Mutex<Keyring>,
    own: Mutex<Addresses>,
    token_ms: AtomicU64,
    realtime: bool,
    places: Mutex<Vec<Place>>,
    hello: Mutex<Hello>,
    sessions: Mutex<Sessions>,
    arrivals: SyncSender<Arrival>,
    waker: Waker,
    next_link: AtomicU64,
    handshakes: Mutex<Handshakes>,
    notices: Notices,
    counters: Arc<Counters>,
}

/// What a [`Net`] is started with besides its places.
#[derive(Debug)]
pub struct Setup {
    pub keys: Keyring,
    pub token: Duration,
    pub hello: Hello,
    pub counters: Arc<Counters>,
    /// Whether the threads of sessions run ahead of the host's usual ones.
    pub realtime: bool,
    /// A random number for this run of the daemon.
    pub run: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    /// Listens on this node's addresses and opens sessions to the others, in threads of their own.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn start(places: Places, setup: Setup) -> anyhow::Result<(Self, Receiver<Arrival>, Wakeup)> {
        let (arrivals, inbox) = sync_channel(ARRIVALS);
        let (waker, wakeup) = wake::pair().context("socketpair")?;
        let shared = Arc::new(Shared {
            keys: Mutex::new(setup.keys),
            own: Mutex::new([None; RINGS]),
            token_ms: AtomicU64::new(0),
            realtime: setup.realtime,
            places: Mutex::default(),
            hello: Mutex::new(setup.hello),
            sessions: Mutex::default(),
            arrivals,
            waker,
            next_link: AtomicU64::new(1),
            handshakes: Mutex::default(),
            notices: Notices::default(),
            counters: setup.counters,
        });
        let mut net = Self {
            shared,
            listening: [None, None],
            outlets: BTreeMap::new(),
            next_outlet: 1,
            run: setup.run,
            numbers: BTreeMap::new(),
        };
        net.set_places(places, setup.token)?;
        Ok((net, inbox, wakeup))
    }

    /// Goes over to these places and this token: sessions of nodes that are gone end, those of new
    /// ones open, and the others are left alone.
    ///
    /// # Errors
    /// An address of this node cannot be listened on, or there is no thread for a new node.
    pub fn set_places(&mut self, places: Places, token: Duration) -> anyhow::Result<()> {
        let Places { own, others } = places;
        let token_ms = u64::try_from(token.as_millis()).unwrap_or(u64::MAX);
        self.shared.token_ms.store(token_ms, Ordering::Relaxed);
        let before = std::mem::replace(&mut *locked(&self.shared.own), own);
        for ring in 0..RINGS {
            if before[ring] == own[ring] {
                continue;
            }
            self.listening[ring] = None;
            if let Some(address) = own[ring] {
                let listening = Listening::start(address, ring, &self.shared);
                self.listening[ring] = Some(listening.with_context(|| format!("listen on {address}"))?);
            }
        }
        let nodes: Vec<u64> = others.iter().map(|place| place.node).collect();
        locked(&self.shared.places).clone_from(&others);
        let wanted = |at: &(u64, usize), outlet: &Outlet| {
            let place = others.iter().find(|place| place.node == at.0);
            place.is_some_and(|place| place.addresses[at.1] == Some(outlet.address)) && before[at.1] == own[at.1]
        };
        self.outlets.retain(|at, outlet| wanted(at, outlet));
        locked(&self.shared.sessions).keep_nodes(&nodes);
        self.numbers.retain(|node, _| nodes.contains(node));
        for place in &others {
            for (ring, address) in place.addresses.iter().enumerate() {
                let Some(address) = address.filter(|_| !self.outlets.contains_key(&(place.node, ring))) else {
                    continue;
                };
                let outlet = Outlet::start(place, ring, address, self.next_outlet, &self.shared)?;
                self.next_outlet += 1;
                self.outlets.insert((place.node, ring), outlet);
            }
        }
        Ok(())
    }

    /// Queues a message on every link to `to` that is up, a large one on the first of them. It is
    /// dropped when none is, or too much waits already.
    pub fn send(&mut self, to: u64, message: &[u8]) {
        let large = message.len() >= LARGE;
        let number = if large || !peer::is_numbered(message) {
            0
        } else {
            let last = self.numbers.entry(to).or_insert(0);
            *last += 1;
            *last
        };
        let mut frame = Vec::with_capacity(HEADER + message.len());
        frame.extend_from_slice(&self.run.to_be_bytes());
        frame.extend_from_slice(&number.to_be_bytes());
        frame.extend_from_slice(message);
        let frame: Arc<[u8]> = frame.into();
        let mut full = false;
        for ring in 0..RINGS {
            let Some(outlet) = self.outlets.get(&(to, ring)).filter(|outlet| outlet.is_up()) else { continue };
            if !outlet.offer(&frame) {
                full = true;
            } else if large {
                return;
            } else {
                full = false;
            }
        }
        if full {
            self.shared.counters.add(Cause::Dropped);
        }
    }

    /// The greeting for sessions from now on.
    pub fn set_hello(&self, hello: Hello) {
        *locked(&self.shared.hello) = hello;
    }

    /// Goes over to these keys. Sessions under a key that is none of them end.
    pub fn set_keys(&self, keys: &Keyring) {
        locked(&self.shared.keys).clone_from(keys);
        locked(&self.shared.sessions).keep_keys(keys);
    }

    /// Ends every session; new ones follow.
    pub fn reconnect(&self) {
        locked(&self.shared.sessions).end_all();
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

    fn is_known(&self, address: IpAddr) -> bool {
        locked(&self.places).iter().any(|place| place.is_at(address))
    }

    /// How long a peer may take for one step of a conversation.
    fn patience(&self) -> Duration {
        self.token().max(Duration::from_secs(1)) * 3
    }

    fn token(&self) -> Duration {
        Duration::from_millis(self.token_ms.load(Ordering::Relaxed))
    }

    /// Has this thread run ahead of usual ones. That it may not was logged at the start.
    fn hurry(&self) {
        if self.realtime {
            let _ = nines_sys::proc::run_realtime();
        }
    }

    /// No delay for small messages, and an end to connections whose other end is gone. What is
    /// lost is sent again at even intervals: with intervals that double, a pause of the network
    /// would be silence for up to twice as long.
    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_thin_linear_timeouts(true)?;
        let idle = Duration::from_secs(1);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle).with_retries(3))?;
        socket.set_tcp_user_timeout(Some(self.token() * 2))?;
        stream.set_read_timeout(Some(self.patience()))?;
        stream.set_write_timeout(Some(self.patience()))
    }
}
