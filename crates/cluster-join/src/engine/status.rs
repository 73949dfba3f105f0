//! What a client is told of the cluster and its locks.

use std::collections::BTreeMap;

use nines_proto::ctl::{LinkState, LockState, Member, MemberState, Role, Status, VERSION};

use super::{Engine, Now};

/// A count as the control protocol carries it; there are at most 16 nodes.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Engine {
    pub(super) fn status(&self, now: Now) -> Status {
        let mut reason = self.blocked(now);
        let leader = self.raw.raft.leader_id;
        if reason.is_none() && leader == 0 {
            reason = Some("electing a leader".into());
        } else if reason.is_none() && !self.admitted() {
            reason = Some("joining: the leader has not entered this node yet".into());
        }
        Status {
            version: VERSION,
            cluster: self.conf.name.clone(),
            config_version: self.conf.version,
            node: self.conf.name_of(self.me()),
            quorate: reason.is_none(),
            votes: count(self.votes_present(now)),
            votes_needed: count(self.votes_needed()),
            votes_expected: count(self.voters().len()),
            leader: (leader != 0 && reason.is_none()).then(|| self.conf.name_of(leader)),
            term: self.raw.raft.term,
            applied: self.applied(),
            members: self.conf.nodes.iter().map(|node| self.member(now, node.id, reason.is_none())).collect(),
            reason,
            counters: BTreeMap::from([("messages-malformed".to_owned(), self.malformed)]),
            notes: [
                self.lease_notes(),
                self.unfence_notes(),
                self.fence_notes(now),
                self.pair_notes(now),
                self.membership_notes(now),
                self.link_notes(),
            ]
            .concat(),
        }
    }

    /// A node as the log has it; without a majority nobody writes there, and what this node hears
    /// itself is all there is to tell.
    fn member(&self, now: Now, id: u64, quorate: bool) -> Member {
        let node = self.conf.nodes.iter().find(|node| node.id == id);
        let record = self.state.members.get(&id);
        let heard = id == self.me() || self.peers.present(now, id, self.token_ms);
        let (state, since) = match record {
            Some(member) if let Some(state) = self.fence_state(now, id) => (state, Some(member.since)),
            Some(member) if member.present && (quorate || heard) => (MemberState::Member, Some(member.since)),
            Some(member) if member.present => {
                (MemberState::Lost, Some(self.peers.last_heard(id).unwrap_or(member.since)))
            }
            Some(member) if member.left => (MemberState::Left, Some(member.since)),
            Some(member) => (MemberState::Lost, Some(member.since)),
            None => (MemberState::Absent, None),
        };
        Member {
            id,
            name: self.conf.name_of(id),
            address: self.link_address(id, 0),
            votes: node.map_or(0, |node| node.votes),
            state,
            role: self.role(id),
            links: self.links(id),
            since,
            incarnation: record.map_or(0, |member| member.incarnation),
            boot: record.map(|member| member.boot.clone()).unwrap_or_default(),
        }
    }

    fn links(&self, id: u64) -> Vec<LinkState> {
        let addresses = self.addresses.get(&id).into_iter().flatten();
        let links = self.peers.links(id).iter().zip(addresses);
        links.map(|(link, address)| LinkState { address: address.clone(), up: link.up, since: link.since }).collect()
    }

    fn role(&self, id: u64) -> Role {
        let state = self.raw.store().conf_state();
        if state.voters.contains(&id) || state.voters_outgoing.contains(&id) {
            Role::Voter
        } else if state.learners.contains(&id) {
            Role::Learner
        } else {
            Role::None
        }
    }

    pub(super) fn locks(&self) -> Vec<LockState> {
        let list = self.state.locks.list();
        list.map(|(resource, granted, waiting)| LockState {
            resource: resource.to_owned(),
            granted: self.named(&granted),
            waiting: self.named(&waiting),
        })
        .collect()
    }
}
