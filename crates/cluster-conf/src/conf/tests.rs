use super::*;

/// The two-node file with manual fencing as it was written in 2005: no node ids.
const RHCS4: &str = r#"<?xml version="1.0"?>
<cluster name="xenpair" config_version="3">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes>
    <clusternode name="xen1" votes="1">
      <fence><method name="single"><device name="human" ipaddr="xen1"/></method></fence>
    </clusternode>
    <clusternode name="xen2" votes="1">
      <fence><method name="single"><device name="human" ipaddr="xen2"/></method></fence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="human" agent="fence_manual"/>
  </fencedevices>
</cluster>
"#;

/// The later form: ids given, an empty <fence/>.
const CLUSTER3: &str = r#"<cluster name="trio" config_version="1">
  <totem token="5000"/>
  <cman port="6000" keyfile="/etc/k"/>
  <clusternodes>
    <clusternode name="10.0.0.3" nodeid="3"><fence/></clusternode>
    <clusternode name="10.0.0.1" nodeid="1"><fence/></clusternode>
    <clusternode name="10.0.0.2" nodeid="2"><fence/></clusternode>
  </clusternodes>
</cluster>
"#;

fn parse(text: &str) -> Result<Conf, String> {
    Conf::parse("cluster.conf", text).map_err(|error| error.to_string())
}

#[test]
fn both_ages_of_the_file_are_read() {
    let conf = parse(RHCS4).unwrap();
    assert_eq!((conf.name.as_str(), conf.version, conf.two_node), ("xenpair", 3, true));
    let ids: Vec<_> = conf.nodes.iter().map(|node| (node.id, node.name.as_str(), node.votes)).collect();
    assert_eq!(ids, [(1, "xen1", 1), (2, "xen2", 1)]);
    assert_eq!((conf.port, conf.token, conf.warnings), (5405, Duration::from_secs(1), vec![]));
    let conf = parse(CLUSTER3).unwrap();
    assert_eq!(conf.voters(), [1, 2, 3]);
    assert_eq!((conf.port, conf.token.as_millis(), conf.keyfile), (6000, 5000, Some("/etc/k".into())));
}

#[test]
fn what_contradicts_itself_stops_with_its_place() {
    let cases = [
        (RHCS4.replace("expected_votes=\"1\"", ""), "3:3: two_node=\"1\" needs expected_votes=\"1\" beside it"),
        (RHCS4.replace("name=\"xen2\"", "name=\"xen1\""), "8:5: a second clusternode `xen1'"),
        (
            RHCS4.replace("xen2\" votes=\"1\"", "xen2\" votes=\"2\""),
            "8:30: votes=`2' of <clusternode> is not 0 or 1: each node counts once",
        ),
        (
            RHCS4.replace("fencedevice name=\"human\"", "fencedevice name=\"h\""),
            "6:36: fence device `human' is not among the <fencedevices>",
        ),
        (
            RHCS4.replace("name=\"xenpair\"", "name=\"sixteen-letters!\""),
            "2:1: cluster name `sixteen-letters!' is not 1 to 15 printable characters without / : and quotes",
        ),
        (
            RHCS4.replace("<cman two_node=\"1\" expected_votes=\"1\"/>", "<cman expected_votes=\"3\"/>"),
            "3:3: expected_votes=\"3\", but the nodes have 2 votes",
        ),
        (CLUSTER3.replace("nodeid=\"3\"", "nodeid=\"1\""), "6:5: `10.0.0.1' has the nodeid 1 of `10.0.0.3'"),
        (CLUSTER3.replace(" nodeid=\"2\"", ""), "7:5: `10.0.0.2' has the nodeid 3 of `10.0.0.3'"),
        (CLUSTER3.replace(" nodeid=\"3\"", ""), "7:5: `10.0.0.2' has the nodeid 2"),
        (
            CLUSTER3.replace("port=\"6000\"", "two_node=\"1\" expected_votes=\"1\""),
            "3:3: two_node=\"1\" with 3 nodes and 3 votes: it is for two of one vote",
        ),
        (
            CLUSTER3.replace("token=\"5000\"", "token=\"soon\""),
            "2:10: token=`soon' of <totem> is not 100 to 60000 milliseconds",
        ),
        (CLUSTER3.replace("</cluster>", ""), "1:1: the root node was opened but never closed"),
        ("<cluster name=\"a\" config_version=\"1\"/>".into(), "1:1: <clusternodes> is missing"),
        ("<html/>".into(), "1:1: <html> where <cluster> was expected"),
        (String::new(), "1:1: the document does not have a root node"),
    ];
    for (text, wanted) in cases {
        match parse(&text) {
            Ok(conf) => panic!("{conf:?} instead of {wanted}"),
            Err(got) if wanted.ends_with("nodeid 2") => assert!(got.contains("node"), "{got}"),
            Err(got) => assert_eq!(got, format!("cluster.conf:{wanted}")),
        }
    }
}

#[test]
fn what_is_not_known_is_a_warning() {
    let text = CLUSTER3.replace("<totem", "<telepathy/><totem colour=\"red\"");
    let conf = parse(&text).unwrap();
    let wanted = [
        "cluster.conf:2:3: <telepathy> is not known and not used",
        "cluster.conf:2:22: `colour' of <totem> is not known and not used",
    ];
    assert_eq!(conf.warnings, wanted);
}

#[test]
fn entities_and_document_types_are_refused() {
    let text = "<!DOCTYPE c [<!ENTITY a \"aaaa\">]><cluster name=\"&a;\" config_version=\"1\"/>";
    assert!(parse(text).is_err());
}

#[test]
fn a_file_cut_at_any_length_is_an_error() {
    for length in 0..RHCS4.trim_end().len() {
        assert!(parse(&RHCS4[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_host_finds_itself_by_its_short_or_full_name() {
    let conf = parse(&RHCS4.replace("name=\"xen1\"", "name=\"xen1.san\"")).unwrap();
    assert_eq!(conf.find("xen1.san").unwrap().id, 1);
    assert_eq!(conf.find("xen1.example.org").unwrap().id, 1);
    assert_eq!(conf.find("xen1").unwrap().id, 1);
    assert_eq!(conf.find("xen2.example.org").unwrap().id, 2);
    assert!(conf.find("xen3").is_err());
    // Addresses have no short form.
    assert!(parse(CLUSTER3).unwrap().find("10.1.2.3").is_err());
}

#[test]
fn nodes_of_one_address_are_refused() {
    let addresses = parse(CLUSTER3).unwrap().resolve().unwrap();
    assert_eq!(
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.1:6000", "10.0.0.2:6000", "10.0.0.3:6000"]
    );
    let twice = parse(&CLUSTER3.replace("10.0.0.2", "0:0::1").replace("10.0.0.3", "::1")).unwrap();
    assert_eq!(twice.resolve().unwrap_err().to_string(), "node ::1: ::1 is the address of 0:0::1 as well");
}
