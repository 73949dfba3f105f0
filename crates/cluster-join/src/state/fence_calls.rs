//! Calls about fencing: what people ask for, what they say, and what nodes report of themselves.

use nines_proto::ctl::{ErrorKind, FenceEnd, FenceTested, Value};

use super::fence::{News, Results, cut};
use super::fence_course::Wanted;
use super::{Op, State};
use crate::lock::{CallId, Refusal};

/// Most calls that wait for one operation.
const MAX_WAITING: usize = 16;

impl State {
    /// Applies a call about fencing, or hands back one that is not.
    pub(super) fn fence_op(&mut self, id: CallId, time: u64, op: Op, results: &mut Results<'_>) -> Result<(), Op> {
        let result = match op {
            Op::Fence { node, name, who, why } => {
                self.fence_requested(id, node, &name, &who, &why, time, results);
                return Ok(());
            }
            Op::FenceAck { node, name, operation, incarnation, who } => {
                self.fence_acknowledged(node, &name, operation, incarnation, &who, time, results)
            }
            Op::FenceTested { node, tested } => Ok(self.fence_tested(node, tested)),
            Op::Unfence { node, name, after: Some(after), .. } if self.fencing.fenced_since(node, after) => {
                let message =
                    format!("{name}: a fencing began while its unfence devices were asked: see that, and ask again");
                Err(Refusal::new(ErrorKind::Changed, message))
            }
            Op::Unfence { node, name, who, devices, .. } => {
                if devices {
                    if let Some(member) = self.members.get_mut(&node) {
                        member.unfenced = true;
                    }
                    self.audit.record(time, "unfenced", &name, &who, "its unfence devices say so");
                    results.news(News::Unfenced { node, who: who.clone() });
                }
                Ok(self.unfenced(node, &name, &who, time, results))
            }
            Op::Armed { name, armed } => self.armed(id.node, &name, armed, time, results),
            other => return Err(other),
        };
        results.answer(&[id], &result);
        Ok(())
    }

    /// A person wants a node fenced.
    #[allow(clippy::too_many_arguments)] // the fields of one call
    pub(super) fn fence_requested(
        &mut self,
        call: CallId,
        node: u64,
        name: &str,
        who: &str,
        why: &str,
        time: u64,
        results: &mut Results<'_>,
    ) {
        let refuse = |kind, message: String| Err(Refusal::new(kind, format!("{name}: {message}")));
        let record = self.members.get(&node);
        let others = self.members.iter().any(|(other, member)| *other != node && member.present);
        let refusal = if self.configured.lacks(node) {
            // Removed since it was asked for: it has no devices, and no name by which one could say that it
            // is off.
            refuse(ErrorKind::Unknown, "the configuration has it no more".into())
        } else if node == call.node || !others {
            refuse(ErrorKind::Invalid, "a host does not fence itself: ask on another member".into())
        } else if record.is_some_and(|member| member.fenced && !member.present) {
            refuse(ErrorKind::Invalid, "it is fenced, and has not come back since".into())
        } else if let Some(pending) = self.fencing.pending.get_mut(&node) {
            if pending.waiting.len() < MAX_WAITING {
                pending.waiting.push(call);
                return;
            }
            refuse(ErrorKind::Busy, format!("{MAX_WAITING} calls wait for operation {} already", pending.number))
        } else {
            let incarnation = record.map_or(0, |member| member.incarnation);
            self.begin_fence(Wanted { node, name, incarnation, who, why, time }, vec![call], results);
            return;
        };
        results.answer(&[call], &refusal);
    }

    /// A person says that a run of a node is over.
    ///
    /// # Errors
    /// No such operation waits, or it is about another run.
    #[allow(clippy::too_many_arguments)] // the fields of one call
    pub(super) fn fence_acknowledged(
        &mut self,
        node: u64,
        name: &str,
        operation: u64,
        incarnation: u64,
        who: &str,
        time: u64,
        results: &mut Results<'_>,
    ) -> Result<Value, Refusal> {
        let unknown = |message: String| Err(Refusal::new(ErrorKind::Unknown, format!("{name}: {message}")));
        let Some(pending) = self.fencing.pending(node) else {
            return unknown("no fencing of it waits".into());
        };
        if pending.number != operation || pending.incarnation != incarnation {
            let (number, run) = (pending.number, pending.incarnation);
            return unknown(format!(
                "operation {operation} for incarnation {incarnation} does not wait, operation {number} for incarnation {run} does"
            ));
        }
        if self.members.get(&node).is_some_and(|member| member.present) {
            return Err(Refusal::new(ErrorKind::Invalid, format!("{name}: it is a member: it is not off")));
        }
        let end = FenceEnd::Acknowledged { who: who.to_owned() };
        self.confirm(node, end, who, &format!("{who} says that it is off"), time, results);
        Ok(Value::Fenced { operation })
    }

    /// A test of a node's devices has ended.
    pub(super) fn fence_tested(&mut self, node: u64, mut tested: FenceTested) -> Value {
        tested.what = cut(&tested.what);
        self.fencing.tested.insert(node, tested.clone());
        Value::Tested(tested)
    }

    /// A person lets a held node in.
    pub(super) fn unfenced(&mut self, node: u64, name: &str, who: &str, time: u64, results: &mut Results<'_>) -> Value {
        if let Some(member) = self.members.get_mut(&node)
            && let Some(hold) = member.held.take()
        {
            member.waived = true;
            self.audit.record(time, "released", name, who, &format!("it was held: {}", hold.why));
            results.news(News::Released { node });
        }
        Value::Done {}
    }

    /// A node's watchdog runs, or no longer does. It runs for as long as the node holds anything.
    ///
    /// # Errors
    /// It holds something and would not be reset.
    pub(super) fn armed(
        &mut self,
        node: u64,
        name: &str,
        armed: bool,
        time: u64,
        results: &mut Results<'_>,
    ) -> Result<Value, Refusal> {
        if !armed && self.holds_anything(node) {
            return Err(Refusal::new(ErrorKind::Busy, format!("{name}: it holds something and stays armed")));
        }
        if let Some(member) = self.members.get_mut(&node)
            && member.armed != armed
        {
            member.armed = armed;
            let why = if armed { "its watchdog runs before it is granted anything" } else { "it holds nothing" };
            self.audit.record(time, "armed", name, if armed { "armed" } else { "disarmed" }, why);
            results.news(News::Armed { node, armed });
        }
        Ok(Value::Done {})
    }
}
