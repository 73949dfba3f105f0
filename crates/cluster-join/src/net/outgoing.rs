//! The session this node opens to another one over one network, again and again for as long as
//! it runs.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nines_proto::session::{Key, Refusal, Sender, Session};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Socket, Type};

use super::{Place, Shared, locked};
use crate::peer::{Hello, PURPOSE};

/// Most between two attempts to connect, and most for one.
const PAUSE: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_millis(500);
/// Most messages and bytes that wait for one session. More is dropped, as consensus allows.
const QUEUED: usize = 1024;
const QUEUED_BYTES: usize = 96 << 20;

/// The way to the thread that sends. When this is dropped the thread ends.
#[derive(Debug)]
pub struct Outlet {
    pub address: SocketAddr,
    queue: SyncSender<Arc<[u8]>>,
    bytes: Arc<AtomicUsize>,
    up: Arc<AtomicBool>,
}

struct Outgoing {
    node: u64,
    name: String,
    ring: usize,
    address: SocketAddr,
    id: u64,
    frames: Receiver<Arc<[u8]>>,
    bytes: Arc<AtomicUsize>,
    up: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

/// Nothing will be sent any more.
struct Gone;

impl Outlet {
    pub fn start(
        place: &Place,
        ring: usize,
        address: SocketAddr,
        id: u64,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let (queue, frames) = sync_channel(QUEUED);
        let outlet = Self { address, queue, bytes: Arc::default(), up: Arc::default() };
        let outgoing = Outgoing {
            node: place.node,
            name: format!("node {}", place.name),
            ring,
            address,
            id,
            frames,
            bytes: Arc::clone(&outlet.bytes),
            up: Arc::clone(&outlet.up),
            shared: Arc::clone(shared),
        };
        let name = format!("to-{}-{ring}", place.node);
        thread::Builder::new().name(name).spawn(move || outgoing.run()).context("thread")?;
        Ok(outlet)
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Queues a frame; false when too much waits.
    pub fn offer(&self, frame: &Arc<[u8]>) -> bool {
        let length = frame.len();
        let taken = self.bytes.fetch_add(length, Ordering::Relaxed) + length <= QUEUED_BYTES
            && self.queue.try_send(Arc::clone(frame)).is_ok();
        if !taken {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        taken
    }
}

impl Outgoing {
    fn run(self) {
        self.shared.hurry();
        loop {
            let before = Instant::now();
            let mut lasted = false;
            match self.dial() {
                Ok(mut sender) => {
                    self.shared.notices.forget(&self.link());
                    self.up.store(true, Ordering::Release);
                    let end = self.pump(&mut sender);
                    self.up.store(false, Ordering::Release);
                    locked(&self.shared.sessions).closed(self.id);
                    sender.close();
                    match end {
                        Ok(Gone) => return,
                        Err(error) => self.complain(&format!("send: {error}")),
                    }
                    lasted = before.elapsed() > self.pause();
                }
                Err(error) => self.complain(&format!("{error:#}")),
            }
            // After a session that worked the next one follows at once.
            let pause = if lasted { Duration::ZERO } else { self.pause() };
            if self.discard_for(pause).is_err() {
                return;
            }
        }
    }

    /// So short that a link that is back is found within a token time.
    fn pause(&self) -> Duration {
        PAUSE.min(self.shared.token() / 5)
    }

    /// Where another link carries on, the engine tells what there is to tell.
    fn complain(&self, what: &str) {
        if !locked(&self.shared.sessions).reaches(self.node) {
            self.shared.notices.say_of(&self.link(), &self.name, what);
        }
    }

    /// This link among those to the node.
    fn link(&self) -> String {
        format!("{} at {}", self.name, self.address)
    }

    fn take(&self, wait: Duration) -> Result<Option<Arc<[u8]>>, Gone> {
        match self.frames.recv_timeout(wait) {
            Ok(frame) => {
                self.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
                Ok(Some(frame))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// What is meant for a node that is not there is old by the time it comes back.
    fn discard_for(&self, time: Duration) -> Result<(), Gone> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.take(left)?.is_none() && left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Opens a session with the main key, or with the others while nodes have different ones.
    fn dial(&self) -> anyhow::Result<Sender> {
        let began = locked(&self.shared.sessions).began();
        let keys = locked(&self.shared.keys).clone();
        let mut first = None;
        for key in keys.keys() {
            match self.dial_with(key, began) {
                Ok(sender) => return Ok(sender),
                Err(Failed { error, key: false }) => return Err(error),
                Err(Failed { error, key: true }) => first = first.or(Some(error)),
            }
        }
        Err(first.context("no key")?)
    }

    fn dial_with(&self, key: &Key, began: u64) -> Result<Sender, Failed> {
        let shared = &self.shared;
        let address = self.address;
        let stream = self.connect().with_context(|| format!("connect to {address}"))?;
        shared.tune(&stream).context("socket")?;
        let ours = shared.hello();
        let hello = serde_json::to_vec(&ours).context("greeting")?;
        let session = Session::connect(stream, key, PURPOSE, &hello).map_err(|error| Failed {
            // Who does not know the key hangs up without an answer.
            key: Refusal::of(&error).is_some()
                || matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
            error: anyhow::Error::new(error)
                .context(format!("{address}: no session: is the key the same, and is it cluster-join that listens?")),
        })?;
        Ok(self.opened(session, &ours, began)?)
    }

    fn opened(&self, session: Session, ours: &Hello, began: u64) -> anyhow::Result<Sender> {
        let address = self.address;
        let theirs = Hello::decode(&session.hello)?;
        if let Some(conflict) = ours.conflict(&theirs) {
            bail!("{address}: refused: it {conflict}");
        }
        let name = self.shared.name(theirs.node);
        ensure!(theirs.node == self.node, "{address}: refused: {name} answers there");
        let stream = session.sender.stream().try_clone()?;
        let valid = locked(&self.shared.sessions).opened(self.id, self.node, &session.key, stream, began);
        ensure!(valid, "{address}: what this node says of itself or its key has just changed: once more");
        Ok(session.sender)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        // The other side knows us by the address of cluster.conf.
        if let Some(own) = locked(&self.shared.own)[self.ring] {
            socket.bind(&SocketAddr::new(own.ip(), 0).into())?;
        }
        socket.connect_timeout(&self.address.into(), CONNECT.min(self.shared.token() / 2))?;
        Ok(socket.into())
    }

    fn pump(&self, sender: &mut Sender) -> io::Result<Gone> {
        loop {
            // The engine says something several times in a token time.
            match self.take(self.shared.patience()) {
                Ok(Some(frame)) => {
                    if has_ended(sender.stream())? {
                        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it closed the session"));
                    }
                    sender.send(&frame)?;
                }
                Ok(None) => {}
                Err(gone) => return Ok(gone),
            }
        }
    }
}

/// Whether the other end has hung up, which a write would find out too late: the first one after
/// that is lost without an error. Nothing else ever comes over this session.
fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    match recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(length) => Ok(length == 0),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A session that did not open; perhaps for the key alone, so that another may do.
struct Failed {
    error: anyhow::Error,
    key: bool,
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self { error, key: false }
    }
}
