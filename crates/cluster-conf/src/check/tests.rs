use proptest::prelude::*;

use super::*;

/// A file nobody has anything to say about.
const GOOD: &str = r#"<cluster name="trio" config_version="4">
  <fence_daemon post_join_delay="20"/>
  <clusternodes>
    <clusternode name="n1" nodeid="1">
      <altname name="n1b"/>
      <fence><method name="power"><device name="pdu" port="1"/></method></fence>
    </clusternode>
    <clusternode name="n2" nodeid="2">
      <altname name="n2b"/>
      <fence><method name="power"><device name="pdu" port="2"/></method></fence>
    </clusternode>
    <clusternode name="n3" nodeid="3">
      <altname name="n3b"/>
      <fence><method name="power"><device name="pdu" port="3"/></method></fence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="pdu" agent="fence_apc" ipaddr="10.9.9.9" login="x" passwd="y"/>
  </fencedevices>
</cluster>
"#;

fn said(text: &str) -> Vec<String> {
    let findings = check(text, None).findings;
    findings.iter().map(|f| format!("{}:{}: {}: {}", f.line, f.column, f.severity, f.what)).collect()
}

/// The file with one thing changed, and what is said about it.
fn with(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    said(&GOOD.replacen(from, to, 1))
}

fn one(from: &str, to: &str, wanted: &str) {
    let said = with(from, to);
    assert!(said.iter().any(|said| said.contains(wanted)), "{wanted} in {said:#?}");
}

#[test]
fn a_file_without_faults_is_left_alone() {
    assert_eq!(said(GOOD), Vec::<String>::new());
}

#[test]
fn unknown_names_come_with_what_was_meant() {
    let wanted =
        "2:17: warning: `post_jon_delay' of <fence_daemon> is not known and not used: did you mean `post_join_delay'?";
    assert_eq!(with("post_join_delay", "post_jon_delay"), [wanted]);
    let wanted = "2:3: warning: <fence_deamon> is not known in <cluster> and not used: did you mean `fence_daemon'?";
    assert_eq!(with("fence_daemon post", "fence_deamon post"), [wanted]);
    let text = "<clusternodes><cman two_node=\"0\"/>";
    let wanted = "3:17: warning: <cman> is not known in <clusternodes> and not used: it belongs in <cluster>";
    assert_eq!(with("<clusternodes>", text), [wanted]);
}

#[test]
fn every_bad_value_is_told_not_only_the_first() {
    let text = GOOD.replace("post_join_delay=\"20\"", "post_join_delay=\"soon\" clean_start=\"yes\"");
    let text = text.replace("nodeid=\"3\"", "nodeid=\"x\"");
    let wanted = [
        "2:17: error: post_join_delay=`soon' of <fence_daemon> is not -1 to 3600 seconds",
        "2:40: error: clean_start=`yes' of <fence_daemon> is not 0 or 1",
        "12:28: error: nodeid=`x' of <clusternode> is not 1 to 4294967295",
    ];
    assert_eq!(said(&text), wanted);
}

#[test]
fn what_the_daemon_refuses_is_an_error_at_its_place() {
    assert_eq!(with("</cluster>", ""), ["1:1: error: the root node was opened but never closed"]);
    assert_eq!(with("name=\"n3\"", "name=\"n1\""), ["12:5: error: a second clusternode `n1'"]);
    assert_eq!(check("", None).count(Severity::Error), 1);
}

#[test]
fn one_plug_for_two_nodes_is_an_error() {
    let wanted = "10:43: error: fence device `pdu' has n1 at plug `1' already: fencing n2 would fence n1";
    assert_eq!(with("port=\"2\"", "port=\"1\""), [wanted]);
    // The same switch under another name is the same switch.
    let text = GOOD.replace("<device name=\"pdu\" port=\"2\"", "<device name=\"other\" port=\"1\"").replace(
        "<fencedevices>",
        "<fencedevices><fencedevice name=\"other\" agent=\"fence_apc\" ipaddr=\"10.9.9.9\"/>",
    );
    assert!(said(&text)[0].contains("fencing n2 would fence n1"), "{:?}", said(&text));
    let none = GOOD.replace(" port=\"1\"", "").replace(" port=\"2\"", "");
    assert!(said(&none)[0].contains("serves n1 as well and is told no plug"), "{:?}", said(&none));
    let by_name = none.replace(" port=\"3\"", "").replace("fence_apc", "fence_scsi");
    assert_eq!(said(&by_name), Vec::<String>::new());
}

#[test]
fn a_device_that_hits_another_node_or_dies_with_its_own_is_an_error() {
    one(
        "port=\"2\"",
        "port=\"2\" nodename=\"n3\"",
        "10:63: error: fence device `pdu' of n2 is told nodename=\"n3\": it would fence n3",
    );
    one("port=\"2\"", "port=\"2\" ipaddr=\"n2b\"", "error: fence device `pdu' of n2 is at n2b, which is n2 itself");
    assert_eq!(with("port=\"2\"", "port=\"2\" nodename=\"n2\""), Vec::<String>::new());
}

#[test]
fn masks_and_people_are_not_enough() {
    let text = GOOD.replace("fence_apc", "fence_aoemask");
    assert_eq!(said(&text).len(), 3);
    assert!(said(&text)[0].contains("error: method `power' of n1 is fence_aoemask alone"), "{:?}", said(&text));
    let text = GOOD.replace("fence_apc", "fence_manual");
    assert!(said(&text)[0].contains("warning: fence_manual is all that n1 can be fenced with"), "{:?}", said(&text));
    let text = text.replace("<clusternodes>", "<watchdog/><clusternodes>");
    assert_eq!(said(&text), Vec::<String>::new());
    one(
        "<method name=\"power\"><device name=\"pdu\" port=\"2\"/></method>",
        "",
        "10:7: warning: n2 has no fence method",
    );
    one("<device name=\"pdu\" port=\"2\"/>", "", "error: method `power' of n2 has no device");
}

#[test]
fn even_votes_need_a_witness() {
    let third =
        GOOD[GOOD.find("    <clusternode name=\"n3\"").unwrap()..GOOD.find("  </clusternodes>").unwrap()].to_owned();
    let two = GOOD.replace(&third, "");
    assert_eq!(said(&two).len(), 1);
    assert!(said(&two)[0].starts_with("3:3: warning: 2 votes: a cluster cut in two halves stops"), "{:?}", said(&two));
    let witness = GOOD.replace("nodeid=\"3\"", "nodeid=\"3\" witness=\"1\"");
    assert!(said(&witness)[0].contains("warning: n3 is a witness, runs nothing and is never fenced"));
    let pair = two.replace("<clusternodes>", "<cman two_node=\"1\" expected_votes=\"1\"/><clusternodes>");
    assert_eq!(said(&pair), Vec::<String>::new());
    let bare = pair.replace("<device name=\"pdu\" port=\"1\"/>", "").replace("<device name=\"pdu\" port=\"2\"/>", "");
    let bare = bare.replace("<method name=\"power\"></method>", "");
    assert!(said(&bare).iter().any(|said| said.contains("two_node=\"1\" without fencing")), "{:?}", said(&bare));
    let equal = pair.replace("port=\"1\"", "port=\"1\" delay=\"5\"").replace("port=\"2\"", "port=\"2\" delay=\"5\"");
    assert!(said(&equal)[0].contains("delay=\"5\" and delay=\"5\": when the link"), "{:?}", said(&equal));
    let apart = equal.replacen("delay=\"5\"", "delay=\"0\"", 1);
    assert_eq!(said(&apart), Vec::<String>::new());
}

#[test]
fn one_network_is_a_warning() {
    let one = GOOD.replace("<altname name=\"n2b\"/>", "");
    assert_eq!(said(&one), ["8:5: warning: n2 has no <altname> and others have: it has one link only"]);
    let none = one.replace("<altname name=\"n1b\"/>", "").replace("<altname name=\"n3b\"/>", "");
    assert_eq!(said(&none).len(), 1);
    assert!(said(&none)[0].starts_with("3:3: warning: one network only"));
    let same = GOOD.replace("n2b", "n2");
    assert!(said(&same)[0].contains("9:7: error: the altname of n2 is its name"), "{:?}", said(&same));
}

#[test]
fn times_that_contradict_each_other_are_told() {
    one(
        "post_join_delay=\"20\"",
        "post_join_delay=\"0\"",
        "2:17: error: post_join_delay 0 s is not longer than two tokens of 1 s",
    );
    one("post_join_delay=\"20\"", "post_join_delay=\"2\"", "2:17: warning: post_join_delay 2 s");
    assert_eq!(with("post_join_delay=\"20\"", "post_join_delay=\"-1\""), Vec::<String>::new());
    let slow = "<totem token=\"5000\"/><watchdog timeout=\"5\"/><clusternodes>";
    one("<clusternodes>", slow, "3:34: error: watchdog timeout 5 s and token 5 s: a pause of 3.75 s");
    one("<clusternodes>", &slow.replace("=\"5\"", "=\"6\""), "3:34: warning: watchdog timeout 6 s");
    let wait = "post_fail_delay=\"30\"/><watchdog";
    one("/>", &format!(" {wait}/>"), "warning: post_fail_delay 30 s is longer than the ");
    one(
        "<clusternodes>",
        "<watchdog quorum_grace=\"30\"/><clusternodes>",
        "warning: quorum_grace 30 s is longer than post_join_delay 20 s",
    );
    one(
        "port=\"2\"",
        "port=\"2\" delay=\"60\"",
        "error: fence device `pdu' pauses 60 s (delay, power_wait) and is stopped after 60 s",
    );
    one(
        "port=\"2\"",
        "port=\"2\" timeout=\"10\" power_timeout=\"20\"",
        "10:63: warning: fence device `pdu' is stopped after 10 s",
    );
    one("port=\"2\"", "port=\"2\" timeout=\"never\"", "error: fence device `pdu': timeout is not a number of seconds");
    let both =
        GOOD.replace("<clusternodes>", "<watchdog/><clusternodes>").replace("port=\"2\"", "port=\"2\" delay=\"9\"");
    assert!(said(&both)[0].contains("pauses 9 s; a lost host has reset itself after "), "{:?}", said(&both));
}

#[test]
fn the_bound_comes_with_the_report() {
    assert!(check(GOOD, None).bound().is_none());
    let text = GOOD.replace("<clusternodes>", "<watchdog/><clusternodes>");
    let report = check(&text, None);
    assert_eq!(report.bound(), Bound::of(report.conf.as_ref().unwrap()));
    assert_eq!(report.bound().unwrap().lease.as_millis(), 1000);
}

#[test]
fn what_agents_say_stands_at_their_devices() {
    struct Strict;
    impl Agents for Strict {
        fn method(&self, method: &crate::Method) -> Option<String> {
            method.devices[0].attributes.iter().any(|(_, value)| value == "3").then(|| "it stays on".into())
        }
        fn device(&self, device: &crate::Device) -> Vec<(Severity, String)> {
            vec![(Severity::Warning, format!("{} has {} attributes", device.agent, device.attributes.len()))]
        }
    }
    let findings = check(GOOD, Some(&Strict)).findings;
    let said: Vec<_> = findings.iter().map(|f| format!("{}:{}: {}", f.line, f.column, f.what)).collect();
    let wanted = [
        "14:14: method `power' of n3: it stays on",
        "6:43: fence_apc has 4 attributes",
        "10:43: fence_apc has 4 attributes",
        "14:43: fence_apc has 4 attributes",
    ];
    assert_eq!(said, wanted);
}

#[test]
fn nonsense_is_bounded_in_what_is_said() {
    let mut text = String::from("<cluster name=\"a\" config_version=\"1\">");
    for number in 0..5000 {
        text.push_str(&format!("<x{number}/>"));
    }
    text.push_str("</cluster>");
    assert!(check(&text, None).findings.len() <= MAX_FINDINGS + 1);
}

proptest! {
    #[test]
    fn any_text_is_judged(text in ".{0,400}") {
        let report = check(&text, None);
        prop_assert!(report.conf.is_some() || report.count(Severity::Error) > 0);
    }

    /// A good file with a piece cut out, doubled or replaced: every finding lies within it.
    #[test]
    fn a_damaged_file_is_judged_within_its_lines(
        at in 0..GOOD.len(),
        length in 0usize..60,
        piece in "[ -~]{0,30}|<[a-z_]{1,12} [a-z_]{1,9}=\"[0-9-]{0,25}\"/>",
    ) {
        let until = (at + length).min(GOOD.len());
        let text = format!("{}{piece}{}", &GOOD[..at], &GOOD[until..]);
        let report = check(&text, None);
        let lines = u32::try_from(text.lines().count()).unwrap() + 1;
        for finding in &report.findings {
            prop_assert!((1..=lines).contains(&finding.line) && finding.column >= 1, "{finding:?}");
        }
        prop_assert_eq!(report.conf.is_none(), Conf::parse("f", &text).is_err());
        prop_assert!(report.conf.is_some() || report.count(Severity::Error) > 0);
    }

    /// Numbers of any size in every attribute that takes one.
    #[test]
    fn hostile_numbers_are_judged(number in "-?[0-9]{1,40}|[0-9]{1,3}\\.[0-9]{1,9}|[nN]a[nN]|-?inf|1e999") {
        let text = GOOD
            .replace("post_join_delay=\"20\"", &format!("post_fail_delay=\"{number}\""))
            .replace("port=\"2\"", &format!("port=\"2\" delay=\"{number}\" timeout=\"{number}\" power_wait=\"{number}\""))
            .replace("<clusternodes>", &format!("<totem token=\"{number}\"/><watchdog timeout=\"{number}\" quorum_grace=\"{number}\"/><clusternodes>"));
        let report = check(&text, None);
        prop_assert!(report.conf.is_some() || report.count(Severity::Error) > 0);
    }
}
