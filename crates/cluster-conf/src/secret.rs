//! cluster.conf for people who may look and not steer: without what its fence devices are
//! opened with.

use std::ops::Range;

use roxmltree::{Document, Node};

/// What a name has in it that is of something secret, in small letters.
const SECRET: [&str; 11] = [
    "passw",
    "passphrase",
    "secret",
    "community",
    "snmp_auth",
    "snmp_priv",
    "api_key",
    "apikey",
    "access_key",
    "auth_key",
    "credential",
];

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word))
}

/// Attributes of what agents are told; totem's token is a time.
fn is_secret_of(node: Node<'_, '_>, name: &str) -> bool {
    is_secret(name) || name.to_ascii_lowercase().contains("token") && !node.has_tag_name("totem")
}

/// `text` with `***` for the value of each attribute that is named as a secret, and for each
/// comment that mentions one: devices that are not in use any more are often left in one. Nothing
/// where the text is no XML.
#[must_use]
pub fn without_secrets(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let mut hidden: Vec<(Range<usize>, &str)> = Vec::new();
    for node in document.descendants() {
        let secret = node.attributes().filter(|attribute| is_secret_of(node, attribute.name()));
        hidden.extend(secret.map(|attribute| (attribute.range_value(), "***")));
        let named = node.parent_element().is_some_and(|parent| is_secret_of(parent, parent.tag_name().name()));
        if node.is_text() && named {
            hidden.push((node.range(), "***"));
        } else if (node.is_comment() || node.is_pi()) && is_secret(&text[node.range()]) {
            hidden.push((node.range(), "<!-- *** -->"));
        }
    }
    hidden.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for (range, instead) in hidden {
        text.replace_range(range, instead);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conf;

    #[test]
    fn secrets_are_hidden_and_everything_else_is_as_it_was() {
        let text = r#"<?xml version="1.0"?>
<!-- root passwd="old" -->
<cluster name="c" config_version="1">
  <totem token="3000"/><!-- größe -->
  <clusternodes>
    <clusternode name="n1" nodeid="1"><fence><method name="1">
      <device name="pdu" port="1" snmp_priv_passwd = 'a &lt; "b"'/>
    </method></fence></clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="pdu" agent="fence_apc" ipaddr="10.0.0.9" login="apc" passwd="s3cret" community="private"/>
    <fencedevice name="api" agent="fence_x" Password="p" passwd_script="/x" snmp_auth_prot="MD5" token="t0ken"/>
  </fencedevices>
</cluster>
"#;
        let hidden = without_secrets(text).unwrap();
        let wanted = text
            .replace("<!-- root passwd=\"old\" -->", "<!-- *** -->")
            .replace("'a &lt; \"b\"'", "'***'")
            .replace("\"s3cret\"", "\"***\"")
            .replace("\"private\"", "\"***\"")
            .replace("Password=\"p\"", "Password=\"***\"")
            .replace("\"/x\"", "\"***\"")
            .replace("\"MD5\"", "\"***\"")
            .replace("\"t0ken\"", "\"***\"");
        assert_eq!(hidden, wanted);
        assert_eq!(Conf::parse("x", &hidden).unwrap().token, Conf::parse("x", text).unwrap().token);
        assert_eq!(without_secrets(&hidden).unwrap(), hidden);
        assert_eq!(without_secrets("<cluster passwd='x'"), None);
        let element = "<a><password>x</password></a>";
        assert_eq!(without_secrets(element).unwrap(), "<a><password>***</password></a>");
    }
}
