use super::*;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;

/// In a process of its own, since there is no way out. It prints what it found it could do.
#[test]
fn what_is_not_needed_is_out_of_reach_and_what_is_needed_is_not() {
    const PROBE: &str = "SANDBOX_PROBE";
    if let Some(folder) = std::env::var_os(PROBE) {
        return probe(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    for more in [false, true] {
        let name = "sandbox::tests::what_is_not_needed_is_out_of_reach_and_what_is_needed_is_not";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PROBE, folder.path());
        if more {
            command.env("SANDBOX_MORE", "1");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let found: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("probe: ").map(|(_, rest)| rest)).collect();
        let wanted = [
            "missing []",
            "kept ok",
            "read refused",
            "made refused",
            "executed refused",
            "listened refused",
            "asked interfaces ok",
            "udp refused",
            if more { "thread ok" } else { "thread refused" },
            "forked refused",
        ];
        assert_eq!(found, wanted, "more: {more}");
        assert_eq!(fs::read(folder.path().join("kept/file")).unwrap(), b"kept");
    }
}

fn probe(folder: &std::path::Path) {
    let said = |what: &str, done: bool| println!("\nprobe: {what} {}", if done { "ok" } else { "refused" });
    let kept = folder.join("kept");
    let _ = fs::create_dir(&kept);
    let more = std::env::var_os("SANDBOX_MORE").is_some();
    let needs = Needs { more, keep: vec![kept.clone()], ..Needs::default() };
    let mut missing = confine(&needs);
    missing.extend(seal(&needs).err());
    println!("\nprobe: missing {missing:?}");
    said(
        "kept",
        fs::write(kept.join("new"), "kept").and_then(|()| fs::rename(kept.join("new"), kept.join("file"))).is_ok(),
    );
    said("read", File::open("/etc/passwd").is_ok());
    said("made", File::create(folder.join("made")).is_ok());
    said("executed", Command::new("/bin/true").status().is_ok());
    said("listened", TcpListener::bind("127.0.0.1:0").is_ok());
    said("asked interfaces", UnixDatagram::unbound().is_ok());
    said("udp", UdpSocket::bind("127.0.0.1:0").is_ok());
    said("thread", thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok()));
    // SAFETY: the filter refuses it; were it to succeed, both processes would go on to end.
    said("forked", unsafe { libc::fork() } >= 0);
}
