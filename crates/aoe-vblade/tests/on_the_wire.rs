//! The program on a real packet socket: a veth pair in a network namespace of the test's own.
//! As root; otherwise each test says on stderr that it was skipped.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nines_proto::aoe::ata::{Registers, op};
use nines_proto::aoe::config::{Action as ConfigAction, Config};
use nines_proto::aoe::identify::Identified;
use nines_proto::aoe::mask::{Action as MaskAction, Directive, Mask, Verb};
use nines_proto::aoe::{Address, Command, Flags, Header, Shelf, Slot};
use nines_proto::mac::Mac;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::NamedTempFile;

use nines_testkit::initiator::{Initiator, message};

const OURS: Address = Address { shelf: Shelf(7), slot: Slot(3) };
/// Longer than anything here takes, shorter than a patient person.
const LONG: Duration = Duration::from_secs(10);
const SECTORS: u64 = 2048;

fn ip(arguments: &str) {
    let status = Process::new("ip").args(arguments.split(' ')).status().expect("ip(8)");
    assert!(status.success(), "ip {arguments}");
}

/// Moves this thread, and so what it starts, to a network namespace with a cable from `target0`
/// to `client0`. False when that needs more rights.
fn cable(mtu: usize) -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return false;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip("link add name target0 address 02:00:00:00:00:01 type veth peer name client0 address 02:00:00:00:00:02");
    for interface in ["target0", "client0"] {
        ip(&format!("link set {interface} mtu {mtu} up"));
    }
    true
}

/// A running target and its disk of 1 MiB, every sector filled with its number.
struct Target {
    child: Child,
    disk: NamedTempFile,
    line: String,
}

impl Target {
    fn start(arguments: &str) -> Self {
        let disk = NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..SECTORS).flat_map(|n| n.to_le_bytes().repeat(64)).collect();
        fs::write(disk.path(), content).unwrap();
        let mut child = Process::new(env!("CARGO_BIN_EXE_aoe-vblade"))
            .args(arguments.split_whitespace())
            .args(["7", "3", "target0"])
            .arg(disk.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // The line comes when the socket hears.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, disk, line }
    }

    /// Ends it in order and returns what it logged.
    fn end(mut self) -> String {
        assert!(self.child.try_wait().unwrap().is_none(), "it had ended already");
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes are not taken by broadcast.
fn to_target(initiator: &mut Initiator) -> Header {
    Header { destination: Mac([2, 0, 0, 0, 0, 1]), ..initiator.request(OURS, Command::Ata) }
}

fn ata(initiator: &mut Initiator, code: u8, sector: u64, count: u8, data: &[u8]) -> Option<(Registers, Vec<u8>)> {
    let registers =
        Registers { flags: 0x40, feature_error: 0, count, command_status: code, lba: Registers::lba_bytes(sector) };
    let mut argument = vec![0; 12];
    registers.encode(&mut argument).unwrap();
    argument.extend_from_slice(data);
    let header = if data.is_empty() { initiator.request(OURS, Command::Ata) } else { to_target(initiator) };
    let answer = initiator.ask(&header, &argument, LONG).unwrap()?;
    let (header, argument) = Header::parse(&answer).unwrap();
    assert_eq!((header.flags, header.address), (Flags::RESPONSE, OURS));
    let (registers, data) = Registers::parse(argument).unwrap();
    Some((registers, data.to_vec()))
}

fn read(initiator: &mut Initiator, sector: u64, count: u8) -> Vec<u8> {
    let (registers, data) = ata(initiator, op::READ_EXT, sector, count, &[]).expect("an answer");
    assert_eq!((registers.command_status, registers.feature_error, registers.count), (0x40, 0, 0));
    data
}

fn write(initiator: &mut Initiator, sector: u64, data: &[u8]) {
    let count = u8::try_from(data.len() / 512).unwrap();
    let (registers, _) = ata(initiator, op::WRITE_EXT, sector, count, data).expect("an answer");
    assert_eq!((registers.command_status, registers.feature_error, registers.count), (0x40, 0, 0));
}

fn numbered(sector: u64) -> Vec<u8> {
    sector.to_le_bytes().repeat(64)
}

/// Buffer count, sectors a frame, string.
fn config(initiator: &mut Initiator, address: Address, wait: Duration) -> Option<(u16, u8, Vec<u8>)> {
    let header = initiator.request(address, Command::Config);
    let answer = initiator.ask(&header, &[0; 8], wait).unwrap()?;
    let (header, argument) = Header::parse(&answer).unwrap();
    assert_eq!((header.version, header.flags, header.address), (1, Flags::RESPONSE, OURS));
    let config = Config::parse(argument).unwrap();
    Some((config.buffers, config.sectors, config.string.to_vec()))
}

/// Waits for an advertisement and returns the sectors a frame it names, and to whom it was sent.
fn advertised(initiator: &mut Initiator) -> (u8, Mac) {
    let deadline = Instant::now() + LONG;
    loop {
        let frame = initiator.next(deadline).unwrap().expect("an advertisement");
        let (header, argument) = Header::parse(&frame).unwrap();
        if header.command == Command::Config && header.tag == 0 {
            assert_eq!((header.version, header.flags, header.address), (1, Flags::RESPONSE, OURS));
            assert_eq!(frame.len(), 60);
            let config = Config::parse(argument).unwrap();
            assert_eq!(config.action, ConfigAction::Read);
            return (config.sectors, header.destination);
        }
    }
}

#[test]
fn what_is_written_is_on_the_disk_and_is_read_back() {
    if !cable(9000) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    assert_eq!(target.line, format!("pid {}: e7.3, {SECTORS} sectors O_RDWR\n", target.child.id()));
    assert_eq!(config(&mut initiator, Address::ALL, LONG), Some((64, 17, vec![])));
    let (_, sector) = ata(&mut initiator, op::IDENTIFY, 0xa000_0000, 1, &[]).unwrap();
    let identified = Identified::parse(sector[..512].try_into().unwrap());
    assert_eq!((identified.sectors, identified.lba48, identified.write_cache), (SECTORS, true, false));
    assert_eq!(identified.checksum_valid, Some(true));
    assert!(identified.serial.starts_with("7.3:"));
    for count in 1..=17u8 {
        let first = u64::from(count) * 50;
        let wanted: Vec<u8> = (first..first + u64::from(count)).flat_map(numbered).collect();
        assert_eq!(read(&mut initiator, first, count), wanted);
        let data: Vec<u8> = (0..512 * usize::from(count)).map(|n| (n % 251).to_le_bytes()[0] ^ count).collect();
        write(&mut initiator, first, &data);
        let disk = fs::read(target.disk.path()).unwrap();
        let at = usize::try_from(first).unwrap() * 512;
        assert_eq!(disk[at..at + data.len()], data);
        assert_eq!(disk[at - 512..at], numbered(first - 1));
        assert_eq!(read(&mut initiator, first, count), data);
    }
    let (registers, _) = ata(&mut initiator, op::READ_EXT, 0, 18, &[]).unwrap();
    assert_eq!((registers.command_status, registers.count), (0x41, 18));
    let log = target.end();
    assert!(
        log.contains(" reads=34 ") && log.contains(" writes=17 ") && log.contains(" sectors_written=153 "),
        "{log}"
    );
}

#[test]
fn a_link_that_goes_down_and_up_is_followed() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    // The answer comes after the advertisement of the start, which is not looked for here.
    assert_eq!(read(&mut initiator, 9, 1), numbered(9));
    for _ in 0..3 {
        ip("link set target0 down");
        ip("link set target0 up");
        assert_eq!(advertised(&mut initiator), (2, Mac::BROADCAST));
        assert_eq!(read(&mut initiator, 9, 1), numbered(9));
    }
    // The other end pulled: the carrier goes, the interface stays.
    ip("link set client0 down");
    ip("link set client0 up");
    let mut initiator = Initiator::open("client0").unwrap();
    assert_eq!(read(&mut initiator, 10, 2), [numbered(10), numbered(11)].concat());
    let log = target.end();
    assert!(log.contains("target0: down") && log.contains("target0: up, MTU 1500, 2 sectors a frame"), "{log}");
}

#[test]
fn a_link_that_is_down_takes_no_processor_time() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    assert_eq!(read(&mut initiator, 9, 1), numbered(9));
    let used = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", target.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = |field: usize| fields.split_whitespace().nth(field).unwrap().parse::<u64>().unwrap();
        // utime and stime of proc(5), in hundredths of a second.
        ticks(11) + ticks(12)
    };
    ip("link set target0 down");
    let before = used();
    thread::sleep(Duration::from_millis(500));
    let after = used();
    assert!(after - before < 10, "{} of 50 ticks", after - before);
    ip("link set target0 up");
    assert_eq!(advertised(&mut initiator), (2, Mac::BROADCAST));
    assert_eq!(read(&mut initiator, 9, 1), numbered(9));
    target.end();
}

#[test]
fn frames_are_taken_however_often_the_shared_memory_has_been_full() {
    for mtu in [1500, 9000] {
        if !cable(mtu) {
            return;
        }
        let target = Target::start("");
        let mut initiator = Initiator::open("client0").unwrap();
        // Four times round the slots.
        for sector in 0..SECTORS {
            assert_eq!(read(&mut initiator, sector, 1), numbered(sector));
        }
        target.end();
    }
}

#[test]
fn another_mtu_is_followed() {
    if !cable(9000) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    // The answer comes after the advertisement of the start, which is not looked for here.
    assert_eq!(read(&mut initiator, 0, 1), numbered(0));
    for (mtu, sectors) in [(1500, 2), (4131, 7), (4132, 8), (9000, 17)] {
        ip(&format!("link set target0 mtu {mtu}"));
        assert_eq!(advertised(&mut initiator), (sectors, Mac::BROADCAST));
        assert_eq!(read(&mut initiator, 0, sectors).len(), usize::from(sectors) * 512);
        let (registers, data) = ata(&mut initiator, op::READ_EXT, 0, sectors + 1, &[]).unwrap();
        assert_eq!((registers.command_status, data.len()), (0x41, 24));
    }
    target.end();
}

#[test]
fn an_interface_that_is_removed_and_comes_back_is_used_again() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    assert_eq!(read(&mut Initiator::open("client0").unwrap(), 1, 1), numbered(1));
    ip("link del target0");
    // The client's end first, so that it hears the target's come up.
    ip("link add name client0 address 02:00:00:00:00:02 type veth peer name later0 address 02:00:00:00:00:05");
    ip("link set client0 up");
    let mut initiator = Initiator::open("client0").unwrap();
    ip("link set later0 name target0");
    ip("link set target0 up");
    assert_eq!(advertised(&mut initiator), (2, Mac::BROADCAST));
    assert_eq!(read(&mut initiator, 1, 1), numbered(1));
    assert!(target.end().contains("target0: gone"));
}

#[test]
fn a_target_on_an_interface_that_is_down_waits_for_it() {
    if !cable(1500) {
        return;
    }
    ip("link set target0 down");
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    ip("link set target0 up");
    assert_eq!(advertised(&mut initiator), (2, Mac::BROADCAST));
    assert_eq!(read(&mut initiator, 5, 1), numbered(5));
    target.end();
}

#[test]
fn frames_that_end_or_mislead_vblade_are_answered_or_ignored() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    let mac = initiator.mac;
    let mask = |verbs: &[Verb]| {
        let mut argument = vec![0; Mask::LENGTH + verbs.len() * Mask::DIRECTIVE];
        let list: Vec<Directive> = verbs.iter().map(|verb| Directive { verb: *verb, mac }).collect();
        Mask::encode(MaskAction::Edit, list.into_iter(), &mut argument).unwrap();
        argument
    };
    // Delete of a listed address: SIGABRT in vblade.
    let header = initiator.request(OURS, Command::Mask);
    let answer = initiator.ask(&header, &mask(&[Verb::Add, Verb::Delete]), LONG).unwrap().unwrap();
    assert_eq!(Mask::parse(&answer[24..]).unwrap().count, 0);
    // More directives, addresses or config bytes than the frame has.
    let mut many = mask(&[Verb::Add]);
    many[3] = 255;
    for (command, argument) in
        [(Command::Mask, many), (Command::Reserve, vec![1, 255]), (Command::Config, vec![0, 0, 0, 0, 0, 4, 4, 0])]
    {
        let header = initiator.request(OURS, command);
        let answer = initiator.ask(&header, &argument, LONG).unwrap().unwrap();
        assert_eq!(answer[14..16], [0x1c, 2], "{command:?}");
    }
    // A write to every disk of the segment.
    let header = initiator.request(Address::ALL, Command::Ata);
    let argument = [&[0x41, 0, 1, op::WRITE_EXT, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xff; 512]].concat();
    let answer = initiator.ask(&header, &argument, LONG).unwrap().unwrap();
    assert_eq!((answer[15], answer[25], answer[27]), (0, 4, 0x41));
    assert_eq!(read(&mut initiator, 0, 1), numbered(0));
    // CHECK POWER MODE with a count: no answer from vblade.
    assert_eq!(ata(&mut initiator, op::CHECK_POWER_MODE, 0, 1, &[]).unwrap().0.count, 0xff);
    // Cut short anywhere.
    let mut frame = vec![0; 36];
    initiator.request(OURS, Command::Ata).encode(&mut frame).unwrap();
    for length in 14..36 {
        initiator.socket.send(&frame[..length]).unwrap();
    }
    assert_eq!(config(&mut initiator, OURS, LONG), Some((64, 2, vec![])));
    target.end();
}

#[test]
fn a_masked_host_hears_nothing_and_a_listed_one_hears_its_own_advertisement() {
    if !cable(1500) {
        return;
    }
    let mut initiator = Initiator::open("client0").unwrap();
    let target = Target::start("-m 02:00:00:00:00:09,020000000002");
    assert_eq!(advertised(&mut initiator), (2, Mac([2, 0, 0, 0, 0, 9])));
    assert_eq!(advertised(&mut initiator), (2, Mac([2, 0, 0, 0, 0, 2])));
    let mut stranger = Initiator::open("client0").unwrap();
    stranger.mac = Mac([2, 0, 0, 0, 0, 8]);
    assert_eq!(config(&mut stranger, OURS, Duration::from_millis(200)), None);
    let mut listed = Initiator::open("client0").unwrap();
    assert!(config(&mut listed, OURS, LONG).is_some());
    assert!(target.end().contains(" masked=1 "));
}

#[test]
fn frames_for_another_station_on_a_promiscuous_interface_are_not_executed() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    ip("link set target0 promisc on");
    let mut initiator = Initiator::open("client0").unwrap();
    let header = Header { destination: Mac([2, 0, 0, 0, 0, 7]), ..initiator.request(OURS, Command::Config) };
    assert!(initiator.ask(&header, &[0; 8], Duration::from_millis(200)).unwrap().is_none());
    let header = Header { destination: Mac([2, 0, 0, 0, 0, 1]), ..initiator.request(OURS, Command::Config) };
    assert!(initiator.ask(&header, &[0; 8], LONG).unwrap().is_some());
    target.end();
}

#[test]
fn retransmitted_writes_never_land_after_newer_ones() {
    if !cable(9000) {
        return;
    }
    let target = Target::start("-b 128");
    let mut initiator = Initiator::open("client0").unwrap();
    // Every write is sent up to three times at once under tags of its own; only the last of its
    // answers is waited for, so that older copies are always under way.
    let mut model = vec![0u8; 512 * 512];
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 16).unwrap()
    };
    write_all(&mut initiator, &model);
    for round in 0..600u32 {
        let (sectors, copies) = (1 + next() % 16, 1 + next() % 3);
        let first = next() % (512 - sectors);
        let data: Vec<u8> = round.to_le_bytes().repeat(sectors * 128);
        model[first * 512..(first + sectors) * 512].copy_from_slice(&data);
        let mut argument = vec![0x41, 0, u8::try_from(sectors).unwrap(), op::WRITE_EXT];
        argument.extend(Registers::lba_bytes(first as u64));
        argument.extend([0, 0]);
        argument.extend(&data);
        for copy in 1..=copies {
            let header = to_target(&mut initiator);
            if copy < copies {
                let mut frame = vec![0; 24];
                header.encode(&mut frame).unwrap();
                frame.extend(&argument);
                initiator.socket.send(&frame).unwrap();
            } else {
                let answer = initiator.ask(&header, &argument, LONG).unwrap().expect("an answer");
                assert_eq!((answer[15], answer[27]), (0, 0x40));
            }
        }
        let at = next() % 511;
        assert_eq!(read(&mut initiator, at as u64, 1), model[at * 512..(at + 1) * 512], "round {round}");
    }
    assert_eq!(fs::read(target.disk.path()).unwrap()[..model.len()], model);
    assert!(target.end().contains(" dropped=0"));
}

fn write_all(initiator: &mut Initiator, content: &[u8]) {
    for (at, chunk) in content.chunks(16 * 512).enumerate() {
        write(initiator, at as u64 * 16, chunk);
    }
}

#[test]
fn a_disk_that_shrank_is_a_read_error_and_not_the_end() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    target.disk.as_file().set_len(512 * 100).unwrap();
    let (registers, data) = ata(&mut initiator, op::READ_EXT, 99, 2, &[]).unwrap();
    assert_eq!((registers.command_status, registers.feature_error, data.len()), (0x41, 0x40, 24));
    assert_eq!(read(&mut initiator, 99, 1), numbered(99));
    let log = target.end();
    assert!(log.contains("e7.3: read of 2 sectors at 99: ") && log.contains(" disk_errors=1 "), "{log}");
}

/// Sends requests for neighbouring sectors while the target cannot look, and returns the status and
/// data of each answer in the order of the requests.
fn in_one_batch(target: &Target, initiator: &mut Initiator, requests: &[(u8, u64, Vec<u8>)]) -> Vec<(u8, Vec<u8>)> {
    let pid = Pid::from_raw(target.child.id().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !state().contains(") T ") {
        thread::yield_now();
    }
    let tags: Vec<u32> = requests
        .iter()
        .map(|(code, sector, data)| {
            let header = to_target(initiator);
            let mut argument = vec![0x41, 0, 1, *code];
            argument.extend(Registers::lba_bytes(*sector));
            argument.extend([0, 0]);
            argument.extend(data);
            initiator.send(&header, &argument).unwrap();
            header.tag
        })
        .collect();
    kill(pid, Signal::SIGCONT).unwrap();
    let mut answers = vec![None; tags.len()];
    while answers.contains(&None) {
        let frame = initiator.next(Instant::now() + LONG).unwrap().expect("an answer");
        let (header, argument) = Header::parse(&frame).unwrap();
        let Some(at) = tags.iter().position(|tag| *tag == header.tag) else { continue };
        let (registers, data) = Registers::parse(argument).unwrap();
        answers[at] = Some((registers.command_status, data.get(..512).unwrap_or_default().to_vec()));
    }
    answers.into_iter().flatten().collect()
}

#[test]
fn neighbouring_requests_of_a_batch_are_one_call_to_the_disk() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    let calls = || {
        let io = fs::read_to_string(format!("/proc/{}/io", target.child.id())).unwrap();
        let count = io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        count.parse::<u64>().unwrap()
    };
    let reads: Vec<_> = (40..56).map(|sector| (op::READ_EXT, sector, Vec::new())).collect();
    let before = calls();
    let answers = in_one_batch(&target, &mut initiator, &reads);
    assert!(calls() - before < 8, "{} calls for 16 sectors", calls() - before);
    assert_eq!(answers, (40..56).map(|sector| (0x40, numbered(sector))).collect::<Vec<_>>());

    // Gaps, steps back and overlaps, all of them reading what was written before.
    let sectors = [8, 9, 10, 12, 13, 11, 10, 10, 11, 7, 8];
    let mut requests = Vec::new();
    for (round, sector) in (0_u64..).zip(sectors) {
        requests.push((op::WRITE_EXT, sector, numbered(1000 + round)));
        requests.push((op::READ_EXT, sector, Vec::new()));
    }
    requests.extend((7..14).map(|sector| (op::WRITE_EXT, sector, numbered(2000 + sector))));
    requests.extend((6..15).map(|sector| (op::READ_EXT, sector, Vec::new())));
    let answers = in_one_batch(&target, &mut initiator, &requests);
    assert!(answers.iter().all(|(status, _)| *status == 0x40));
    for (round, pair) in (0_u64..).zip(answers[..2 * sectors.len()].chunks(2)) {
        assert_eq!(pair[1].1, numbered(1000 + round), "round {round}");
    }
    let last: Vec<u8> = answers[2 * sectors.len() + 7..].iter().flat_map(|(_, data)| data.clone()).collect();
    let expected = [&numbered(6)[..], &(2007..2014).flat_map(numbered).collect::<Vec<u8>>(), &numbered(14)].concat();
    assert_eq!(last, expected);
    assert_eq!(fs::read(target.disk.path()).unwrap()[6 * 512..15 * 512], expected);
    target.end();
}

#[test]
fn frames_without_end_keep_nobody_waiting() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    // From an address no host can have: taken by the socket, and worth no answer.
    let header = Header { source: Mac([3, 0, 0, 0, 0, 9]), ..to_target(&mut initiator) };
    let noise = message(&header, &[0; 12]);
    let quiet = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let flood = Initiator::open("client0").unwrap();
            while !quiet.load(Ordering::Relaxed) {
                // A full send buffer is as good as a frame.
                let _ = flood.socket.send(&noise);
            }
        });
        // Each fills its frame, so that the next is looked out for.
        let answers: Vec<bool> = (0..20)
            .map(|round| {
                let mut argument = vec![0x41, 0, 2, op::WRITE_EXT];
                argument.extend(Registers::lba_bytes(4 * round));
                argument.extend([0; 2]);
                argument.extend(numbered(round).repeat(2));
                let header = to_target(&mut initiator);
                initiator.insist(&header, &argument, 10).unwrap().is_some()
            })
            .collect();
        quiet.store(true, Ordering::Relaxed);
        assert_eq!(answers, [true; 20]);
    });
    let log = target.end();
    assert!(!log.contains(" malformed=0 "), "{log}");
}

#[test]
fn of_neighbours_only_those_fail_that_the_disk_fails() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("");
    let mut initiator = Initiator::open("client0").unwrap();
    target.disk.as_file().set_len(512 * 100 + 200).unwrap();
    let reads: Vec<_> = (92..108).map(|sector| (op::READ_EXT, sector, Vec::new())).collect();
    let answers = in_one_batch(&target, &mut initiator, &reads);
    for (sector, (status, data)) in (92..).zip(answers) {
        assert_eq!(status, if sector < 100 { 0x40 } else { 0x41 }, "sector {sector}");
        assert!(sector >= 100 || data == numbered(sector));
    }
    assert!(target.end().contains(" disk_errors=8 "));
}

#[test]
fn a_read_only_target_says_so_and_refuses_writes() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("-r");
    assert!(target.line.ends_with("2048 sectors O_RDONLY\n"));
    let mut initiator = Initiator::open("client0").unwrap();
    let (registers, _) = ata(&mut initiator, op::WRITE_EXT, 0, 1, &[0; 512]).unwrap();
    assert_eq!((registers.command_status, registers.feature_error), (0x41, 4));
    assert_eq!(read(&mut initiator, 0, 1), numbered(0));
    target.end();
}

#[test]
fn an_offset_and_a_length_export_a_window() {
    if !cable(1500) {
        return;
    }
    let target = Target::start("-o 100 -l 10");
    assert!(target.line.ends_with(": e7.3, 10 sectors O_RDWR\n"));
    let mut initiator = Initiator::open("client0").unwrap();
    assert_eq!(read(&mut initiator, 8, 2), [numbered(108), numbered(109)].concat());
    assert_eq!(ata(&mut initiator, op::READ_EXT, 9, 2, &[]).unwrap().0.feature_error, 0x10);
    target.end();
}
