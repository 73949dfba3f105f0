//! What the fence agents on this host say about their devices.

use cluster_conf::check::{Agents, Severity};
use cluster_conf::{Device, Method};

/// The agents of this host; they are run only when asked for.
#[derive(Debug)]
pub struct Installed {
    pub ask: bool,
}

impl Agents for Installed {
    fn method(&self, method: &Method) -> Option<String> {
        fence::plan::plan(method).err().map(|error| error.to_string())
    }

    fn device(&self, device: &Device) -> Vec<(Severity, String)> {
        if !self.ask {
            return Vec::new();
        }
        match fence::metadata::metadata(&device.agent) {
            Ok(metadata) => metadata.complaints(device).into_iter().map(|what| (severity(&what), what)).collect(),
            Err(error) => vec![(Severity::Error, format!("device {}: {error}", device.name))],
        }
    }
}

/// An agent passes over what it does not know, and can do without nothing else.
fn severity(complaint: &str) -> Severity {
    let passed_over = [" does not know ", " has no effect here"];
    if passed_over.iter().any(|part| complaint.contains(part)) { Severity::Warning } else { Severity::Error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> fence::metadata::Metadata {
        let text = r#"<resource-agent name="fence_x" shortdesc="x"><parameters>
            <parameter name="ip" unique="0" required="1"><content type="string"/></parameter>
            <parameter name="plug" unique="0" required="0"><content type="string"/></parameter>
            </parameters><actions><action name="off"/><action name="on"/></actions></resource-agent>"#;
        fence::metadata::Metadata::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_an_agent_passes_over_is_a_warning_and_what_it_lacks_an_error() {
        let attributes = vec![("plgu".to_owned(), "1".to_owned()), ("pcmk_host_list".to_owned(), "n1".to_owned())];
        let device = Device { name: "d".into(), agent: "fence_x".into(), attributes };
        let said: Vec<Severity> = metadata().complaints(&device).iter().map(|what| severity(what)).collect();
        assert_eq!(
            said,
            [Severity::Warning, Severity::Warning, Severity::Error],
            "{:?}",
            metadata().complaints(&device)
        );
    }

    #[test]
    fn an_agent_that_is_not_there_is_an_error() {
        let device = Device { name: "d".into(), agent: "fence_of_no_host".into(), attributes: Vec::new() };
        assert!(Installed { ask: false }.device(&device).is_empty());
        let said = Installed { ask: true }.device(&device);
        assert!(matches!(&said[..], [(Severity::Error, what)] if what.contains("fence_of_no_host")), "{said:?}");
    }
}
