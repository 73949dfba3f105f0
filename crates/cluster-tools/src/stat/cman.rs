//! What cman_tool printed, for programs that read it: widths, order and trailing blanks are its
//! own.

use std::fmt::Write;
use std::net::SocketAddr;

use cluster_conf::Conf;
use nines_cli::clean;
use nines_proto::ctl::{Fences, LockState, Member, MemberState, Status, utc};
use serde::Serialize;

/// The version of cman whose lines these are.
const VERSION: &str = "6.2.0";

/// Numbers a cluster by its name as cman did: each letter added to twice what the ones before it
/// came to, and of that the lower 16 bits.
#[must_use]
pub fn cluster_id(name: &str) -> u16 {
    name.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(2).wrapping_add(byte.into()))
}

/// `cman_tool status`. `conf` is the configuration where there is one, `services` how many
/// `services` lists.
pub fn status(status: &Status, conf: Option<&Conf>, services: usize) -> String {
    let me = status.members.iter().find(|member| member.name == status.node);
    let state = match me.map(|me| me.state) {
        Some(MemberState::Member) => "Cluster-Member",
        Some(MemberState::Left) => "Not-in-Cluster",
        Some(_) => "Joining",
        None => "Starting",
    };
    let two_node = conf.is_some_and(|conf| conf.two_node);
    let present = status.members.iter().filter(|member| member.state == MemberState::Member).count();
    // cman's grew with each node that came, too, and was never below an incarnation.
    let generation = status.members.iter().fold(0u64, |sum, member| sum.saturating_add(member.incarnation));
    let expected = if two_node { 1 } else { status.votes_expected };
    let held = status.members.iter().any(|member| member.state == MemberState::Held);
    let flags = [("2node ", two_node), ("DisallowedNodes ", held)];
    let flags: String = flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).collect();
    let lines = [
        ("Version", VERSION.to_owned()),
        ("Config Version", status.config_version.to_string()),
        ("Cluster Name", clean(&status.cluster).into_owned()),
        ("Cluster Id", cluster_id(&status.cluster).to_string()),
        ("Cluster Member", if state == "Cluster-Member" { "Yes" } else { "No" }.into()),
        ("Cluster Generation", generation.to_string()),
        ("Membership state", state.into()),
        ("Nodes", present.to_string()),
        ("Expected votes", expected.to_string()),
        ("Total votes", status.votes.to_string()),
        ("Node votes", me.map_or(0, |me| me.votes).to_string()),
        ("Quorum", format!("{} {}", status.votes_needed, if status.quorate { " " } else { "Activity blocked" })),
        ("Active subsystems", services.to_string()),
        ("Flags", flags),
        ("Ports Bound", "0  ".into()),
        ("Node name", clean(&status.node).into_owned()),
        ("Node ID", me.map_or(0, |me| me.id).to_string()),
        // Members are reached one by one.
        ("Multicast addresses", String::new()),
        ("Node addresses", me.map_or_else(String::new, |me| format!("{} ", address(me)))),
    ];
    let mut out = String::new();
    for (key, value) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{key}: {value}");
    }
    if held {
        let names = status.members.iter().filter(|member| member.state == MemberState::Held);
        let names: String = names.map(|member| format!("{} ", clean(&member.name))).collect();
        let _ = writeln!(out, "Disallowed nodes: {names}");
    }
    out
}

/// The address without the port of our sessions.
fn address(member: &Member) -> String {
    match member.address.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => clean(&member.address).into_owned(),
    }
}

/// A row of `nodes`, for whoever looks for changes.
#[derive(Debug)]
pub struct NodeRow {
    pub name: String,
    pub state: String,
}

pub fn node(member: &Member) -> NodeRow {
    NodeRow { name: member.name.clone(), state: format!("{} {}", letter(member.state), member.incarnation) }
}

fn letter(state: MemberState) -> char {
    match state {
        MemberState::Member => 'M',
        MemberState::Held => 'd',
        MemberState::Lost | MemberState::Absent | MemberState::Left | MemberState::Fenced => 'X',
    }
}

/// `cman_tool nodes`, with `all` as with `-a`.
pub fn nodes(status: &Status, all: bool) -> String {
    let mut out = String::from("Node  Sts   Inc   Joined               Name\n");
    for member in &status.members {
        let joined = member.since.filter(|_| member.state == MemberState::Member).map(utc).unwrap_or_default();
        let joined = joined.get(..19).unwrap_or_default();
        let Member { id, incarnation, name, .. } = member;
        // Writing to a string does not fail.
        let _ = writeln!(out, "{id:4}   {}  {incarnation:5}   {joined:19}  {}", letter(member.state), clean(name));
        if all {
            let _ = writeln!(out, "       Addresses: {}", address(member));
        }
    }
    out
}

/// A row of `services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub level: u32,
    pub name: String,
    pub id: u32,
    pub state: &'static str,
    /// Node ids.
    pub members: Vec<u64>,
}

/// The fence domain, and a lock space once a lock is known.
pub fn services(status: &Status, locks: &[LockState], fences: &Fences) -> Vec<Service> {
    let present = status.members.iter().filter(|member| member.state == MemberState::Member);
    let members: Vec<u64> = present.map(|member| member.id).collect();
    let maker = members.first().and_then(|id| u16::try_from(*id).ok()).unwrap_or_default();
    let service = |number: u32, kind: &'static str, level: u32, name: &str, state: &'static str| Service {
        kind,
        level,
        name: name.into(),
        id: number << 16 | u32::from(maker),
        state,
        members: members.clone(),
    };
    let failed = !fences.pending.is_empty();
    let fencing = match (status.quorate, failed) {
        (false, _) => "FAIL_STOP_WAIT",
        (true, true) => "FAIL_START_WAIT",
        (true, false) => "none",
    };
    let mut list = vec![service(1, "fence", 0, "default", fencing)];
    if !locks.is_empty() {
        let state = match (status.quorate, failed) {
            (false, _) => "FAIL_STOP_WAIT",
            (true, true) => "FAIL_ALL_STOPPED",
            (true, false) => "none",
        };
        list.push(service(2, "dlm", 1, "clvmd", state));
    }
    list
}

/// `cman_tool services`.
pub fn services_text(services: &[Service]) -> String {
    let width = services.iter().map(|service| service.name.len()).max().unwrap_or(0).max(8);
    let mut out = format!("{:16} {:5} {:width$} {:8} {:12}\n", "type", "level", "name", "id", "state");
    for Service { kind, level, name, id, state, members } in services {
        let members: Vec<String> = members.iter().map(u64::to_string).collect();
        // Writing to a string does not fail.
        let _ = writeln!(out, "{kind:16} {level:<5} {name:width$} {id:08x} {state:12}\n[{}]", members.join(" "));
    }
    out
}
