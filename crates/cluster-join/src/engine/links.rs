//! The networks between this node and each other one.

use nines_proto::ctl::Note;

use super::peers::{Link, Peers};
use super::{Engine, Now};

impl Peers {
    /// The networks to `node`.
    pub(super) fn links(&self, node: u64) -> &[Link] {
        self.others.get(&node).map_or(&[], |peer| &peer.links)
    }

    /// Brings up to date which links carry something. Tells those that are newly silent while the
    /// other one is not, and those that are back: node, network, whether it carries.
    pub(super) fn watch_links(
        &mut self,
        now: Now,
        token_ms: u64,
        networks: impl Fn(u64) -> usize,
    ) -> Vec<(u64, usize, bool)> {
        let ms = self.awake(now);
        let recent = |heard: Option<u64>| heard.is_some_and(|heard| ms < heard + token_ms);
        let mut news = Vec::new();
        for (node, peer) in &mut self.others {
            let present = recent(peer.heard.map(|heard| heard.ms));
            let since = present.then(|| peer.present_since.unwrap_or(ms));
            peer.present_since = since;
            // A node that has just come may take that long to use all its links.
            let settled = since.is_some_and(|since| ms >= since + 2 * token_ms);
            for (ring, link) in peer.links.iter_mut().enumerate().take(networks(*node)) {
                let up = recent(link.heard);
                if up != link.up {
                    (link.up, link.since) = (up, Some(now.unix));
                }
                if up == link.told && (up || settled) {
                    link.told = !up;
                    news.push((*node, ring, up));
                }
            }
        }
        news
    }
}

impl Engine {
    pub(super) fn watch_links(&mut self, now: Now) {
        let networks = |node: u64| self.addresses.get(&node).map_or(1, Vec::len);
        for (node, ring, up) in self.peers.watch_links(now, self.token_ms, networks) {
            let (name, address) = (self.conf.name_of(node), self.link_address(node, ring));
            if up {
                self.log(format!("node {name}: link {address} is back"));
            } else {
                self.log(format!("node {name}: link {address} is lost; the other one carries on"));
            }
        }
    }

    pub(super) fn link_address(&self, node: u64, ring: usize) -> String {
        let addresses = self.addresses.get(&node);
        addresses.and_then(|addresses| addresses.get(ring)).cloned().unwrap_or_default()
    }

    /// What is to be said of links: which are lost although their node is there.
    pub(super) fn link_notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for node in self.conf.nodes.iter().map(|node| node.id) {
            for (ring, _) in self.peers.links(node).iter().enumerate().filter(|(_, link)| link.told) {
                let (name, address) = (self.conf.name_of(node), self.link_address(node, ring));
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let host = host.trim_matches(['[', ']']);
                notes.push(Note {
                    what: format!("node {name}: nothing is heard over link {address}; one more failure cuts it off"),
                    command: Some(format!("ping -c 3 {host}")),
                });
            }
        }
        notes
    }
}
