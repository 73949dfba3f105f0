//! Changes of the text itself, which leave everything else in it as its author wrote it.

use std::ops::Range;

use anyhow::{Context, ensure};
use blake2::{Blake2s256, Digest};
use roxmltree::{Document, Node};

use crate::ConfError;

/// Names a text: two nodes with the same version have the same hash of it.
#[must_use]
pub fn hash(text: &str) -> String {
    Blake2s256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// `text` without the node `id`, with the next version. What counts votes goes with it, since it
/// would count the node.
///
/// # Errors
/// `text` is not a cluster.conf, has no such node, or has only that one.
pub fn without(text: &str, id: u64) -> anyhow::Result<String> {
    let document = Document::parse(text)?;
    let root = document.root_element();
    let list = root.children().find(|node| node.has_tag_name("clusternodes")).context("<clusternodes> is missing")?;
    let nodes: Vec<Node<'_, '_>> = list.children().filter(|node| node.has_tag_name("clusternode")).collect();
    ensure!(nodes.len() > 1, "the only node cannot be removed");
    let place = nodes.iter().position(|node| node.attribute("nodeid").is_some_and(|text| text.parse() == Ok(id)));
    let node = &nodes[place.context("the node has no nodeid in the text")?];
    let version = root.attribute_node("config_version").context("config_version is missing")?;
    let next: u32 = version.value().parse().context("config_version")?;
    let next = next.checked_add(1).context("config_version cannot grow any more")?;
    let mut edits: Vec<(Range<usize>, String)> =
        vec![(version.range(), format!("config_version=\"{next}\"")), (with_indent(text, node.range()), String::new())];
    for cman in root.children().filter(|node| node.has_tag_name("cman")) {
        for attribute in cman.attributes().filter(|at| ["two_node", "expected_votes"].contains(&at.name())) {
            edits.push((with_indent(text, attribute.range()), String::new()));
        }
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for (range, new) in edits {
        text.replace_range(range, &new);
    }
    Ok(text)
}

/// The range with the blanks before it, so that no empty line is left.
fn with_indent(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text[..range.start].trim_end_matches([' ', '\t']);
    before.strip_suffix('\n').map_or(before, |line| line.strip_suffix('\r').unwrap_or(line)).len()..range.end
}

/// `text` with another `config_version`: only that attribute's bytes differ.
///
/// # Errors
/// The text is not a configuration.
pub fn with_version(text: &str, version: u32) -> Result<String, ConfError> {
    crate::Conf::parse("cluster.conf", text)?;
    // The reader took it, so the attribute is there.
    let value = Document::parse(text).ok().and_then(|document| {
        let root = document.root_element();
        let attribute = root.attributes().find(|attribute| attribute.name() == "config_version")?;
        Some(attribute.range_value())
    });
    let value = value.unwrap_or(0..0);
    Ok(format!("{}{version}{}", &text[..value.start], &text[value.end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conf;

    const TEXT: &str = r#"<?xml version="1.0"?>
<cluster name="pair" config_version="41">
  <!-- ours -->
  <cman two_node="1" expected_votes="1" port="5500"/>
  <clusternodes>
    <clusternode name="xen1" nodeid="1"><fence/></clusternode>
    <clusternode name="xen2" nodeid="2">
      <fence/>
    </clusternode>
  </clusternodes>
</cluster>
"#;

    #[test]
    fn a_node_is_taken_out_and_the_rest_stays_as_it_was() {
        let less = without(TEXT, 2).unwrap();
        let wanted = r#"<?xml version="1.0"?>
<cluster name="pair" config_version="42">
  <!-- ours -->
  <cman port="5500"/>
  <clusternodes>
    <clusternode name="xen1" nodeid="1"><fence/></clusternode>
  </clusternodes>
</cluster>
"#;
        assert_eq!(less, wanted);
        let conf = Conf::parse("x", &less).unwrap();
        assert_eq!((conf.version, conf.voters(), conf.two_node), (42, vec![1], false));
        assert!(without(TEXT, 3).is_err());
        assert_eq!(without(&less, 1).unwrap_err().to_string(), "the only node cannot be removed");
        assert!(without("<cluster", 1).is_err());
    }

    #[test]
    fn hashes_differ_with_the_text() {
        assert_eq!(hash(TEXT), hash(TEXT));
        assert_eq!(hash(TEXT).len(), 32);
        assert_ne!(hash(TEXT), hash(&TEXT[1..]));
    }

    #[test]
    fn only_the_bytes_of_the_version_change() {
        let text = "<!-- config_version=\"9\" -->\n<cluster name='a'\n config_version = '12' >\r\n  \
                    <clusternodes><clusternode name=\"n1\" nodeid=\"1\"/><!-- größe --></clusternodes></cluster>\n\n";
        let changed = with_version(text, 13).unwrap();
        assert_eq!(changed, text.replace("'12'", "'13'"));
        assert_eq!(Conf::parse("f", &changed).unwrap().version, 13);
        assert_eq!(with_version(&changed, 12).unwrap(), text);
        assert!(with_version("<cluster/>", 1).is_err());
    }
}
