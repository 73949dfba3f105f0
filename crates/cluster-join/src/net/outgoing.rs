//! The session this node opens to another one, again and again for as long as it runs.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nines_proto::session::{Sender, Session};
use socket2::{Domain, Socket, Type};

use super::{Place, Shared, locked};
use crate::peer::{Hello, PURPOSE};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);

struct Outgoing {
    place: Place,
    messages: Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

pub fn start(
    place: Place,
    messages: Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let outgoing = Outgoing { place, messages, bytes, shared: Arc::clone(shared) };
    thread::Builder::new().name(format!("to-{}", outgoing.place.node)).spawn(move || outgoing.run())?;
    Ok(())
}

/// The engine is gone; nothing will be sent any more.
struct Gone;

impl Outgoing {
    fn run(self) {
        let what = format!("node {}", self.place.name);
        loop {
            match self.dial() {
                Ok(mut sender) => {
                    self.shared.notices.forget(&what);
                    match self.pump(&mut sender) {
                        Ok(Gone) => return sender.close(),
                        Err(error) => self.shared.notices.say(&what, &format!("send: {error}")),
                    }
                    locked(&self.shared.dialled).remove(&self.place.node);
                    sender.close();
                }
                Err(error) => self.shared.notices.say(&what, &format!("{error:#}")),
            }
            if self.discard_for(PAUSE).is_err() {
                return;
            }
        }
    }

    fn take(&self, wait: Duration) -> Result<Option<Vec<u8>>, Gone> {
        match self.messages.recv_timeout(wait) {
            Ok(message) => {
                self.bytes.fetch_sub(message.len(), Ordering::Relaxed);
                Ok(Some(message))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// What is meant for a node that is not there is old by the time it comes back.
    fn discard_for(&self, time: Duration) -> Result<(), Gone> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.take(left)?;
        }
        Ok(())
    }

    fn dial(&self) -> anyhow::Result<Sender> {
        let shared = &self.shared;
        let address = self.place.address;
        let stream = self.connect().with_context(|| format!("connect to {address}"))?;
        shared.tune(&stream)?;
        let ours = shared.hello();
        let session =
            Session::connect(stream, &shared.key, PURPOSE, &serde_json::to_vec(&ours)?).with_context(|| {
                format!("{address}: no session: is the key the same, and is it cluster-join that listens?")
            })?;
        let theirs = Hello::decode(&session.hello)?;
        if let Some(conflict) = ours.conflict(&theirs) {
            bail!("{address}: refused: it {conflict}");
        }
        let name = shared.name(theirs.node);
        ensure!(theirs.node == self.place.node, "{address}: refused: {name} answers there");
        let stream = session.sender.stream().try_clone()?;
        locked(&shared.dialled).insert(self.place.node, stream);
        Ok(session.sender)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.place.address), Type::STREAM, None)?;
        // The other side knows us by the address of cluster.conf.
        socket.bind(&SocketAddr::new(self.shared.own, 0).into())?;
        socket.connect_timeout(&self.place.address.into(), self.shared.token())?;
        Ok(socket.into())
    }

    fn pump(&self, sender: &mut Sender) -> io::Result<Gone> {
        loop {
            // The engine says something several times in a token time.
            match self.take(self.shared.patience()) {
                Ok(Some(message)) => sender.send(&message)?,
                Ok(None) => {}
                Err(gone) => return Ok(gone),
            }
        }
    }
}
