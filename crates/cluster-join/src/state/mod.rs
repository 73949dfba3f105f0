//! The replicated state: who is a member, and all locks. Every node applies the same commands in
//! the same order and so has the same state.

pub mod audit;
pub mod configured;
pub mod fence;
mod fence_calls;
mod fence_course;
#[cfg(test)]
mod fence_tests;
pub mod keys;

use std::collections::BTreeMap;

use nines_proto::ctl::{ErrorKind, FenceEnd, FenceTested, KeyOwner, Mode, Value};
use serde::{Deserialize, Serialize};

use crate::lock::{Asked, CallId, Decided, Owner, Refusal, Table};
use crate::log::Forced;
use audit::Audit;
use configured::{Configured, Leave, Proposed, Stored};
use fence::{Ended, Fencing, Hold, News, Results};
use fence_course::Wanted;
use keys::Keys;

/// One change, as the log carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A node's daemon takes part, in this incarnation and this boot of its host.
    Joined {
        node: u64,
        incarnation: u64,
        boot: String,
        store: String,
        /// It said that it has something from before that only a member may have.
        #[serde(default, skip_serializing_if = "is_false")]
        unclean: bool,
        time: u64,
    },
    /// That incarnation is silent. Its locks stay its own.
    Lost { node: u64, incarnation: u64, time: u64 },
    /// A call of one of a node's clients. A node numbers its calls, and they take effect in that
    /// order, each once, whatever was sent twice or overtook another on the way to the leader.
    Call { node: u64, incarnation: u64, seq: u64, time: u64, call: Op },
    /// A lost incarnation that holds something, or with 0 a node that never came, is to be fenced.
    FenceAsked { node: u64, name: String, incarnation: u64, who: String, why: String, time: u64 },
    /// An attempt at the operation, which is about this incarnation, ended.
    FenceDone { operation: u64, incarnation: u64, end: Ended, time: u64 },
    /// A node is there and is not let in, because of what it said about itself.
    Held { node: u64, name: String, why: String, time: u64 },
    /// The configuration the cluster begins with: its first leader's file.
    Configured { conf: Box<Proposed>, time: u64 },
    /// Who votes changes, in the same entry: what to remember of it, each with its node.
    Voters { changes: Vec<(String, u64)>, who: String, time: u64 },
    /// A node of a pair went on alone, since this run of the other one is certainly over.
    Forced { forced: Box<Forced>, time: u64 },
}

/// What a client's call does to locks and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    Lock {
        resource: String,
        connection: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        mode: Mode,
        now_or_never: bool,
        note: String,
    },
    Convert {
        resource: String,
        connection: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        mode: Mode,
        now_or_never: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    Unlock {
        resource: String,
        connection: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    Offer {
        resource: String,
        to: u64,
    },
    Accept {
        resource: String,
        offer: u64,
    },
    Retract {
        resource: String,
        offer: u64,
    },
    /// Undo the call numbered `call`, whose caller gave up or went away.
    Withdraw {
        resource: String,
        call: u64,
    },
    /// A connection closed.
    Close {
        connection: u64,
    },
    Put {
        key: String,
        value: String,
        if_revision: Option<u64>,
        owner: KeyOwner,
        connection: u64,
    },
    Delete {
        key: String,
        if_revision: Option<u64>,
    },
    /// Read when the log has come to it: what was written before is seen.
    Get {
        key: String,
    },
    Keys {
        prefix: String,
    },
    /// A person wants a node fenced; decided when it has happened.
    Fence {
        node: u64,
        name: String,
        who: String,
        why: String,
    },
    /// A person says that this run of a node is over.
    FenceAck {
        node: u64,
        name: String,
        operation: u64,
        incarnation: u64,
        who: String,
    },
    /// A node's fence devices were tested.
    FenceTested {
        node: u64,
        tested: FenceTested,
    },
    /// A node may join again; with `devices`, those of its `<unfence>` have said yes.
    Unfence {
        node: u64,
        name: String,
        who: String,
        #[serde(default, skip_serializing_if = "is_false")]
        devices: bool,
        /// The number of the last fencing when they were asked: a later one has undone it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// The calling node's watchdog runs, or is about to be closed.
    Armed {
        name: String,
        armed: bool,
    },
    /// Another configuration.
    Configure {
        conf: Box<Proposed>,
    },
    /// The configuration of this version is on the node's disk, or why not.
    Stored(Stored),
    /// The node goes.
    Leave(Leave),
}

/// A node as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// False: lost, or gone in an orderly way.
    pub present: bool,
    /// Seconds since 1970 of the last change of that.
    pub since: u64,
    pub incarnation: u64,
    pub boot: String,
    /// Names the node's log on disk, so that one that starts over with an empty one is noticed.
    pub store: String,
    /// The number its next call must have.
    pub next_seq: u64,
    /// Its watchdog runs: it is reset by itself when it is no longer a member.
    #[serde(default, skip_serializing_if = "is_false")]
    pub armed: bool,
    /// This boot of it is certainly over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fenced: bool,
    /// It left in an orderly way, holding nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left: bool,
    /// It may be there and is not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Hold>,
    /// A person let it in, whatever it says about itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waived: bool,
    /// Its unfence devices have said yes since it was last lost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unfenced: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What has to be equal on every node at the same point of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub members: BTreeMap<u64, MemberRecord>,
    pub locks: Table,
    #[serde(default)]
    pub keys: Keys,
    #[serde(default)]
    pub audit: Audit,
    #[serde(default)]
    pub fencing: Fencing,
    #[serde(default)]
    pub configured: Configured,
    /// How often a node of a pair went on alone, and which one last.
    #[serde(default)]
    pub forced: (u64, u64),
}

/// What applying a command means for the node that looks on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Decided(Decided),
    /// A node's incarnation has begun or come back.
    Joined {
        node: u64,
        incarnation: u64,
        restarted: bool,
    },
    Lost {
        node: u64,
    },
    /// A node went in an orderly way.
    Left {
        node: u64,
    },
    /// A node of a pair went on alone.
    Forced,
    /// Another configuration is in force.
    Configured {
        version: u32,
    },
    /// A call was applied (or was known already); its node need not send it again.
    Taken {
        node: u64,
        seq: u64,
    },
    /// Calls before this one are missing: the node has to send from `wanted` on again.
    Gap {
        node: u64,
        wanted: u64,
    },
    Fence(News),
}

impl State {
    /// The state a snapshot carries.
    ///
    /// # Errors
    /// The bytes are not a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The bytes for a snapshot.
    ///
    /// # Errors
    /// None in practice: every value of the state has a JSON form.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Applies one command.
    pub fn apply(&mut self, command: Command, effects: &mut Vec<Effect>) {
        let mut decided = Vec::new();
        match command {
            Command::Joined { node, incarnation, boot, store, unclean, time } => {
                self.joined(node, incarnation, boot, store, unclean, time, &mut decided, effects);
            }
            Command::Lost { node, incarnation, time } => {
                if let Some(member) = self.members.get_mut(&node)
                    && member.incarnation == incarnation
                    && member.present
                {
                    (member.present, member.since, member.unfenced) = (false, time, false);
                    self.locks.stop_waiting(node, time, &mut decided);
                    let name = self.name_of(node);
                    self.audit.record(time, "lost", &name, "leader", &format!("incarnation {incarnation} is silent"));
                    effects.push(Effect::Lost { node });
                }
            }
            Command::Call { node, incarnation, seq, time, call } => {
                let Some(member) = self.members.get_mut(&node) else { return };
                // Whatever a fenced run still asked for is as if it had never been asked.
                if member.incarnation != incarnation || member.fenced || member.left {
                    return;
                }
                // A node that is not there must not be given anything: it asks again when it is back.
                if !member.present {
                    effects.push(Effect::Gap { node, wanted: member.next_seq });
                    return;
                }
                if seq > member.next_seq {
                    effects.push(Effect::Gap { node, wanted: member.next_seq });
                    return;
                }
                effects.push(Effect::Taken { node, seq });
                if seq == member.next_seq {
                    member.next_seq += 1;
                    self.call(CallId { node, seq }, time, call, &mut decided, effects);
                }
            }
            Command::Configured { conf, time } => {
                if self.configured.current().is_none() {
                    // There is nothing yet that it could contradict.
                    let _ = self.configure(*conf, time, None, &mut decided, effects);
                }
            }
            Command::Voters { changes, who, time } => {
                for (kind, node) in changes {
                    let subject = self.name_of(node);
                    self.audit.record(time, &kind, &subject, &who, "");
                }
            }
            Command::Forced { forced, time } => self.went_on_alone(&forced, time, &mut decided, effects),
            Command::FenceAsked { node, name, incarnation, who, why, time } => {
                let mut results = Results { decided: &mut decided, effects };
                let asked = Wanted { node, name: &name, incarnation, who: &who, why: &why, time };
                self.fence_asked(asked, &mut results);
            }
            Command::FenceDone { operation, incarnation, end, time } => {
                let mut results = Results { decided: &mut decided, effects };
                self.fence_done(operation, incarnation, end, time, &mut results);
            }
            Command::Held { node, name, why, time } => {
                self.hold(node, &name, &why, false, time, &mut Results { decided: &mut decided, effects });
            }
        }
        effects.extend(decided.into_iter().map(Effect::Decided));
    }

    fn went_on_alone(&mut self, forced: &Forced, time: u64, decided: &mut Vec<Decided>, effects: &mut Vec<Effect>) {
        if forced.epoch <= self.forced.0 {
            return;
        }
        self.forced = (forced.epoch, forced.node);
        let (name, peer) = (self.name_of(forced.node), self.name_of(forced.peer));
        let why = format!("{peer} (incarnation {}) is off: {}", forced.incarnation, forced.how);
        self.audit.record(time, "forced", &name, &forced.who, &why);
        let end = forced.end.clone().unwrap_or(FenceEnd::Acknowledged { who: forced.who.clone() });
        let (node, run, who, how) = (forced.peer, forced.incarnation, &forced.who, &forced.how);
        self.confirmed_outside(node, &peer, run, end, who, how, time, decided, effects);
        effects.push(Effect::Forced);
    }

    #[allow(clippy::too_many_arguments)] // the fields of one command
    fn joined(
        &mut self,
        node: u64,
        incarnation: u64,
        boot: String,
        store: String,
        unclean: bool,
        time: u64,
        decided: &mut Vec<Decided>,
        effects: &mut Vec<Effect>,
    ) {
        if self.configured.lacks(node) || self.configured.removed(&store).is_some() {
            return;
        }
        // One that counts like the former run without being it started over with an empty log: it
        // hears so from the others and comes again as a later one. So does one that left: its joining may
        // have been proposed twice, and the second time be decided behind its leaving.
        if self.members.get(&node).is_some_and(|member| {
            let is_back = !member.present && !member.left && member.boot == boot && member.store == store;
            incarnation < member.incarnation || (incarnation == member.incarnation && !is_back)
        }) {
            return;
        }
        if !self.may_join(node, &boot, unclean, time, &mut Results { decided, effects }) {
            return;
        }
        let known = self.members.get(&node);
        let former = known.map_or(0, |member| member.incarnation);
        let restarted = incarnation > former;
        let rebooted = known.is_none_or(|member| member.boot != boot);
        // The watchdog of a daemon that ended runs on until another one of that boot closes it.
        let armed = !rebooted && known.is_some_and(|member| member.armed);
        let unfenced = known.is_some_and(|member| member.unfenced && !(rebooted && member.present));
        let next_seq = known.filter(|_| !restarted).map_or(1, |member| member.next_seq);
        let name = self.name_of(node);
        let how = if restarted { "" } else { " is back" };
        self.audit.record(time, "joined", &name, "leader", &format!("incarnation {incarnation}{how}"));
        if restarted {
            let held = if rebooted { self.locks.owned_by(node) + self.keys.owned_by(node) } else { 0 };
            if held > 0 {
                let why = format!("{held} locks and keys of its former boot are free");
                self.audit.record(time, "recovered", &name, "leader", &why);
            }
            self.locks.returned(node, rebooted, time, decided);
            self.keys.drop_node(node, rebooted);
            self.keys.forget_results(node);
            // Whoever asked for these is gone.
            decided.retain(|decided| decided.call.node != node);
            self.fencing.forget_calls(node);
        }
        let record = MemberRecord {
            present: true,
            since: time,
            incarnation,
            boot,
            store,
            next_seq,
            armed,
            fenced: false,
            left: false,
            held: None,
            waived: false,
            unfenced,
        };
        self.members.insert(node, record);
        effects.push(Effect::Joined { node, incarnation, restarted });
    }

    fn call(&mut self, id: CallId, time: u64, call: Op, decided: &mut Vec<Decided>, effects: &mut Vec<Effect>) {
        if matches!(call, Op::Lock { .. } | Op::Convert { .. } | Op::Accept { .. })
            && let Some(refusal) = self.never_granted(id.node)
        {
            return decided.push(Decided { call: id, result: Err(refusal) });
        }
        if let Op::Offer { to, .. } = call
            && let Some(refusal) = self.never_granted(to)
        {
            return decided.push(Decided { call: id, result: Err(refusal) });
        }
        let (node, seq) = (id.node, id.seq);
        let host = Owner::host(node);
        let owner = |connection, session| Owner { node, connection, session };
        let call = match self.fence_op(id, time, call, &mut Results { decided, effects }) {
            Ok(()) => return,
            Err(call) => call,
        };
        let locks = &mut self.locks;
        let result = match call {
            Op::Lock { resource, connection, session, mode, now_or_never, note } => {
                let (resource, note, owner) = (resource.as_str(), note.as_str(), &owner(connection, session));
                locks.lock(Asked { resource, owner, mode, now_or_never, note, seq, time, value: None }, decided);
                return;
            }
            Op::Convert { resource, connection, session, mode, now_or_never, value } => {
                let (resource, value, owner) = (resource.as_str(), value.as_deref(), &owner(connection, session));
                locks.convert(Asked { resource, owner, mode, now_or_never, note: "", seq, time, value }, decided);
                return;
            }
            Op::Withdraw { resource, call } => {
                locks.withdraw(&resource, CallId { node, seq: call }, time, decided);
                return;
            }
            Op::Close { connection } => {
                locks.close(&Owner::connection(node, connection), time, decided);
                self.keys.close(keys::Owner { node, connection: Some(connection) });
                return;
            }
            Op::Unlock { resource, connection, session, value } => {
                locks.unlock(&resource, &owner(connection, session), value.as_deref(), time, decided)
            }
            Op::Offer { resource, to } if to == id.node => {
                let message = format!("{resource}: offered to the host that holds it");
                Err(Refusal::new(ErrorKind::Invalid, message))
            }
            Op::Configure { conf } => self.configure(*conf, time, None, decided, effects),
            Op::Stored(stored) => {
                self.stored(id.node, stored);
                Ok(Value::Done {})
            }
            Op::Leave(leave) => self.leave(id.node, time, leave, decided, effects),
            Op::Offer { resource, to } => locks.offer(&resource, &host, to),
            Op::Accept { resource, offer } => locks.accept(&resource, &host, offer, time, decided),
            Op::Retract { resource, offer } => locks.retract(&resource, &host, offer),
            Op::Put { key, value, if_revision, owner, connection } => {
                let owner = match owner {
                    KeyOwner::Cluster => None,
                    KeyOwner::Host => Some(keys::Owner { node: id.node, connection: None }),
                    KeyOwner::Connection => Some(keys::Owner { node: id.node, connection: Some(connection) }),
                };
                let result = self.keys.put(&key, value, if_revision, owner);
                self.keys.ended(id.node, id.seq, &result);
                result.map(|revision| Value::Revision { revision })
            }
            Op::Delete { key, if_revision } => {
                let result = self.keys.delete(&key, if_revision);
                self.keys.ended(id.node, id.seq, &result);
                result.map(|revision| Value::Revision { revision })
            }
            // Whoever asked reads the state as it is now.
            Op::Get { .. } | Op::Keys { .. } => Ok(Value::Done {}),
            Op::Fence { .. } | Op::FenceAck { .. } | Op::FenceTested { .. } | Op::Unfence { .. } | Op::Armed { .. } => {
                return;
            }
        };
        decided.push(Decided { call: id, result: result as Result<Value, Refusal> });
    }
}
