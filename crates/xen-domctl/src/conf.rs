//! The two facts of cluster.conf(5) that are needed here: the key file, and the nodes' names.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use nines_proto::session::Key;
use roxmltree::Document;

use crate::state::read_bounded;

const CONF: &str = "/etc/cluster/cluster.conf";
const KEY: &str = "/etc/cluster/cluster.key";

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    keyfile: Option<PathBuf>,
    nodes: Vec<String>,
}

impl Conf {
    /// Reads `path`, or `$CLUSTER_CONF`, or the usual place.
    ///
    /// # Errors
    /// The file is not there or is not cluster.conf.
    pub fn load(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let path =
            path.or_else(|| std::env::var_os("CLUSTER_CONF").map(PathBuf::from)).unwrap_or_else(|| PathBuf::from(CONF));
        let name = path.display().to_string();
        let bytes = read_bounded(&path).with_context(|| name.clone())?;
        if bytes.len() > crate::file::MAX_FILE {
            bail!("{name}: more than 1 MiB");
        }
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{name}: not UTF-8"))?;
        Self::parse(&text).with_context(|| name)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let document = Document::parse(text)?;
        let root = document.root_element();
        if !root.has_tag_name("cluster") {
            bail!("<{}> where <cluster> was expected", root.tag_name().name());
        }
        let child = |name: &'static str| root.children().find(move |node| node.has_tag_name(name));
        let keyfile = child("cman").and_then(|cman| cman.attribute("keyfile")).map(PathBuf::from);
        let nodes = child("clusternodes").map(|nodes| {
            let nodes = nodes.children().filter(|node| node.has_tag_name("clusternode"));
            nodes.filter_map(|node| node.attribute("name")).map(str::to_owned).collect()
        });
        Ok(Self { keyfile, nodes: nodes.unwrap_or_default() })
    }

    /// This host's address: that of the node that bears its name, in full or up to the first dot.
    ///
    /// # Errors
    /// No node or several do, or the name has no address.
    pub fn own_address(&self, host: &str) -> anyhow::Result<IpAddr> {
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let by_short =
            || self.nodes.iter().filter(|node| node.parse::<IpAddr>().is_err() && short(node) == short(host));
        let node = match (self.nodes.iter().find(|node| *node == host), by_short().count()) {
            (Some(node), _) => node,
            (None, 1) => by_short().next().unwrap_or_else(|| unreachable!("one was counted")),
            _ => bail!("`{host}' is not one of the nodes {}; name an address with --listen", self.nodes.join(", ")),
        };
        let mut addresses = (node.as_str(), 0).to_socket_addrs().with_context(|| node.clone())?;
        addresses.next().map(|address| address.ip()).ok_or_else(|| anyhow!("{node}: the name has no address"))
    }
}

/// The cluster's key: from `given`, or cluster.conf's `keyfile`, or the usual place.
///
/// # Errors
/// The file is missing, readable by others, or of another length than a key's.
pub fn key(given: Option<PathBuf>, conf: Option<PathBuf>) -> anyhow::Result<Key> {
    let path = match given {
        Some(path) => path,
        // A host that is given everything on the command line needs no cluster.conf.
        None => Conf::load(conf)?.keyfile.unwrap_or_else(|| Path::new(KEY).into()),
    };
    Ok(Key::load(&path)?)
}

/// The host part of a member's `ADDRESS:PORT`, with another port.
///
/// # Errors
/// It is not an address.
pub fn with_port(address: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let resolved = address.to_socket_addrs().with_context(|| address.to_owned())?.next();
    let mut resolved = resolved.ok_or_else(|| anyhow!("{address}: no address"))?;
    resolved.set_port(port);
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"<cluster name="a" config_version="1"><cman keyfile="/k"/>
<clusternodes><clusternode name="127.0.0.1"/><clusternode name="localhost" votes="1"/></clusternodes></cluster>"#;

    #[test]
    fn the_key_file_and_the_nodes_are_found() {
        let conf = Conf::parse(FILE).unwrap();
        assert_eq!((conf.keyfile.as_deref(), conf.nodes.len()), (Some(Path::new("/k")), 2));
        assert!(conf.own_address("localhost.example.org").unwrap().is_loopback());
        assert!(conf.own_address("elsewhere").is_err());
        assert!(Conf::parse("<html/>").is_err());
        for length in 0..FILE.len() {
            assert!(Conf::parse(&FILE[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_members_address_keeps_its_host() {
        assert_eq!(with_port("10.0.0.2:5405", 8002).unwrap().to_string(), "10.0.0.2:8002");
        assert_eq!(with_port("[::1]:5405", 8002).unwrap().to_string(), "[::1]:8002");
        assert!(with_port("10.0.0.2", 8002).is_err());
    }
}
