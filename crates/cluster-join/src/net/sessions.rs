//! The sessions there are, in both directions, and what came over them already.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};

use anyhow::bail;
use nines_proto::session::{Key, Keyring};

use super::RINGS;
use super::window::Window;

#[derive(Debug, Default)]
pub struct Sessions {
    /// Those that each node sends to us over, by network.
    incoming: BTreeMap<(u64, usize), Incoming>,
    /// Ours to others, by the number of the thread that opened it.
    outgoing: BTreeMap<u64, Outgoing>,
    windows: BTreeMap<u64, Window>,
    /// How often they were ended for others to follow. One that was still being opened then is as
    /// old as those.
    ended: u64,
}

#[derive(Debug)]
struct Incoming {
    link: u64,
    incarnation: u64,
    key: Key,
    stream: TcpStream,
}

#[derive(Debug)]
struct Outgoing {
    node: u64,
    key: Key,
    stream: TcpStream,
}

fn end(stream: &TcpStream) {
    // Closed already is what was wanted.
    let _ = stream.shutdown(Shutdown::Both);
}

impl Sessions {
    /// Makes `link` the session of a node on one network, in place of one there of the same or an
    /// earlier run of it, and of those of earlier runs on the others.
    ///
    /// # Errors
    /// A later run of it is connected.
    pub fn register(
        &mut self,
        (node, ring): (u64, usize),
        link: u64,
        incarnation: u64,
        key: &Key,
        stream: TcpStream,
    ) -> anyhow::Result<()> {
        for at in 0..RINGS {
            let Some(other) = self.incoming.get(&(node, at)) else { continue };
            if other.incarnation > incarnation {
                bail!("refused: a later incarnation of it ({}) is connected", other.incarnation);
            }
            if at == ring || other.incarnation < incarnation {
                end(&other.stream);
            }
        }
        self.incoming.insert((node, ring), Incoming { link, incarnation, key: key.clone(), stream });
        Ok(())
    }

    /// Whether a message that came over `link` is the first of its number, and the link is still
    /// its node's on that network.
    pub fn fresh(&mut self, at: (u64, usize), link: u64, run: u64, number: u64) -> bool {
        let current = self.incoming.get(&at).is_some_and(|session| session.link == link);
        current && self.windows.entry(at.0).or_default().fresh(run, number)
    }

    /// Notes the end of a session; false when it had been replaced before.
    pub fn ended(&mut self, at: (u64, usize), link: u64) -> bool {
        let current = self.incoming.get(&at).is_some_and(|session| session.link == link);
        if current {
            self.incoming.remove(&at);
        }
        current
    }

    /// What to tell [`Self::opened`]; to be asked before anything that the session says.
    pub fn began(&self) -> u64 {
        self.ended
    }

    /// Notes a session of ours; false when others were ended since it `began`, as this one is to be.
    pub fn opened(&mut self, outlet: u64, node: u64, key: &Key, stream: TcpStream, began: u64) -> bool {
        let valid = began == self.ended;
        if valid {
            self.outgoing.insert(outlet, Outgoing { node, key: key.clone(), stream });
        }
        valid
    }

    pub fn closed(&mut self, outlet: u64) {
        self.outgoing.remove(&outlet);
    }

    /// Whether any session of ours to `node` is open.
    pub fn reaches(&self, node: u64) -> bool {
        self.outgoing.values().any(|session| session.node == node)
    }

    pub fn end_all(&mut self) {
        self.ended += 1;
        self.incoming.values().for_each(|session| end(&session.stream));
        self.outgoing.values().for_each(|session| end(&session.stream));
    }

    /// Ends the sessions of nodes that are not among `nodes`.
    pub fn keep_nodes(&mut self, nodes: &[u64]) {
        let gone = |node: u64| !nodes.contains(&node);
        self.incoming.iter().filter(|((node, _), _)| gone(*node)).for_each(|(_, session)| end(&session.stream));
        self.outgoing.values().filter(|session| gone(session.node)).for_each(|session| end(&session.stream));
        self.windows.retain(|node, _| !gone(*node));
    }

    /// Ends what was opened with a key that is none any more, and what we opened with another
    /// than the main one: they open anew with that.
    pub fn keep_keys(&mut self, keys: &Keyring) {
        self.ended += 1;
        for session in self.incoming.values().filter(|session| !keys.keys().contains(&session.key)) {
            end(&session.stream);
        }
        for session in self.outgoing.values().filter(|session| !keys.is_main(&session.key)) {
            end(&session.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_session_that_was_being_opened_when_all_were_ended_does_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let key = Key::from_secret(b"s");
        let mut sessions = Sessions::default();
        let began = sessions.began();
        sessions.end_all();
        assert!(!sessions.opened(1, 2, &key, stream.try_clone().unwrap(), began));
        assert!(!sessions.reaches(2));
        let began = sessions.began();
        assert!(sessions.opened(1, 2, &key, stream, began));
        assert!(sessions.reaches(2));
    }
}
