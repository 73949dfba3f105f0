//! The command against a socket that answers as told and keeps what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nines_proto::ctl::{
    Answer, Call, ErrorKind, Failure, FenceOperation, FenceTested, Fences, Outcome, Request, Value,
};
use tempfile::TempDir;

struct Daemon {
    directory: TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    /// Answers `Fences` with these and everything else with `outcome`.
    fn new(pending: Vec<FenceOperation>, outcome: Outcome) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, heard) = (stream.unwrap(), heard.clone());
                let fences = Fences { pending: pending.clone(), ..Fences::default() };
                let outcome = outcome.clone();
                thread::spawn(move || {
                    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                        let call: Call = serde_json::from_str(&line.unwrap()).unwrap();
                        heard.lock().unwrap().push(call.request.clone());
                        let outcome = match call.request {
                            Request::Fences => Ok(Value::Fences(fences.clone())).into(),
                            _ => outcome.clone(),
                        };
                        let mut line = serde_json::to_vec(&Answer { id: call.id, outcome }).unwrap();
                        line.push(b'\n');
                        stream.write_all(&line).unwrap();
                    }
                });
            }
        });
        Self { directory, asked }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-fence"));
        command.arg("--socket").arg(self.directory.path().join("sock")).args(words).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// What was asked besides the list.
    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|request| **request != Request::Fences).cloned().collect()
    }
}

fn pending(node: &str, operation: u64, incarnation: u64) -> FenceOperation {
    FenceOperation {
        operation,
        node: node.into(),
        incarnation,
        who: "xen1".into(),
        why: "silent for 1.0 s".into(),
        asked: 1_795_368_001,
        attempts: 3,
        state: "agent fence_x exited 1".into(),
        ended: None,
        end: None,
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn refusal(kind: ErrorKind, message: &str) -> Outcome {
    Outcome::Error(Failure { kind, message: message.into(), holders: Vec::new() })
}

#[test]
fn fencing_is_asked_for_and_waited_for() {
    let daemon = Daemon::new(vec![], Outcome::Ok(Value::Fenced { operation: 5 }));
    let (code, out, _) = said(&daemon.run(&["--why", "smokes", "--", "list"]));
    assert_eq!((code, out.as_str()), (Some(0), "list\tfenced\t5\n"));
    assert_eq!(daemon.asked(), [Request::Fence { node: "list".into(), why: "smokes".into() }]);
    let (_, out, _) = said(&daemon.run(&["--json", "xen1"]));
    assert_eq!(out, "{\"fenced\":{\"operation\":5}}\n");
}

#[test]
fn a_refusal_is_a_no_and_a_wrong_question_an_error() {
    for (kind, wanted) in [(ErrorKind::Inquorate, 1), (ErrorKind::Unknown, 1), (ErrorKind::Denied, 2)] {
        let daemon = Daemon::new(vec![], refusal(kind, "xen1: because"));
        for words in [&["xen1"][..], &["test", "xen1"], &["unfence", "xen1"]] {
            let (code, _, error) = said(&daemon.run(words));
            assert_eq!((code, error.as_str()), (Some(wanted), "cluster-fence: xen1: because\n"), "{words:?}");
        }
    }
}

#[test]
fn an_acknowledgement_names_what_is_pending() {
    let daemon = Daemon::new(vec![pending("xen2", 17, 4), pending("xen3", 18, 2)], Outcome::Ok(Value::Done {}));
    let (code, _, error) = said(&daemon.run(&["--ack", "xen2"]));
    assert_eq!((code, daemon.asked()), (Some(2), vec![]));
    assert!(error.contains("fencing 17 of run 4") && error.contains("add --yes"), "{error}");
    let (code, out, _) = said(&daemon.run(&["--ack", "xen2", "--yes", "--operation", "17", "--incarnation", "4"]));
    assert_eq!((code, out.as_str()), (Some(0), "xen2\tacknowledged\t17\n"));
    let ack = Request::FenceAck { node: "xen2".into(), operation: 17, incarnation: 4, newest: false };
    assert_eq!(daemon.asked(), [ack]);
}

#[test]
fn an_acknowledgement_of_another_fencing_is_not_sent() {
    let daemon = Daemon::new(vec![pending("xen2", 17, 4)], Outcome::Ok(Value::Done {}));
    for (words, wanted) in [
        (&["--operation", "16"][..], "what is pending is fencing 17 of run 4"),
        (&["--incarnation", "3"], "what is pending is fencing 17 of run 4"),
    ] {
        let (code, _, error) = said(&daemon.run(&[&["--ack", "xen2", "--yes"], words].concat()));
        assert_eq!(code, Some(1));
        assert!(error.contains(wanted), "{error}");
    }
    let (code, _, error) = said(&daemon.run(&["--ack", "xen3", "--yes"]));
    assert_eq!((code, daemon.asked()), (Some(1), vec![]));
    assert!(error.contains("that of xen2"), "{error}");
}

#[test]
fn a_test_tells_what_the_devices_said() {
    let tested = FenceTested { time: 1, good: false, really: false, what: "ipmi: fence_x exited 1".into() };
    let daemon = Daemon::new(vec![], Outcome::Ok(Value::Tested(tested)));
    let (code, out, _) = said(&daemon.run(&["test", "xen2"]));
    assert_eq!((code, out.as_str()), (Some(1), "xen2\tfailed\tipmi: fence_x exited 1\n"));
    let (code, _, error) = said(&daemon.run(&["test", "--really", "xen2"]));
    assert!(code == Some(2) && error.contains("add --yes"), "{error}");
    assert_eq!(daemon.asked(), [Request::FenceTest { node: "xen2".into(), really: false }]);
}

#[test]
fn without_a_daemon_the_error_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_cluster-fence")).args(["--socket", "/no/such", "list"]).output();
    let (code, _, error) = said(&output.unwrap());
    assert_eq!(code, Some(2));
    assert!(error.contains("is cluster-join running?"), "{error}");
}
