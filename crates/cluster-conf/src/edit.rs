//! Changing one value of the text and nothing else of it.

use roxmltree::Document;

use crate::ConfError;

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

    #[test]
    fn only_the_bytes_of_the_version_change() {
        let text = "<!-- config_version=\"9\" -->\n<cluster name='a'\n config_version = '12' >\r\n  \
                    <clusternodes><clusternode name=\"n1\" nodeid=\"1\"/><!-- größe --></clusternodes></cluster>\n\n";
        let changed = with_version(text, 13).unwrap();
        assert_eq!(changed, text.replace("'12'", "'13'"));
        assert_eq!(crate::Conf::parse("f", &changed).unwrap().version, 13);
        assert_eq!(with_version(&changed, 12).unwrap(), text);
        assert!(with_version("<cluster/>", 1).is_err());
    }
}
