use super::*;
use std::io::Write;
use std::sync::mpsc;
use std::thread;

fn file(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![0x5a; bytes]).unwrap();
    file
}

fn opening(file: &tempfile::NamedTempFile) -> Opening {
    Opening {
        path: file.path().to_owned(),
        offset: 0,
        length: None,
        read_only: false,
        direct: false,
        sync: false,
        write_back: false,
        exclusive: false,
    }
}

fn refusal(opening: &Opening) -> String {
    format!("{:#}", Store::open(opening).unwrap_err()).replace(&opening.path.display().to_string(), "PATH")
}

#[test]
fn offset_and_length_cut_out_a_window() {
    let file = file(10 * 512 + 100);
    let window = Opening { offset: 2, length: Some(3), write_back: true, ..opening(&file) };
    let (mut store, medium) = Store::open(&window).unwrap();
    assert_eq!(medium.sectors, 3);
    let (offset, mut frames) = (store.position(1), Frames::new(2, 36, 36 + 512).unwrap());
    assert_eq!(offset, 3 * 512);
    frames.bytes_mut(0).fill(7);
    assert!(store.write_at_once(&frames, &[Part { frame: 0, range: 36..548 }], offset));
    assert!(store.read_at_once(&mut frames, &[Part { frame: 1, range: 36..548 }], offset));
    assert_eq!(frames.bytes(1)[36..], [7; 512]);
    let bytes = fs::read(file.path()).unwrap();
    assert_eq!((bytes[3 * 512 - 1], bytes[3 * 512], bytes[4 * 512]), (0x5a, 7, 0x5a));
}

#[test]
fn a_partial_last_sector_is_not_exported() {
    let (_, medium) = Store::open(&opening(&file(10 * 512 + 511))).unwrap();
    assert_eq!(medium.sectors, 10);
}

#[test]
fn unfit_windows_are_refused_in_vblades_words() {
    let file = file(4 * 512);
    let table = [
        (Opening { offset: 4, ..opening(&file) }, "PATH: Offset 4 too large for 4-sector export"),
        (Opening { length: Some(5), ..opening(&file) }, "PATH: Length 5 too big - exceeds size of file!"),
        (
            Opening { offset: 3, length: Some(u64::MAX), ..opening(&file) },
            "PATH: Length 18446744073709551615 too big - exceeds size of file!",
        ),
        (Opening { path: "/nonexistent".into(), ..opening(&file) }, "PATH: open: No such file or directory"),
        (Opening { path: "/".into(), ..opening(&file) }, "PATHopen: Is a directory"),
        (Opening { path: "/dev/null".into(), ..opening(&file) }, "PATH: neither a regular file nor a block device"),
    ];
    for (opening, message) in table {
        let got = refusal(&opening);
        assert!(got == message || got.ends_with("open: Is a directory"), "{got}");
    }
    assert_eq!(refusal(&opening(&self::file(511))), "PATH: 0-sector file size is too small");
}

#[test]
fn one_writer_or_many_readers() {
    let file = file(512);
    let reading = Opening { read_only: true, ..opening(&file) };
    let readers = (Store::open(&reading).unwrap(), Store::open(&reading).unwrap());
    assert!(refusal(&opening(&file)).contains("claimed by another process"));
    drop(readers);
    let writer = Store::open(&opening(&file)).unwrap();
    assert!(refusal(&opening(&file)).contains("claimed by another process"));
    assert!(refusal(&reading).contains("claimed by another process"));
    drop(writer);
    assert!(Store::open(&opening(&file)).is_ok());
}

#[test]
fn a_claim_held_for_a_moment_is_waited_for() {
    let file = file(512);
    let brief = Store::open(&opening(&file)).unwrap();
    let (started, start) = mpsc::channel();
    let other = thread::spawn({
        let opening = opening(&file);
        move || {
            started.send(()).unwrap();
            Store::open(&opening).is_ok()
        }
    });
    start.recv().unwrap();
    drop(brief);
    assert!(other.join().unwrap());
}

#[test]
fn durable_writes_of_a_file_go_past_the_page_cache_where_that_is_possible() {
    let file = file(8 * 512);
    let durability = |opening: Opening| {
        let (store, _) = Store::open(&opening).unwrap();
        (store.past_cache.is_some(), store.durability)
    };
    let possible = takes_sectors(
        &OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(file.path()).unwrap(),
        0,
    );
    let expected = if possible { (true, Durability::Each) } else { (false, Durability::Flush) };
    assert_eq!(durability(opening(&file)), expected);
    assert_eq!(durability(Opening { write_back: true, ..opening(&file) }), (false, Durability::None));
    assert_eq!(durability(Opening { sync: true, ..opening(&file) }), (possible, Durability::Synchronous));
    assert!(!durability(Opening { read_only: true, ..opening(&file) }).0);
}
