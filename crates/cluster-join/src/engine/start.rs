//! How an engine begins, and begins anew with another log.

use std::collections::BTreeMap;

use cluster_conf::Conf;
use raft::eraftpb::ConfState;
use raft::{Config, RawNode};

use super::calls::Calls;
use super::early::Early;
use super::fencing::Fencer;
use super::keys::Watches;
use super::lease::Leases;
use super::membership::Membership;
use super::peers::Peers;
use super::unfence::Unfence;
use super::{Engine, LogLength, Now, forced};
use crate::log::{Identity, Loaded, Store};
use crate::peer::plausible;
use crate::state::State;

/// Ticks of the consensus library in one token time.
pub(super) const TICKS: u32 = 20;

/// Who votes before the first entry of the log.
pub(super) fn formation(identity: &Identity) -> ConfState {
    ConfState { voters: identity.voters.clone(), learners: identity.learners.clone(), ..ConfState::default() }
}

fn raw_node(id: u64, applied: u64, store: Store) -> anyhow::Result<RawNode<Store>> {
    let ticks = TICKS as usize;
    let config = Config {
        id,
        election_tick: ticks,
        heartbeat_tick: ticks / 5,
        min_election_tick: ticks,
        max_election_tick: ticks + ticks / 2,
        applied,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 256,
        check_quorum: true,
        pre_vote: true,
        batch_append: true,
        max_committed_size_per_ready: 16 << 20,
        ..Config::default()
    };
    Ok(RawNode::new(&config, store, &slog::Logger::root(slog::Discard, slog::o!()))?)
}

impl Engine {
    /// An engine that goes on where `loaded` ends.
    ///
    /// # Errors
    /// Log and snapshot do not belong together.
    pub fn new(
        conf: Conf,
        identity: Identity,
        boot: String,
        loaded: Loaded,
        seed: u64,
        now: Now,
    ) -> anyhow::Result<Self> {
        let loaded = if identity.start_over { Loaded::default() } else { loaded };
        let mut conf_state = formation(&identity);
        let mut state = State::default();
        let mut applied = 0;
        if let Some(snapshot) = &loaded.snapshot {
            anyhow::ensure!(plausible(snapshot.get_metadata().get_conf_state()), "the snapshot has impossible voters");
            conf_state = snapshot.get_metadata().get_conf_state().clone();
            applied = snapshot.get_metadata().index;
            state = State::decode(snapshot.get_data())?;
        }
        let batch = loaded.log.number;
        let store = Store::new(conf_state, loaded)?;
        let blank = store.last() == 0;
        let raw = raw_node(identity.node, applied, store)?;
        let token_ms = u64::try_from(conf.token.as_millis())?;
        let mut engine = Self {
            peers: Peers::new(&conf, identity.node, now),
            calls: Calls::default(),
            fencer: Fencer::default(),
            leases: Leases::new(now),
            early: Early::default(),
            unfence: Unfence::default(),
            leftovers: Vec::new(),
            fenced_out: false,
            watches: Watches::default(),
            membership: Membership::new(&conf),
            pair: forced::Pair::default(),
            token_ms,
            conf,
            identity,
            boot,
            addresses: BTreeMap::new(),
            raw,
            state,
            state_at: applied,
            batch,
            in_flight: None,
            commit_due: false,
            withheld: Vec::new(),
            next_tick: now.ms,
            attempts: 0,
            seed,
            leader: 0,
            leaderless_since: Some(now.ms),
            quorate: None,
            blank,
            was_admitted: false,
            stopping: false,
            greeting: 0,
            malformed: 0,
            log_length: LogLength::USUAL,
            out: Vec::new(),
        };
        engine.spread_elections();
        engine.set_priority();
        if let Some(current) = engine.state.configured.current().cloned()
            && current.version >= engine.conf.version
        {
            engine.adopt(now, current.version, &current.text);
        }
        engine.rewire(now);
        Ok(engine)
    }

    /// Goes on as if started with this on the disk.
    pub(super) fn rebuild(&mut self, conf_state: ConfState, loaded: Loaded, applied: u64) -> anyhow::Result<()> {
        let store = Store::new(conf_state, loaded)?;
        self.raw = raw_node(self.me(), applied, store)?;
        self.in_flight = None;
        (self.commit_due, self.withheld) = (false, Vec::new());
        self.set_priority();
        self.spread_elections();
        Ok(())
    }

    /// Another length for the log than [`LogLength::USUAL`].
    pub fn set_log_length(&mut self, log_length: LogLength) {
        self.log_length = log_length;
    }

    /// The nodes' addresses on each network that they share with this one.
    pub fn set_addresses(&mut self, addresses: BTreeMap<u64, Vec<String>>) {
        self.addresses = addresses;
    }

    /// What this host has that only a member may have: it is not let in with a boot that the
    /// cluster does not know before that is gone. The others are to be greeted anew.
    pub fn set_leftovers(&mut self, leftovers: Vec<String>) {
        self.leftovers = leftovers;
        self.greeting += 1;
    }
}
