//! What was found, and how long a host that loses the others lives.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use cluster_conf::Bound;
use cluster_conf::check::{Finding, Report, Severity};
use nines_cli::clean;
use serde_json::json;

/// Whether the file may be used.
#[must_use]
pub fn is_good(report: &Report, strict: bool) -> bool {
    report.count(Severity::Error) == 0 && !(strict && report.count(Severity::Warning) > 0)
}

/// A finding as `file:line:column: error: what`.
#[must_use]
pub fn line(file: &Path, finding: &Finding) -> String {
    let file = file.to_string_lossy();
    let Finding { severity, line, column, what } = finding;
    format!("{}:{line}:{column}: {severity}: {}", clean(&file), clean(what))
}

/// Everything on stdout: errors, warnings, their number, the bound in its parts.
pub fn print(file: &Path, report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for Finding { severity, line, column, what } in &report.findings {
            let severity = severity.to_string();
            let object = json!({"file": file.to_string_lossy(), "line": line, "column": column,
                "severity": severity, "what": what});
            writeln!(out, "{object}")?;
        }
        if let Some(bound) = report.bound() {
            let mut object = serde_json::Map::new();
            for (name, _, time) in parts(&bound) {
                object.insert(format!("{name}_ms"), json!(u64::try_from(time.as_millis())?));
            }
            object.insert("after_lease_ms".into(), json!(u64::try_from(bound.after_lease().as_millis())?));
            object.insert("after_election_ms".into(), json!(u64::try_from(bound.after_election().as_millis())?));
            writeln!(out, "{}", json!({ "bound": object }))?;
        }
    } else {
        text(&mut out, file, report)?;
    }
    out.flush()?;
    Ok(())
}

fn text(out: &mut impl Write, file: &Path, report: &Report) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{}", line(file, finding))?;
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    writeln!(out, "{}: {}, {}", clean(&file.to_string_lossy()), many(errors, "error"), many(warnings, "warning"))?;
    let Some(bound) = report.bound() else { return Ok(()) };
    let (first, later) = (bound.after_lease(), bound.after_election());
    writeln!(out, "a host that loses the others is reset after at most {} s:", up(first))?;
    for (_, what, time) in parts(&bound) {
        writeln!(out, "{:>9} s  {what}", exact(time))?;
    }
    writeln!(out, "{:>9} s  together; {} s when the leader changes meanwhile", exact(first), exact(later))
}

/// The parts of [`Bound::after_lease`].
fn parts(bound: &Bound) -> [(&'static str, &'static str, Duration); 6] {
    let sum = bound.lease + bound.grace + bound.decide + bound.watchdog + bound.reset;
    [
        ("lease", "its lease: <totem token>", bound.lease),
        ("grace", "<watchdog quorum_grace>", bound.grace),
        ("decide", "until it has noticed, at the latest", bound.decide),
        ("watchdog", "<watchdog timeout>", bound.watchdog),
        ("reset", "until the reset has happened", bound.reset),
        ("drift", "for clocks that differ", bound.after_lease().saturating_sub(sum)),
    ]
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Whole seconds, never too few.
fn up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Milliseconds, never too few.
fn exact(time: Duration) -> String {
    let ms = time.as_nanos().div_ceil(1_000_000);
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<cluster name="a" config_version="1"><watchdog timeout="5" quorum_grace="10"/><clusternodes>
<clusternode name="n1" nodeid="1"/><clusternode name="n2" nodeid="2" weight="&#x202e;"/><clusternode name="n3" nodeid="3"/>
</clusternodes></cluster>"#;

    #[test]
    fn the_parts_of_the_bound_add_up() {
        let report = cluster_conf::check::check(TEXT, None);
        let bound = report.bound().unwrap();
        assert_eq!(parts(&bound).iter().map(|(_, _, time)| *time).sum::<Duration>(), bound.after_lease());
        assert_eq!(parts(&bound)[1].2, Duration::from_secs(10));
        let mut out = Vec::new();
        text(&mut out, Path::new("a.conf"), &report).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(&format!("is reset after at most {} s:\n", up(bound.after_lease()))), "{out}");
        assert!(out.contains("\n   10.000 s  <watchdog quorum_grace>\n"), "{out}");
        assert!(out.contains("\na.conf:1:79: warning: one network only"), "{out}");
        assert!(out.contains("\na.conf: 0 errors, 3 warnings\n"), "{out}");
        assert!(out.contains("weight=`\\u{202e}' of") && !out.contains('\u{202e}'), "{out}");
    }

    #[test]
    fn warnings_count_only_where_asked() {
        let report = cluster_conf::check::check(TEXT, None);
        assert!(is_good(&report, false) && !is_good(&report, true));
        assert!(!is_good(&cluster_conf::check::check("<a/>", None), false));
    }

    #[test]
    fn times_are_rounded_up() {
        assert_eq!((up(Duration::from_micros(1)), up(Duration::from_secs(8))), (1, 8));
        assert_eq!(exact(Duration::from_micros(8_007_500)), "8.008");
    }
}
