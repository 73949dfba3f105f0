//! Random bursts of overlapping and duplicated requests to the running program, beside a model
//! that carries them out one by one in the order they were sent: every read finds what the model
//! has, and the file is the model's when a burst is over. As root; otherwise skipped, with a word
//! on stderr.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use nines_proto::aoe::ata::{DATA, Registers, TRIM, op};
use nines_proto::aoe::trim::{Range, Ranges};
use nines_proto::aoe::{Address, Command, Header, SECTOR, Shelf, Slot};
use nines_proto::mac::Mac;
use nines_testkit::conform::subject::ata;
use nines_testkit::initiator::Initiator;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use tempfile::NamedTempFile;

const OURS: Address = Address { shelf: Shelf(7), slot: Slot(3) };
const LONG: Duration = Duration::from_secs(10);
/// Few sectors, so that requests meet.
const SECTORS: usize = 48;
/// In the middle of the file: what lies around them must stay.
const BASE: u64 = 1000;
const AROUND: u8 = 0xa5;
/// What the target can queue.
const BURST: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Request {
    Read(usize, usize),
    Write(usize, usize),
    /// An earlier write of the burst once more, under a tag of its own.
    Again(prop::sample::Index),
    Trim(usize, usize, usize),
    Flush,
}

fn request() -> impl Strategy<Value = Request> {
    let extent = (0..SECTORS, 1..=17_usize).prop_map(|(first, count)| (first, count.min(SECTORS - first)));
    prop_oneof![
        6 => extent.clone().prop_map(|(first, count)| Request::Read(first, count)),
        6 => extent.clone().prop_map(|(first, count)| Request::Write(first, count)),
        3 => any::<prop::sample::Index>().prop_map(Request::Again),
        1 => (extent, 0..SECTORS).prop_map(|((first, count), other)| Request::Trim(first, count, other)),
        1 => Just(Request::Flush),
    ]
}

fn ip(arguments: &str) {
    let status = Process::new("ip").args(arguments.split(' ')).status().expect("ip(8)");
    assert!(status.success(), "ip {arguments}");
}

struct Target {
    child: Child,
    file: File,
    initiator: Initiator,
    /// What each sector is filled with.
    model: Vec<u8>,
    fill: u8,
    _disk: NamedTempFile,
}

impl Target {
    fn start(arguments: &str) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip("link add name target0 address 02:00:00:00:00:01 type veth peer name client0");
        for interface in ["target0", "client0"] {
            ip(&format!("link set {interface} mtu 9000 up"));
        }
        let disk = NamedTempFile::new().unwrap();
        fs::write(disk.path(), vec![AROUND; 2048 * SECTOR]).unwrap();
        let mut child = Process::new(env!("CARGO_BIN_EXE_aoe-vblade"))
            .args(arguments.split_whitespace())
            .args(["7", "3", "target0"])
            .arg(disk.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let file = File::open(disk.path()).unwrap();
        let initiator = Initiator::open("client0").unwrap();
        Self { child, file, initiator, model: vec![AROUND; SECTORS], fill: 0, _disk: disk }
    }

    /// Sends an ATA command; returns its tag.
    fn send(&mut self, registers: &Registers, data: &[u8]) -> u32 {
        let header = self.initiator.request(OURS, Command::Ata);
        let header = Header { destination: Mac([2, 0, 0, 0, 0, 1]), ..header };
        self.initiator.send(&header, &ata(registers, data)).unwrap();
        header.tag
    }

    fn send_write(&mut self, first: usize, count: usize, fill: u8) -> u32 {
        self.model[first..first + count].fill(fill);
        self.send(&registers(op::WRITE_EXT, first, count), &vec![fill; count * SECTOR])
    }

    /// Sends a burst, carries it out on the model, and compares.
    fn burst(&mut self, requests: &[Request]) -> Result<(), TestCaseError> {
        let (mut waiting, mut written) = (HashMap::new(), Vec::new());
        for request in requests {
            let (tag, finds) = match *request {
                Request::Read(first, count) => {
                    let tag = self.send(&registers(op::READ_EXT, first, count), &[]);
                    (tag, self.model[first..first + count].to_vec())
                }
                Request::Write(first, count) => {
                    self.fill = self.fill % 0x7f + 1;
                    written.push((first, count, self.fill));
                    (self.send_write(first, count, self.fill), vec![])
                }
                Request::Again(which) => {
                    let Some((first, count, fill)) = (!written.is_empty()).then(|| *which.get(&written)) else {
                        continue;
                    };
                    (self.send_write(first, count, fill), vec![])
                }
                Request::Trim(first, count, other) => {
                    self.model[first..first + count].fill(0);
                    self.model[other] = 0;
                    let mut list = [0; SECTOR];
                    let range = |first, count| Range { first: BASE + first as u64, sectors: count };
                    assert!(Ranges::encode(&[range(first, u16::try_from(count).unwrap()), range(other, 1)], &mut list));
                    let trim = Registers { feature_error: TRIM, count: 1, ..registers(op::DATA_SET_MANAGEMENT, 0, 0) };
                    (self.send(&trim, &list), vec![])
                }
                Request::Flush => (self.send(&registers(op::FLUSH_EXT, 0, 0), &[]), vec![]),
            };
            waiting.insert(tag, (request, finds));
        }
        let deadline = Instant::now() + LONG;
        while !waiting.is_empty() {
            let answer = self.initiator.next(deadline).unwrap();
            let answer = answer.ok_or_else(|| TestCaseError::fail(format!("no answers to {waiting:?}")))?;
            let (header, _) = Header::parse(&answer).unwrap();
            let Some((request, finds)) = waiting.remove(&header.tag) else { continue };
            prop_assert_eq!((answer[15], answer[25], answer[27]), (0, 0, 0x40), "{:?}", request);
            if !finds.is_empty() {
                prop_assert_eq!(answer.len(), DATA + finds.len() * SECTOR);
                for (sector, wanted) in answer[DATA..].chunks_exact(SECTOR).zip(&finds) {
                    prop_assert!(
                        sector.iter().all(|byte| byte == wanted),
                        "{:?}: {}, not {}",
                        request,
                        sector[0],
                        wanted
                    );
                }
            }
        }
        let mut disk = vec![0; (SECTORS + 2) * SECTOR];
        self.file.read_exact_at(&mut disk, (BASE - 1) * SECTOR as u64).unwrap();
        let around = [AROUND];
        let wanted = around.iter().chain(&self.model).chain(&around);
        for ((sector, wanted), number) in disk.chunks_exact(SECTOR).zip(wanted).zip(BASE - 1..) {
            prop_assert!(sector.iter().all(|byte| byte == wanted), "sector {}: {}, not {}", number, sector[0], wanted);
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn registers(code: u8, first: usize, count: usize) -> Registers {
    let lba = Registers::lba_bytes(BASE + first as u64);
    Registers { flags: 0x40, feature_error: 0, count: u8::try_from(count).unwrap(), command_status: code, lba }
}

fn bursts(arguments: &str) {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let target = RefCell::new(Target::start(arguments));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let result =
        TestRunner::new(config).run(&vec(request(), 1..BURST), |requests| target.borrow_mut().burst(&requests));
    result.unwrap_or_else(|failure| panic!("{arguments}: {failure}"));
}

#[test]
fn bursts_to_a_file_are_as_if_one_by_one() {
    bursts("");
}

#[test]
fn bursts_to_a_file_by_threads_are_as_if_one_by_one() {
    bursts("--engine threads");
}

#[test]
fn bursts_past_the_page_cache_are_as_if_one_by_one() {
    bursts("-d");
}

#[test]
fn bursts_into_the_page_cache_are_as_if_one_by_one() {
    bursts("--write-back");
}

#[test]
fn synchronous_bursts_by_threads_are_as_if_one_by_one() {
    bursts("-s --engine threads");
}
