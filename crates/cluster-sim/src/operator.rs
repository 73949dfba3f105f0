//! People: they acknowledge fencings they have seen to, confuse one with another, ask for nodes to
//! be fenced, and let nodes in again.

use nines_proto::ctl::{Mode, Request};

use crate::host::{Client, Does};
use crate::world::World;

impl World {
    /// Somebody types something on host `id`.
    pub(crate) fn operator_acts(&mut self, id: u64) {
        let Some(daemon) = &self.host(id).daemon else { return };
        let state = daemon.engine.state();
        let held: Vec<u64> =
            state.members.iter().filter(|(_, member)| member.held.is_some()).map(|(node, _)| *node).collect();
        let pending: Vec<_> = state
            .fencing
            .all_pending()
            .map(|operation| (operation.number, operation.node, operation.name.clone(), operation.incarnation))
            .collect();
        for node in held {
            self.types(id, Request::Unfence { node: format!("n{node}") });
        }
        for (operation, node, name, incarnation) in pending {
            let over = !self.host(node).on
                || !self.check.fencing.in_boot(
                    node,
                    incarnation,
                    self.hosts[usize::try_from(node - 1).unwrap_or_default()].boot,
                );
            if over {
                self.counts.one("acknowledgements");
                self.types(id, Request::FenceAck { node: name, operation, incarnation, newest: false });
            } else if !self.healing {
                // It runs; this one means another operation or another run.
                let wrong = self.random.pick(&[
                    (operation + 1, incarnation),
                    (operation.saturating_sub(1), incarnation),
                    (operation, incarnation + 1),
                ]);
                self.counts.one("wrong acknowledgements");
                self.types(
                    id,
                    Request::FenceAck { node: name, operation: wrong.0, incarnation: wrong.1, newest: false },
                );
            }
        }
        if self.plan.fabric && !self.healing && self.asking.one_in(4) {
            let node = self.asking.between(1, self.hosts.len() as u64);
            self.types(id, Request::Unfence { node: format!("n{node}") });
        }
        if !self.healing && self.random.one_in(20) && self.hosts.len() > 1 {
            let node = self.random.between(1, self.hosts.len() as u64);
            self.types(id, Request::Fence { node: format!("n{node}"), why: "a test".into() });
        }
    }

    pub(crate) fn types(&mut self, id: u64, request: Request) {
        self.trace.note(self.time, || format!("operator on n{id}: {request:?}"));
        let client = Client { resource: String::new(), mode: Mode::Nl, sticky: false, does: Does::Returning };
        let connection = self.connect(id, client);
        self.call(id, connection, request);
    }
}
