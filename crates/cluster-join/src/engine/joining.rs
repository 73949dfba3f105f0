//! What the leader has to tell the log about nodes that come and go.

use super::{Engine, Now};
use crate::peer::Hello;
use crate::state::configured::Proposed;
use crate::state::{Command, MemberRecord};

impl Engine {
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
