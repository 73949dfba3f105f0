//! Every configuration that a page or a test shows has to be one that can be used.

use std::path::Path;

use cluster_conf::check::{Severity, check};

/// The texts from `<cluster ` to `</cluster>` in a file, as a reader of the page sees them.
fn shown(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("<cluster ") {
        rest = &rest[begin..];
        let Some(end) = rest.find("</cluster>") else { break };
        let (one, behind) = rest.split_at(end + "</cluster>".len());
        rest = behind;
        // What a shell fills in, or damages on purpose, is no example.
        if !one.contains(['$', '%']) && one.lines().count() > 1 {
            found.push(one.replace("\\(dq", "\"").replace("\\e", "\\"));
        }
    }
    found
}

#[test]
fn every_example_of_a_page_has_no_error() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut examples = 0;
    for folder in ["man", "tests", "tests/lab", "scripts"] {
        let Ok(entries) = std::fs::read_dir(top.join(folder)) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            for example in shown(&text) {
                let report = check(&example, None);
                let errors: Vec<_> =
                    report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
                assert!(errors.is_empty(), "{}: {errors:#?}\n{example}", entry.path().display());
                examples += 1;
            }
        }
    }
    assert!(examples >= 2, "cluster.conf.5 alone has two examples, and {examples} were found");
}
