//! Where nodes are: an address on the first network, and perhaps one on a second.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use cluster_conf::Conf;

/// Most networks between two nodes: cluster.conf knows a node's name and its altname.
pub const RINGS: usize = 2;

/// An address on each network.
pub type Addresses = [Option<SocketAddr>; RINGS];

/// Where another node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: u64,
    pub name: String,
    /// On the networks that this node is on as well.
    pub addresses: Addresses,
}

/// Where this node and the others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub own: Addresses,
    pub others: Vec<Place>,
}

impl Places {
    /// What cluster.conf says, seen from node `me`.
    ///
    /// # Errors
    /// A name has no address, two have the same, or there is no such node.
    pub fn of(conf: &Conf, me: u64) -> anyhow::Result<Self> {
        let (first, second) = (conf.resolve()?, conf.resolve_second()?);
        let all = conf.nodes.iter().zip(first.into_iter().zip(second));
        let mut own = None;
        let mut others = Vec::new();
        for (node, (first, second)) in all {
            let addresses = [Some(first), second];
            if node.id == me {
                own = Some(addresses);
            } else {
                others.push(Place { node: node.id, name: node.name.clone(), addresses });
            }
        }
        let own = own.context("this node's own address")?;
        Ok(Self { own, others }.seen())
    }

    /// Without the addresses on networks that this node is not on.
    #[must_use]
    pub fn seen(mut self) -> Self {
        for place in &mut self.others {
            for (theirs, ours) in place.addresses.iter_mut().zip(self.own) {
                *theirs = theirs.filter(|_| ours.is_some());
            }
        }
        self
    }

    /// The addresses of every node on the networks between it and this one, as text.
    #[must_use]
    pub fn addresses(&self, me: u64) -> BTreeMap<u64, Vec<String>> {
        let text = |addresses: &Addresses| addresses.iter().flatten().map(SocketAddr::to_string).collect();
        let others = self.others.iter().map(|place| (place.node, text(&place.addresses)));
        others.chain([(me, text(&self.own))]).collect()
    }
}

impl Place {
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.addresses.iter().flatten().any(|own| own.ip() == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"<cluster name="c" config_version="1"><cman port="7000"/><clusternodes>
        <clusternode name="127.0.0.1" nodeid="1"><altname name="127.0.1.1"/></clusternode>
        <clusternode name="127.0.0.2" nodeid="2"><altname name="127.0.1.2"/></clusternode>
        <clusternode name="127.0.0.3" nodeid="3"/></clusternodes></cluster>"#;

    #[test]
    fn a_second_link_is_where_both_ends_have_an_altname() {
        let conf = Conf::parse("c", CONF).unwrap();
        let seen = Places::of(&conf, 1).unwrap();
        assert_eq!(seen.addresses(1)[&2], ["127.0.0.2:7000", "127.0.1.2:7000"]);
        assert_eq!(seen.addresses(1)[&3], ["127.0.0.3:7000"]);
        assert_eq!(Places::of(&conf, 3).unwrap().addresses(3)[&2], ["127.0.0.2:7000"]);
        assert!(Places::of(&conf, 4).is_err());
    }

    #[test]
    fn an_altname_that_is_an_address_already_is_refused() {
        let doubled = CONF.replace("127.0.1.2", "127.0.0.3");
        let error = Places::of(&Conf::parse("c", &doubled).unwrap(), 1).unwrap_err();
        assert_eq!(format!("{error:#}"), "node 127.0.0.2: altname 127.0.0.3: is the address of 127.0.0.3 as well");
    }
}
