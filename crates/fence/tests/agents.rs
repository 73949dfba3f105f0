//! Jobs against agents that misbehave: shell scripts in a directory of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster_conf::{Device, Method};
use fence::{Action, Agents, End, Job};
use tempfile::TempDir;

struct Lab {
    directory: TempDir,
    agents: Agents,
}

impl Lab {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let agents = Agents::within([directory.path().to_owned()]);
        Self { directory, agents }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Puts an agent there. Written by another process: a program open for writing in this one
    /// could not be started while another test forks.
    fn agent(&self, name: &str, script: &str) {
        let script = format!("#!/bin/sh\nhere={}\n{script}\n", self.directory.path().display());
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(self.path(name)).stdin(Stdio::piped());
        let mut child = install.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn run(&self, action: Action) -> End {
        self.agents.run(&Job { number: 7, node: "xen1".into(), action })
    }

    fn fence(&self, methods: &[Method]) -> End {
        self.run(Action::Fence(methods.to_vec()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Tells what it was asked in a line of the log.
const RECORD: &str = "read_all() { while IFS= read -r line; do printf '%s ' \"$line\"; done; }
asked=$(read_all); echo \"${asked% }\" >>$here/log
case $asked in *action=metadata*) cat $here/metadata; exit 0 ;; esac";

const REBOOTS: &str = "<resource-agent name='a'><parameters><parameter name='action'><content type='string' \
    default='reboot'/></parameter></parameters><actions><action name='off'/><action name='on'/>\
    <action name='reboot'/></actions></resource-agent>";

fn device(agent: &str, attributes: &[(&str, &str)]) -> Device {
    let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Device { name: agent.trim_start_matches("fence_").into(), agent: agent.into(), attributes }
}

fn method(name: &str, devices: &[Device]) -> Method {
    Method { name: name.into(), devices: devices.to_vec() }
}

fn failed(end: End) -> String {
    match end {
        End::Failed { what } => what,
        End::Done { .. } => panic!("{end:?}"),
    }
}

fn done(end: End) -> (String, String) {
    match end {
        End::Done { method, what } => (method, what),
        End::Failed { .. } => panic!("{end:?}"),
    }
}

fn alive(pid: &str) -> bool {
    // A killed process that its new parent has not waited for yet is dead.
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[test]
fn an_agent_is_told_its_options_on_stdin_and_nothing_else() {
    let lab = Lab::new();
    lab.agent("fence_a", "[ $# = 0 ] || exit 9\nenv | sed 's/=.*//' | sort | tr '\\n' ' ' >$here/env\ncat >$here/in");
    let device = device("fence_a", &[("ipaddr", "10.0.0.1"), ("passwd", "a=b c"), ("port", "3")]);
    let (name, what) = done(lab.fence(&[method("power", &[device])]));
    assert_eq!((name.as_str(), what.as_str()), ("power", "a (fence_a)"));
    let input = fs::read_to_string(lab.path("in")).unwrap();
    assert_eq!(input, "ipaddr=10.0.0.1\npasswd=a=b c\nport=3\nnodename=xen1\nagent=fence_a\n");
    assert_eq!(fs::read_to_string(lab.path("env")).unwrap(), "FENCE_CALL HOME LC_ALL PATH PWD ");
}

#[test]
fn no_exit_status_but_0_is_a_yes() {
    let lab = Lab::new();
    lab.agent("fence_a", "eval \"$(grep ^code)\"\necho 'Unable to connect' >&2\nexit \"$code\"");
    for code in (1..=11).chain([126, 127, 255]) {
        let device = device("fence_a", &[("code", &code.to_string())]);
        let what = failed(lab.fence(&[method("1", &[device])]));
        assert_eq!(what, format!("method 1: device a: fence_a exited {code}: Unable to connect"));
    }
    done(lab.fence(&[method("1", &[device("fence_a", &[("code", "0")])])]));
}

#[test]
fn an_agent_that_is_killed_missing_or_no_program_is_a_no() {
    let lab = Lab::new();
    lab.agent("fence_a", "kill -9 $$");
    fs::write(lab.path("fence_b"), "not executable").unwrap();
    lab.agent("fence_c", "");
    let mut broken = Command::new("sed");
    assert!(broken.arg("-i").arg("1s,.*,#!/no/such/shell,").arg(lab.path("fence_c")).status().unwrap().success());
    let directory = lab.directory.path().display();
    let missing = format!("is not in {directory}: is the package with it installed?");
    for (agent, wanted) in [
        ("fence_a", "fence_a was ended by signal 9".to_owned()),
        ("fence_b", format!("fence_b {missing}")),
        ("fence_c", "fence_c: cannot be started: No such file or directory (os error 2)".to_owned()),
        ("../fence_a", format!("../fence_a {missing}")),
        ("..", format!(".. {missing}")),
    ] {
        let what = failed(lab.fence(&[method("1", &[device(agent, &[])])]));
        assert!(what.ends_with(&wanted), "{what}");
    }
}

#[test]
fn an_agent_that_hangs_is_killed_with_its_children_however_they_hide() {
    let lab = Lab::new();
    let script = "sleep 600 & echo $! >>$here/pids
setsid sleep 601 & setsid sh -c 'echo $$ >>'$here'/pids; sleep 602 & echo $! >>'$here'/pids; wait' &
(setsid sh -c 'echo $$ >>'$here'/pids; exec sleep 603' & ) ; echo $$ >>$here/pids
trap '' TERM HUP; echo 'still connecting'; sleep 604; sleep 605";
    lab.agent("fence_a", script);
    let started = Instant::now();
    let what = failed(lab.fence(&[method("1", &[device("fence_a", &[("timeout", "2")])])]));
    assert_eq!(
        what,
        "method 1: device a: fence_a has not ended within 2 s and was killed; its last words: still connecting"
    );
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let pids = fs::read_to_string(lab.path("pids")).unwrap();
    assert_eq!(pids.lines().count(), 5, "{pids}");
    for pid in pids.lines() {
        assert!(!alive(pid), "{pid} is alive");
    }
}

#[test]
fn a_child_left_behind_neither_delays_nor_survives_the_verdict() {
    let lab = Lab::new();
    lab.agent("fence_a", "sleep 600 & echo $! >$here/pids");
    let started = Instant::now();
    done(lab.fence(&[method("1", &[device("fence_a", &[])])]));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let pid = fs::read_to_string(lab.path("pids")).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while alive(&pid) {
        assert!(Instant::now() < until, "{pid} is alive");
        std::thread::yield_now();
    }
}

#[test]
fn output_without_end_is_read_and_cut() {
    let lab = Lab::new();
    lab.agent(
        "fence_a",
        "head -c 8000000 /dev/zero | tr '\\0' x; echo; printf 'the \\033[1m\\377reason\\n\\n' >&2; exit 1",
    );
    let what = failed(lab.fence(&[method("1", &[device("fence_a", &[])])]));
    assert_eq!(what, "method 1: device a: fence_a exited 1: the  [1m\u{fffd}reason");
    lab.agent("fence_b", "head -c 100000 /dev/zero | tr '\\0' y; exit 1");
    let what = failed(lab.fence(&[method("1", &[device("fence_b", &[])])]));
    assert!(what.ends_with("yyy") && what.len() < 300, "{what}");
    lab.agent("fence_c", "head -c 20000000 /dev/urandom; cat /dev/zero >&2");
    let what = failed(lab.fence(&[method("1", &[device("fence_c", &[("timeout", "3")])])]));
    assert!(what.contains("has not ended within 3 s and was killed"), "{what}");
    lab.agent("fence_d", "head -c 2000000 /dev/zero");
    let error = lab.agents.metadata("fence_d").unwrap_err();
    assert_eq!(error.to_string(), "fence_d: metadata: it is longer than 524288 bytes");
}

#[test]
fn an_agent_need_not_read_what_it_is_told() {
    let lab = Lab::new();
    lab.agent("fence_a", "exec <&-; exit 0");
    let big = "x".repeat(1 << 20);
    let (_, what) = done(lab.fence(&[method("1", &[device("fence_a", &[("big", &big)])])]));
    assert_eq!(what, "a (fence_a)");
    lab.agent("fence_b", "sleep 1; wc -c >$here/count");
    done(lab.fence(&[method("1", &[device("fence_b", &[("big", &big)])])]));
    assert!(fs::read_to_string(lab.path("count")).unwrap().trim().parse::<usize>().unwrap() > 1 << 20);
}

#[test]
fn a_value_that_would_be_two_lines_is_not_passed() {
    let lab = Lab::new();
    lab.agent("fence_a", "exit 0");
    let what = failed(lab.fence(&[method("1", &[device("fence_a", &[("port", "1\naction=on")])])]));
    assert_eq!(what, "method 1: device a: fence_a: option `port' has characters that its input cannot hold");
}

#[test]
fn methods_are_tried_in_order_and_all_devices_of_one_must_succeed() {
    let lab = Lab::new();
    lab.agent("fence_good", RECORD);
    lab.agent("fence_bad", &format!("{RECORD}\nexit 1"));
    fs::write(lab.path("metadata"), REBOOTS).unwrap();
    let pair = method("pair", &[device("fence_good", &[("port", "1")]), device("fence_bad", &[("port", "2")])]);
    let (name, _) = done(lab.fence(&[pair.clone(), method("third", &[device("fence_good", &[("port", "3")])])]));
    assert_eq!(name, "third");
    let tail = |agent: &str| format!("nodename=xen1 agent=fence_{agent}");
    let wanted = [
        format!("port=1 {} action=off", tail("good")),
        format!("port=2 {} action=off", tail("bad")),
        format!("port=3 {}", tail("good")),
    ];
    assert_eq!(lab.log().lines().collect::<Vec<_>>(), wanted);
    let what = failed(lab.fence(&[pair, method("none", &[])]));
    assert_eq!(what, "method pair: device bad: fence_bad exited 1; method none: it has no devices");
}

#[test]
fn two_supplies_go_off_together_and_the_verdict_does_not_wait_for_on() {
    let lab = Lab::new();
    lab.agent("fence_a", &format!("{RECORD}\ncase $asked in *action=on*) echo 'stuck' >&2; exit 1 ;; esac"));
    fs::write(lab.path("metadata"), REBOOTS).unwrap();
    let devices = [device("fence_a", &[("port", "1")]), device("fence_a", &[("port", "2"), ("action", "reboot")])];
    let methods = vec![method("both", &devices)];
    let job = Job { number: 1, node: "xen1".into(), action: Action::Fence(methods) };
    let (end, rest) = lab.agents.begin(&job);
    done(end);
    let asked = |log: &str| -> Vec<String> {
        let word =
            |line: &str, name: &str| line.split(' ').rfind(|word| word.starts_with(name)).unwrap_or("-").to_owned();
        log.lines().map(|line| format!("{} {}", word(line, "port="), word(line, "action="))).collect()
    };
    assert_eq!(asked(&lab.log()), ["port=1 action=off", "port=2 action=off"]);
    let complaints = rest.finish();
    assert_eq!(complaints, ["on again: device a: fence_a exited 1: stuck"; 2]);
    assert_eq!(asked(&lab.log())[2..], ["- action=metadata", "port=2 action=on", "port=1 action=on"]);
}

#[test]
fn what_cuts_off_more_than_power_is_not_given_back_by_fencing() {
    let lab = Lab::new();
    lab.agent("fence_a", RECORD);
    fs::write(lab.path("metadata"), REBOOTS.replace("default='reboot'", "default='off'")).unwrap();
    let devices = [device("fence_a", &[("port", "1")]), device("fence_a", &[("port", "2")])];
    done(lab.fence(&[method("fabric", &devices)]));
    assert!(!lab.log().contains("action=on"), "{}", lab.log());
    fs::write(lab.path("metadata"), "garbage").unwrap();
    let (_, what) = done(lab.fence(&[method("fabric", &devices)]));
    assert!(what.contains("a is left off: ") && !lab.log().contains("action=on"), "{what}");
}

#[test]
fn a_person_is_asked_where_the_file_says_so() {
    let lab = Lab::new();
    lab.agent("fence_manual", "exit 0");
    let what = failed(lab.fence(&[method("single", &[device("fence_manual", &[("ipaddr", "xen1")])])]));
    assert!(what.contains("type `cluster-fence --ack xen1'"), "{what}");
    assert!(failed(lab.fence(&[])).contains("type `cluster-fence --ack xen1'"));
    assert!(failed(lab.run(Action::Test(vec![], true))).contains("has no fence method"));
}

#[test]
fn a_test_asks_every_device_and_changes_none() {
    let lab = Lab::new();
    lab.agent("fence_a", &format!("{RECORD}\ncase $asked in *port=1*) exit 0 ;; *port=2*) exit 2 ;; esac; exit 1"));
    let one = device("fence_a", &[("port", "1")]);
    let two = device("fence_a", &[("port", "2"), ("action", "off")]);
    let on = device("fence_a", &[("port", "2"), ("action", "on")]);
    let manual = Device { name: "human".into(), ..device("fence_manual", &[]) };
    let methods = vec![method("1", &[one, two, on]), method("2", &[manual])];
    let (_, what) = done(lab.run(Action::Test(methods.clone(), false)));
    assert_eq!(what, "a: on; a: off; human: a person");
    assert_eq!(lab.log().lines().filter(|line| line.contains("action=status")).count(), 2, "{}", lab.log());
    assert_eq!(lab.log().lines().count(), 2, "{}", lab.log());
    let broken = method("3", &[device("fence_a", &[("port", "3")])]);
    let what = failed(lab.run(Action::Test(methods.into_iter().chain([broken]).collect(), false)));
    assert_eq!(what, "a: on; a: off; human: a person; a: fence_a exited 1");
}

#[test]
fn a_real_test_leaves_everything_on() {
    let lab = Lab::new();
    lab.agent("fence_a", RECORD);
    fs::write(lab.path("metadata"), REBOOTS.replace("default='reboot'", "default='off'")).unwrap();
    done(lab.run(Action::Test(vec![method("fabric", &[device("fence_a", &[])])], true)));
    let last = |log: &str| log.lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(&lab.log()), "nodename=xen1 agent=fence_a action=on");
    fs::write(lab.path("metadata"), REBOOTS).unwrap();
    let calls = lab.log().lines().count();
    done(lab.run(Action::Test(vec![method("power", &[device("fence_a", &[("option", "reboot")])])], true)));
    assert_eq!(lab.log().lines().count(), calls + 1, "{}", lab.log());
    lab.agent("fence_b", &format!("{RECORD}\ncase $asked in *action=on*) exit 3 ;; esac"));
    let what = failed(lab.run(Action::Test(vec![method("off", &[device("fence_b", &[("action", "off")])])], true)));
    assert!(what.contains("on again: device b: fence_b exited 3"), "{what}");
}

#[test]
fn unfencing_is_on_of_every_device() {
    let lab = Lab::new();
    lab.agent("fence_a", &format!("{RECORD}\ncase $asked in *port=2*) exit 1 ;; esac"));
    let one = device("fence_a", &[("port", "1"), ("action", "on")]);
    let two = device("fence_a", &[("port", "2")]);
    let (name, what) = done(lab.run(Action::Unfence(vec![one.clone()])));
    assert_eq!((name.as_str(), what.as_str()), ("unfence", "a (fence_a on)"));
    assert_eq!(failed(lab.run(Action::Unfence(vec![one, two]))), "device a: fence_a exited 1");
    assert!(lab.log().lines().all(|line| line.ends_with("action=on")), "{}", lab.log());
    done(lab.run(Action::Unfence(vec![])));
}

#[test]
fn an_agent_is_described_by_stdin_or_by_the_command_line() {
    let lab = Lab::new();
    fs::write(lab.path("metadata"), REBOOTS).unwrap();
    lab.agent("fence_a", RECORD);
    lab.agent("fence_b", "[ \"$*\" = '-o metadata' ] && exec cat $here/metadata\nexit 2");
    for agent in ["fence_a", "fence_b"] {
        assert!(lab.agents.metadata(agent).unwrap().reboots());
    }
    lab.agent("fence_c", "echo oops >&2; exit 4");
    assert_eq!(lab.agents.metadata("fence_c").unwrap_err().to_string(), "fence_c exited 4: oops");
    assert!(Path::new("/usr/sbin/fence_no_such").exists() || fence::metadata::metadata("fence_no_such").is_err());
}
