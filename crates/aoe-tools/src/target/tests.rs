use super::*;
use nines_proto::aoe::statistics::{Client, Latency};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::thread;

fn client(name: &str, reads: u64) -> Client {
    let read_latency =
        Latency { count: reads, p50_ns: 900, p99_ns: 12_345, p999_ns: 1_500_000, max_ns: 12_000_000_000 };
    Client {
        client: name.to_owned(),
        reads,
        bytes_read: 4096 * reads,
        writes: 0,
        bytes_written: 0,
        flushes: 1,
        trims: 1,
        others: 5,
        errors: 0,
        refused: 3,
        duplicates: 7,
        ignored: 0,
        queue: 2,
        queue_most: 32,
        read_latency,
        change_latency: Latency::default(),
    }
}

fn told() -> Told {
    let export = Export {
        export: "e7.3".into(),
        write_back: false,
        frames: 20,
        disk_errors: 0,
        malformed: 1,
        masked: 0,
        denied: 0,
        tests_failed: 0,
        too_long: 0,
        all: client("all", 1000),
        clients: vec![client("02:00:00:00:00:01", 990), client("others\x1b[2J", 10)],
    };
    let interface = Interface {
        interface: "eth\"1".into(),
        running: true,
        mtu: 9000,
        sent: 11,
        unsent: 0,
        dropped: 4,
        malformed: 0,
    };
    Told { socket: "/run/t.sock".into(), exports: vec![export], interfaces: vec![interface] }
}

#[test]
fn the_table_is_one_line_a_client() {
    let text = table::text(&[told()]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words[..4], ["e7.3", "all", "1000", "4.0MB"], "{text}");
    assert_eq!(words.last(), Some(&"-"));
    assert!(lines[1].contains("2 of 32") && lines[1].contains("900ns/12us/1.5ms/12s"), "{text}");
    assert!(lines[3].contains("others\\u{1b}[2J"), "{text}");
    assert!(lines[5].starts_with("eth\"1") && lines[5].ends_with("  11       0        4"), "{text}");
}

#[test]
fn prometheus_text_has_every_sample_under_its_head() {
    let text = prometheus::text(&[told(), told()]);
    let mut name = "";
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            name = head.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert_eq!(line.split('{').next(), Some(name), "{line}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let wanted = "aoe_target_latency_seconds{export=\"e7.3\",client=\"02:00:00:00:00:01\",operation=\"read\",percentile=\"99\"} 0.000012345\n";
    assert!(text.contains(wanted), "{text}");
    let wanted =
        "aoe_target_interface_frames_total{socket=\"/run/t.sock\",interface=\"eth\\\"1\",fate=\"dropped\"} 4\n";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn json_is_one_object_a_line() {
    let text = json(&[told()]).unwrap();
    let values: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 2);
    assert_eq!((&values[0]["socket"], &values[0]["all"]["reads"]), (&"/run/t.sock".into(), &1000.into()));
    assert_eq!(values[1]["dropped"], 4);
}

#[test]
fn what_is_no_target_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (number, said) in
        ["", "nonsense\n", "{\"answer\":\"done\"}\n", "{\"answer\":\"exports\""].into_iter().enumerate()
    {
        let path = folder.path().join(format!("{number}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            line
        });
        assert!(ask::statistics(&path).is_err(), "{said}");
        assert_eq!(peer.join().unwrap(), "{\"request\":\"exports\"}\n");
    }
    assert!(ask::statistics(&folder.path().join("none")).is_err());
    let names: Vec<_> = listening(folder.path()).unwrap();
    assert_eq!(names.len(), 4);
    assert!(listening(&folder.path().join("none")).unwrap().is_empty());
}
