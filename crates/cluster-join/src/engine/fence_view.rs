//! What people are told about fencing.

use cluster_conf::Bound;
use nines_proto::ctl::{FenceNode, FenceOperation, Fences, MemberState, Note, utc};

use super::{Engine, Now};
use crate::state::fence::{News, Operation};

impl Engine {
    pub(super) fn told(&self, now: Now, operation: &Operation) -> FenceOperation {
        let Operation { number, node, name, incarnation, who, why, asked, attempts, ended, end, .. } =
            operation.clone();
        let state = if end.is_some() { operation.state.clone() } else { self.waits_for(now, node, operation) };
        FenceOperation { operation: number, node: name, incarnation, who, why, asked, attempts, state, ended, end }
    }

    /// What an operation waits for.
    fn waits_for(&self, now: Now, node: u64, operation: &Operation) -> String {
        let mut parts = Vec::new();
        if !operation.state.is_empty() {
            parts.push(operation.state.clone());
        }
        if self.fencer.runs(operation.number) {
            parts.push("agents run".into());
        } else if self.conf.node(node).is_none_or(|node| node.methods.is_empty()) {
            parts.push("cluster.conf has no method for it".into());
        }
        if self.state.members.get(&node).is_some_and(|member| member.armed)
            && let Some(moment) = self.dead_by(node)
        {
            parts.push(format!(
                "its watchdog has reset it in {} s at the latest",
                moment.saturating_sub(now.ms).div_ceil(1000)
            ));
        }
        parts.join("; ")
    }

    pub(super) fn fences(&self, now: Now) -> Fences {
        let bound = Bound::of(&self.conf).map(|bound| {
            let bound = bound.after_lease();
            bound.as_secs() + u64::from(bound.subsec_nanos() > 0)
        });
        let nodes = self.conf.nodes.iter().map(|node| {
            let methods = node.methods.iter().map(|method| {
                let devices = method.devices.iter().map(|device| format!("{} ({})", device.name, device.agent));
                format!("{}: {}", method.name, devices.collect::<Vec<_>>().join(", "))
            });
            let member = self.state.members.get(&node.id);
            FenceNode {
                node: node.name.clone(),
                methods: methods.collect(),
                bound,
                armed: member.is_some_and(|member| member.armed),
                held: member.is_some_and(|member| member.held.is_some()),
                tested: self.state.fencing.tested(node.id).cloned(),
            }
        });
        let mut pending: Vec<_> = self.state.fencing.all_pending().map(|operation| self.told(now, operation)).collect();
        // Of a pair without a majority only what is outside the log goes on.
        if let Some(outside) = self.pair_pending(now) {
            pending.retain(|operation| operation.node != outside.node);
            pending.insert(0, outside);
        }
        Fences {
            pending,
            history: self.state.fencing.history().map(|operation| self.told(now, operation)).collect(),
            nodes: nodes.collect(),
        }
    }

    /// What is not well, and what to type.
    pub(super) fn fence_notes(&self, now: Now) -> Vec<Note> {
        let mut notes = Vec::new();
        for operation in self.state.fencing.all_pending() {
            let name = &operation.name;
            let mut what = format!("{name} waits to be fenced (operation {}): {}", operation.number, operation.why);
            let state = self.waits_for(now, operation.node, operation);
            if !state.is_empty() {
                what += &format!("; {state}");
            }
            let command = if self.heard_by(now, operation.node).is_some() {
                None
            } else {
                Some(format!("cluster-fence --ack {name}"))
            };
            notes.push(Note { what, command });
        }
        for (node, member) in &self.state.members {
            let Some(hold) = &member.held else { continue };
            let name = self.conf.name_of(*node);
            let what = format!("{name} is not let in since {}: {}", utc(hold.since), hold.why);
            notes.push(Note { what, command: Some(format!("cluster-fence unfence {name}")) });
        }
        notes
    }

    /// A node's state where fencing has a say in it.
    pub(super) fn fence_state(&self, now: Now, node: u64) -> Option<MemberState> {
        let member = self.state.members.get(&node).filter(|member| !member.present)?;
        let here = self.peers.present(now, node, self.token_ms);
        if member.held.is_some() && here {
            Some(MemberState::Held)
        } else if member.left {
            Some(MemberState::Left)
        } else if member.fenced {
            Some(MemberState::Fenced)
        } else if member.incarnation == 0 {
            Some(MemberState::Absent)
        } else {
            None
        }
    }

    pub(super) fn fence_news(&mut self, now: Now, news: &News) {
        if let News::Armed { node, .. } = news
            && *node != self.me()
        {
            return;
        }
        if self.admitted() {
            let line = match news {
                News::Asked { node, operation, why } => {
                    format!("node {} is to be fenced (operation {operation}): {why}", self.conf.name_of(*node))
                }
                News::Failed { node, operation, attempts, what } => {
                    let name = self.conf.name_of(*node);
                    format!("node {name} is not fenced (operation {operation}, attempt {attempts}): {what}")
                }
                News::Fenced { node, operation, how, .. } => {
                    format!("node {} is fenced (operation {operation}): {how}", self.conf.name_of(*node))
                }
                News::Void { node, operation, why } => {
                    format!("node {} is not fenced (operation {operation}): {why}", self.conf.name_of(*node))
                }
                News::Held { node, why } => format!("node {} is not let in: {why}", self.conf.name_of(*node)),
                News::Released { node } => format!("node {} may join again", self.conf.name_of(*node)),
                News::Unfenced { node, who } => format!("node {} is unfenced by {who}", self.conf.name_of(*node)),
                News::Armed { armed: true, .. } => "the watchdog is armed".to_owned(),
                News::Armed { .. } => "this host holds nothing: the watchdog is disarmed".to_owned(),
            };
            self.log(line);
        }
        match news {
            News::Asked { .. } => self.start_agents(now),
            News::Void { node, .. } | News::Fenced { node, .. } => {
                self.fencer.retry.remove(node);
                self.fencer.proposed.remove(node);
            }
            // Somebody else saw to it, while this run of the daemon was there to be let in.
            News::Unfenced { node, .. } if *node == self.me() && self.admitted() => self.watch_unfence(now),
            _ => {}
        }
    }
}
