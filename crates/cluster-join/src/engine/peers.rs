//! Who is there: what this node hears from the others, and what the leader makes of it.

use std::collections::BTreeMap;

use raft::ProgressState;
use raft::eraftpb::HardState;

use super::{Action, Engine, Now};
use crate::log::{Identity, Loaded, Recovered};
use crate::net::RINGS;
use crate::peer::{Hello, Peer as Message, plausible};
use crate::state::configured::Proposed;
use crate::state::{Command, MemberRecord};
use cluster_conf::Conf;
use nines_proto::ctl::{Note, utc};

/// Most sessions of nodes this one has not heard of.
const MAX_STRANGERS: usize = 64;

#[derive(Debug, Default)]
struct Peer {
    /// Since when there is account of it, in time awake.
    since: u64,
    /// The session it talks to us over on each network.
    links: [Link; RINGS],
    /// How it introduced itself last.
    hello: Option<Hello>,
    heard: Option<Heard>,
    /// Since when it is heard, in time awake, whatever over.
    present_since: Option<u64>,
    /// When a snapshot went to it that it has not answered.
    snapshot_sent: Option<u64>,
    /// Whom it hears itself, as it said at this time.
    hears: Option<(u64, Vec<u64>)>,
    /// When its joining or loss was last proposed.
    proposed: Option<u64>,
    /// When it was last told the configuration in force.
    told_conf: Option<u64>,
}

/// When something was heard: in time awake, and on the clock of people.
#[derive(Debug, Clone, Copy)]
struct Heard {
    ms: u64,
    unix: u64,
}

/// A network to a node.
#[derive(Debug, Default)]
pub(super) struct Link {
    session: Option<u64>,
    heard: Option<u64>,
    /// Something was heard within the last token time; since when that is so, or is not.
    pub up: bool,
    pub since: Option<u64>,
    /// It was logged that nothing is heard although the other one carries on.
    pub told: bool,
}

#[derive(Debug)]
pub struct Peers {
    others: BTreeMap<u64, Peer>,
    /// Sessions of nodes that this one has not heard of, by node and network.
    strangers: BTreeMap<(u64, usize), (u64, Hello)>,
    next_ping: u64,
    /// For this node's own joining.
    proposed: Option<u64>,
    last_ms: u64,
    /// How long this process did not run when it should have, and when that was noted last. No
    /// node was silent in that time: we did not listen.
    asleep: u64,
    asleep_noted: Option<u64>,
}

impl Peers {
    pub fn new(conf: &Conf, me: u64, now: Now) -> Self {
        let others = conf.nodes.iter().filter(|node| node.id != me);
        let others = others.map(|node| (node.id, Peer { since: now.ms, ..Peer::default() })).collect();
        let (next_ping, last_ms) = (now.ms, now.ms);
        Self { others, strangers: BTreeMap::new(), next_ping, proposed: None, last_ms, asleep: 0, asleep_noted: None }
    }

    /// The clock that silence is measured on: it stands while this process does.
    fn awake(&self, now: Now) -> u64 {
        now.ms.saturating_sub(self.asleep)
    }

    /// Notes that this process comes `late` by so many milliseconds. Of pauses that follow each
    /// other closely only the first counts, so that a host that is always late still notices
    /// who is gone.
    pub fn overslept(&mut self, now: Now, late: u64, token_ms: u64) {
        let before = now.ms.saturating_sub(late);
        if self.asleep_noted.is_none_or(|noted| before >= noted + token_ms / 2) {
            self.asleep += late;
            self.asleep_noted = Some(now.ms);
        }
    }

    /// Notes a message of `node` over `link`; false for one of a session that was replaced.
    pub fn heard(&mut self, now: Now, node: u64, link: u64) -> bool {
        let ms = self.awake(now);
        let Some(peer) = self.others.get_mut(&node) else { return false };
        let Some(ring) = peer.links.iter_mut().find(|ring| ring.session == Some(link)) else { return false };
        ring.heard = Some(ms);
        peer.heard = Some(Heard { ms, unix: now.unix });
        true
    }

    /// Notes the end of a session; false when it had been replaced before, or another one of the
    /// node goes on.
    pub fn down(&mut self, node: u64, link: u64) -> bool {
        self.strangers.retain(|_, (known, _)| *known != link);
        let Some(peer) = self.others.get_mut(&node) else { return false };
        let Some(ring) = peer.links.iter_mut().find(|ring| ring.session == Some(link)) else { return false };
        ring.session = None;
        peer.links.iter().all(|ring| ring.session.is_none())
    }

    pub fn snapshot_sent(&mut self, node: u64) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.snapshot_sent = Some(self.last_ms);
        }
    }

    /// Whether `node` was heard within the last `token_ms`.
    pub fn present(&self, now: Now, node: u64, token_ms: u64) -> bool {
        let heard = self.others.get(&node).and_then(|peer| peer.heard);
        heard.is_some_and(|heard| self.awake(now) < heard.ms + token_ms)
    }

    /// Notes whom `node` hears.
    pub fn hears(&mut self, now: Now, node: u64, hears: Vec<u64>) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.hears = Some((now.ms, hears));
        }
    }

    /// A node that is present and hears `node`.
    pub fn heard_by(&self, now: Now, node: u64, token_ms: u64) -> Option<u64> {
        let says = |peer: &Peer| {
            peer.hears.as_ref().is_some_and(|(at, hears)| now.ms < at + token_ms && hears.contains(&node))
        };
        self.others.iter().find(|(other, peer)| **other != node && says(peer)).map(|(other, _)| *other)
    }

    /// How `node` introduced itself last.
    pub fn hello(&self, node: u64) -> Option<&Hello> {
        self.others.get(&node)?.hello.as_ref()
    }

    /// When `node` was last heard, on the clock of people.
    pub fn last_heard(&self, node: u64) -> Option<u64> {
        self.others.get(&node).and_then(|peer| peer.heard).map(|heard| heard.unix)
    }

    /// Silent for `token_ms`, counted from our own start for a node never heard.
    fn silent(&self, now: Now, node: u64, token_ms: u64) -> bool {
        let since = |peer: &Peer| peer.heard.map_or(0, |heard| heard.ms).max(peer.since);
        self.awake(now) >= self.others.get(&node).map_or(0, since) + token_ms
    }

    /// The networks to `node`.
    pub(super) fn links(&self, node: u64) -> &[Link] {
        self.others.get(&node).map_or(&[], |peer| &peer.links)
    }

    /// Brings up to date which links carry something. Tells those that are newly silent while the
    /// other one is not, and those that are back: node, network, whether it carries.
    fn watch_links(&mut self, now: Now, token_ms: u64, networks: impl Fn(u64) -> usize) -> Vec<(u64, usize, bool)> {
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

    /// The one of `heirs` to hand the lead to.
    pub fn heir(&self, heirs: &[u64]) -> Option<u64> {
        let connected = |peer: &&Peer| peer.links.iter().any(|link| link.session.is_some());
        let heard = |node: &u64| self.others.get(node).filter(connected).and_then(|peer| peer.heard);
        heirs.iter().filter_map(|node| Some((heard(node)?.ms, *node))).max().map(|(_, node)| node)
    }

    /// Keeps account of these nodes from now on; the sessions of those that were strangers.
    pub fn follow(&mut self, nodes: &[u64], now: Now) -> Vec<(u64, usize, Hello)> {
        let since = self.awake(now);
        self.others.retain(|node, _| nodes.contains(node));
        for node in nodes {
            self.others.entry(*node).or_insert_with(|| Peer { since, ..Peer::default() });
        }
        let known: Vec<(u64, usize)> =
            self.strangers.keys().filter(|(node, _)| nodes.contains(node)).copied().collect();
        let sessions = known.into_iter().filter_map(|at| self.strangers.remove(&at).map(|found| (at.1, found)));
        sessions.map(|(ring, (link, hello))| (link, ring, hello)).collect()
    }

    /// The last time that a node of a pair went on alone, as far as `node` knows.
    pub fn epoch(&self, node: u64) -> u64 {
        self.others.get(&node).and_then(|peer| peer.hello.as_ref()).map_or(0, |hello| hello.forced.0)
    }

    /// When `node` was last heard, on the clock of events.
    pub fn heard_ms(&self, now: Now, node: u64) -> Option<u64> {
        let heard = self.others.get(&node)?.heard?.ms;
        Some(now.ms.saturating_sub(self.awake(now).saturating_sub(heard)))
    }

    /// Those that are here, were not told the configuration for a token time, and introduced
    /// themselves with an older one than `version`: each with its incarnation and that version.
    fn behind(&self, now: Now, version: u32, token_ms: u64) -> Vec<(u64, u64, u32)> {
        let here = self.others.iter().filter(|(node, _)| self.present(now, **node, token_ms));
        let waits = here.filter(|(_, peer)| peer.told_conf.is_none_or(|at| now.ms >= at + token_ms));
        let known = waits.filter_map(|(node, peer)| {
            let hello = peer.hello.as_ref()?;
            Some((*node, hello.incarnation, hello.config_version))
        });
        known.filter(|(_, _, known)| *known < version).collect()
    }

    fn told_configuration(&mut self, now: Now, node: u64) {
        if let Some(peer) = self.others.get_mut(&node) {
            peer.told_conf = Some(now.ms);
        }
    }

    /// The name of the node's log, as it was introduced.
    pub fn store(&self, node: u64) -> Option<&str> {
        Some(&self.others.get(&node)?.hello.as_ref()?.store)
    }

    /// The logs of all that are here.
    pub fn stores(&self, now: Now, token_ms: u64) -> impl Iterator<Item = (u64, &str)> {
        let here = self.others.keys().filter(move |node| self.present(now, **node, token_ms));
        here.filter_map(|node| Some((*node, self.store(*node)?)))
    }

    /// Whether `node` and `me` are all that vote, as far as `node` said.
    pub fn pairs_with(&self, node: u64, me: u64) -> bool {
        let hello = self.others.get(&node).and_then(|peer| peer.hello.as_ref());
        hello.is_some_and(|hello| hello.voting.len() == 2 && hello.voting.contains(&node) && hello.voting.contains(&me))
    }
}

impl Engine {
    pub(super) fn peer_up(&mut self, now: Now, link: u64, ring: usize, hello: Hello) {
        let (node, me) = (hello.node, self.me());
        let ms = self.peers.awake(now);
        let Some(peer) = self.peers.others.get_mut(&node) else {
            // Of a configuration that this node is about to hear of.
            if self.peers.strangers.len() < MAX_STRANGERS {
                self.peers.strangers.insert((node, ring), (link, hello));
            }
            return;
        };
        let run = |hello: &Hello| (hello.incarnation, hello.store.clone());
        let same_run = peer.hello.as_ref().filter(|known| run(known) == run(&hello));
        // The threads of two sessions may tell of them in another order than they opened.
        if same_run.is_some_and(|known| known.greeting > hello.greeting) {
            return;
        }
        let same = same_run.is_some_and(|known| known.greeting == hello.greeting);
        if !same {
            peer.links.iter_mut().for_each(|link| link.session = None);
        }
        let second = same && peer.links.iter().any(|link| link.session.is_some());
        let Some(slot) = peer.links.get_mut(ring).filter(|slot| slot.session.is_none_or(|known| known <= link)) else {
            return;
        };
        (slot.session, slot.heard) = (Some(link), Some(ms));
        peer.heard = Some(Heard { ms, unix: now.unix });
        if second {
            // Over this link it says what it said over the other one; what we know is newer.
            return;
        }
        (peer.snapshot_sent, peer.proposed, peer.told_conf) = (None, None, Some(now.ms));
        let (last, commit, known) = (hello.last, hello.commit, hello.known.get(&me).cloned());
        let (version, began) = (hello.config_version, (hello.voters.clone(), hello.learners.clone()));
        let forced = hello.forced;
        peer.hello = Some(hello);
        if self.left_behind(now, node, forced) {
            return;
        }
        self.bring_up_to_date(node, version);
        if self.blank && last > 0 {
            self.adopt_formation(now, began);
        }
        // Before anything else is made of the greeting, since no second one need come: until it is known, a
        // node that lost its log votes like one that never had any.
        if self.blank && commit > 0 && !self.identity.catching_up {
            self.identity.catching_up = true;
            self.out.push(Action::Identity(self.identity.clone()));
            self.log("this node's log is empty and the cluster has one: no vote before it has caught up");
        }
        let ours = (self.identity.incarnation, &self.identity.store);
        if let Some((incarnation, store)) = known
            && (incarnation > ours.0 || (incarnation == ours.0 && &store != ours.1))
        {
            return self.known_as_later(incarnation);
        }
        // A node whose log was emptied holds less than the leader remembers it to hold.
        if self.leads()
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(node)
            && last < progress.matched
        {
            progress.matched = last;
            progress.become_probe();
        }
    }

    /// This node's log is empty and the cluster has one: it begins where that one began, so that
    /// the changes of voters in it lead to where they led the others.
    fn adopt_formation(&mut self, now: Now, (voters, learners): (Vec<u64>, Vec<u64>)) {
        if (&self.identity.voters, &self.identity.learners) == (&voters, &learners) {
            return;
        }
        let identity = Identity { voters, learners, ..self.identity.clone() };
        let hard_state = HardState { commit: 0, ..self.raw.store().hard_state().clone() };
        let log = Recovered { hard_state, number: self.batch, ..Recovered::default() };
        let state = super::formation(&identity);
        if !plausible(&state) || self.rebuild(state, Loaded { snapshot: None, log }, 0).is_err() {
            return;
        }
        self.identity = identity;
        self.out.push(Action::Identity(self.identity.clone()));
        self.log(format!("the cluster's log began with the nodes {:?}", self.identity.voters));
        self.rewire(now);
    }

    /// Says hello, notices who went silent, and helps those whose snapshot was lost.
    pub(super) fn watch_peers(&mut self, now: Now) {
        self.peers.last_ms = now.ms;
        if now.ms >= self.peers.next_ping {
            self.peers.next_ping = now.ms + self.token_ms / 5;
            let hears: Vec<u64> = self
                .peers
                .others
                .keys()
                .copied()
                .filter(|node| self.peers.present(now, *node, self.token_ms))
                .collect();
            let ping = Message::Ping { incarnation: self.identity.incarnation, stamp: now.ms, hears };
            for to in self.peers.others.keys().copied().collect::<Vec<_>>() {
                if let Ok(bytes) = ping.encode() {
                    self.out.push(Action::Send { to, bytes });
                }
            }
        }
        if self.leads() {
            for node in self.peers.others.keys().copied().collect::<Vec<_>>() {
                self.watch_snapshot(now, node);
            }
        }
        self.watch_configurations(now);
        self.watch_leader(now);
        self.watch_quorum(now);
        self.watch_links(now);
    }

    /// A node that is not in the cluster may wait for the configuration to find those that would let
    /// it in. What it was told when it greeted is lost where this node had no session to it yet.
    fn watch_configurations(&mut self, now: Now) {
        let Some(version) = self.state.configured.current().map(|current| current.version) else { return };
        for (node, incarnation, known) in self.peers.behind(now, version, self.token_ms) {
            let member = self.state.members.get(&node);
            // To a member comes the log.
            if !member.is_some_and(|member| member.present && member.incarnation == incarnation) {
                self.peers.told_configuration(now, node);
                self.bring_up_to_date(node, known);
            }
        }
    }

    fn watch_links(&mut self, now: Now) {
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

    /// A snapshot of which nothing is heard was lost, and is sent again; until it is told, the
    /// library waits.
    fn watch_snapshot(&mut self, now: Now, node: u64) {
        let pending = self.raw.raft.prs().get(node).is_some_and(|progress| progress.state == ProgressState::Snapshot);
        let Some(peer) = self.peers.others.get_mut(&node) else { return };
        let patience = (2 * self.token_ms).max(5000);
        if pending && peer.snapshot_sent.is_none_or(|sent| now.ms >= sent + patience) {
            peer.snapshot_sent = None;
            self.raw.report_snapshot(node, raft::SnapshotStatus::Failure);
        }
    }

    pub(super) fn watch_leader(&mut self, now: Now) {
        let leader = self.raw.raft.leader_id;
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        self.leaderless_since = (leader == 0).then_some(now.ms);
        self.attempts += 1;
        self.calls.new_leader();
        let term = self.raw.raft.term;
        if leader == 0 {
            self.log(format!("no leader (term {term})"));
        } else {
            self.log(format!("node {} leads (term {term})", self.conf.name_of(leader)));
        }
    }

    fn watch_quorum(&mut self, now: Now) {
        let reason = self.blocked(now);
        if self.quorate == Some(reason.is_none()) {
            return;
        }
        self.quorate = Some(reason.is_none());
        match reason {
            Some(reason) => self.log(format!("not quorate: {reason}")),
            None => {
                let (votes, expected) = (self.votes_present(now), self.votes_expected());
                self.log(format!("quorate: {votes} of {expected} votes"));
            }
        }
    }

    /// Votes of the nodes heard from within the token time, this one's included.
    pub(super) fn votes_present(&self, now: Now) -> usize {
        let here = |node: &u64| *node == self.me() || self.peers.present(now, *node, self.token_ms);
        self.raw.store().conf_state().voters.iter().filter(|node| here(node)).count()
    }

    /// Votes there are.
    pub(super) fn votes_expected(&self) -> usize {
        self.raw.store().conf_state().voters.len()
    }

    pub(super) fn votes_needed(&self) -> usize {
        self.votes_expected() / 2 + 1
    }

    /// Why nothing can be granted now, and what would change that.
    pub(super) fn blocked(&self, now: Now) -> Option<String> {
        let (votes, needed, expected) = (self.votes_present(now), self.votes_needed(), self.votes_expected());
        if votes < needed {
            let me = self.me();
            let missing: Vec<u64> = self
                .voters()
                .into_iter()
                .filter(|node| *node != me && !self.peers.present(now, *node, self.token_ms))
                .collect();
            let what: Vec<String> = missing.iter().map(|node| self.missing(*node)).collect();
            let (lack, gone) = (needed - votes, missing.len());
            let remedy = match (lack, gone) {
                (1, 1) => "it must return".to_owned(),
                (lack, gone) if lack == gone => "all of them must return".to_owned(),
                (1, _) => "one of them must return".to_owned(),
                (lack, _) => format!("{lack} of them must return"),
            };
            let remedy = self.pair_reason(now).unwrap_or(remedy);
            return Some(format!("{votes} of {expected} votes, {needed} needed: {}; {remedy}", what.join(", ")));
        }
        let leaderless = self.leaderless_since.is_some_and(|since| now.ms >= since + 2 * self.token_ms);
        if leaderless && self.identity.catching_up {
            return Some(
                "this node lost its log and has no vote before a leader of the others brings it up to date".into(),
            );
        }
        if let Some(reason) = self.lease_over(now) {
            return Some(reason);
        }
        leaderless.then(|| format!("{votes} of {expected} votes are here, but no leader is elected yet"))
    }

    fn missing(&self, node: u64) -> String {
        let name = self.conf.name_of(node);
        let heard = self.peers.last_heard(node);
        let since =
            heard.or_else(|| self.state.members.get(&node).filter(|member| !member.present).map(|member| member.since));
        match since {
            Some(since) => format!("{name} lost since {}", utc(since)),
            None => format!("{name} not seen since this daemon started"),
        }
    }

    /// What the leader has to tell the log about the nodes: who has come, and who is silent.
    pub(super) fn member_changes(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        let again = |proposed: Option<u64>| proposed.is_none_or(|at| now.ms >= at + self.token_ms);
        let time = now.unix;
        if self.state.configured.current().is_none() && again(self.membership.proposed) {
            self.membership.proposed = Some(now.ms);
            let conf = Box::new(Proposed::of(&self.conf, format!("leader {}", self.conf.name_of(self.me()))));
            commands.push(Command::Configured { conf, time });
        }
        if !self.state.members.get(&self.me()).is_some_and(|member| member.present && self.admitted())
            && !self.is_leaving()
            && again(self.peers.proposed)
            && self.lets_in(&self.hello())
        {
            self.peers.proposed = Some(now.ms);
            let Hello { node, incarnation, boot, store, leftovers, .. } = self.hello();
            let unclean = !leftovers.is_empty();
            commands.push(Command::Joined { node, incarnation, boot, store, unclean, time });
        }
        for (node, peer) in &self.peers.others {
            let record = self.state.members.get(node);
            let command = if self.peers.present(now, *node, self.token_ms) {
                // A later run that is not let in is the end of the one the log has.
                let over = |hello: &Hello, member: &MemberRecord| {
                    member.present && member.incarnation < hello.incarnation && !self.lets_in(hello)
                };
                let former = record.filter(|member| peer.hello.as_ref().is_some_and(|hello| over(hello, member)));
                let lost = former.map(|member| Command::Lost { node: *node, incarnation: member.incarnation, time });
                lost.or_else(|| {
                    peer.hello
                        .as_ref()
                        .filter(|hello| {
                            record.is_none_or(|member| {
                                member.incarnation < hello.incarnation
                                    || (member.incarnation == hello.incarnation && !member.present && !member.left)
                            })
                        })
                        .filter(|hello| self.lets_in(hello))
                        .filter(|hello| {
                            let configured = &self.state.configured;
                            !configured.lacks(*node) && configured.removed(&hello.store).is_none()
                        })
                        .map(|hello| Command::Joined {
                            node: *node,
                            incarnation: hello.incarnation,
                            boot: hello.boot.clone(),
                            store: hello.store.clone(),
                            unclean: !hello.leftovers.is_empty(),
                            time,
                        })
                })
            } else if self.peers.silent(now, *node, self.token_ms) {
                record.filter(|member| member.present).map(|member| Command::Lost {
                    node: *node,
                    incarnation: member.incarnation,
                    time,
                })
            } else {
                None
            };
            if let Some(command) = command
                && again(peer.proposed)
            {
                commands.push(command);
            }
        }
        for command in &commands {
            if let Command::Joined { node, .. } | Command::Lost { node, .. } = command
                && let Some(peer) = self.peers.others.get_mut(node)
            {
                peer.proposed = Some(now.ms);
            }
        }
        commands
    }
}
