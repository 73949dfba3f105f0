use super::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

const KINDS: [Kind; 2] = [Kind::Ring, Kind::Threads];

fn engine(kind: Kind) -> Engine {
    Engine::new(kind, Frames::new(4, 36, 36 + 4096).unwrap(), 6).unwrap()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Runs until all that is under way is done.
fn run(engine: &mut Engine) -> Vec<Done> {
    let mut done = Vec::new();
    while engine.flying() > 0 {
        engine.submit().unwrap();
        engine.wait().unwrap();
        engine.finished(&mut done);
    }
    done.sort_by_key(|done| done.token);
    done
}

#[test]
fn what_is_written_is_read_back() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[0; 8192]));
        assert_eq!(engine.kind(), kind);
        engine.frames_mut().bytes_mut(2)[36..].fill(7);
        let write = Job::Write { frame: 2, part: 36..36 + 512, offset: 512, durable: true };
        engine.start(file.as_fd(), &write, 5).unwrap();
        assert_eq!(engine.flying(), 1);
        let done = run(&mut engine);
        assert_eq!((done[0].token, *done[0].result.as_ref().unwrap()), (5, 512));
        engine.start(file.as_fd(), &Job::Sync { data: true }, 0).unwrap();
        engine.start(file.as_fd(), &Job::Read { frame: 0, part: 36..36 + 1024, offset: 0 }, 1).unwrap();
        let done = run(&mut engine);
        assert_eq!(done.iter().map(|d| *d.result.as_ref().unwrap()).collect::<Vec<_>>(), [0, 1024]);
        let read = &engine.frames().bytes(0)[36..36 + 1024];
        assert!(read[..512].iter().all(|byte| *byte == 0) && read[512..].iter().all(|byte| *byte == 7));
    }
}

#[test]
fn short_reads_and_errors_are_told_as_they_are() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[1; 700]));
        engine.start(file.as_fd(), &Job::Read { frame: 0, part: 0..1024, offset: 0 }, 0).unwrap();
        engine.start(file.as_fd(), &Job::Read { frame: 1, part: 0..1024, offset: 4096 }, 1).unwrap();
        let null = File::open("/dev/null").unwrap();
        engine.start(null.as_fd(), &Job::Write { frame: 2, part: 0..512, offset: 0, durable: false }, 2).unwrap();
        let done = run(&mut engine);
        assert_eq!(done[0].result.as_ref().unwrap(), &700);
        assert_eq!(done[1].result.as_ref().unwrap(), &0);
        assert_eq!(done[2].result.as_ref().unwrap_err().raw_os_error(), Some(libc::EBADF), "{kind}");
    }
}

#[test]
fn a_discarded_range_of_a_file_reads_as_zeroes() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[9; 16384]));
        engine.start(file.as_fd(), &Job::Discard { offset: 4096, length: 8192 }, 0).unwrap();
        assert_eq!(*run(&mut engine)[0].result.as_ref().unwrap(), 0);
        let mut bytes = [0; 16384];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((bytes[4095], bytes[4096], bytes[12287], bytes[12288]), (9, 0, 0, 9));
    }
}

#[test]
fn dropping_the_engine_waits_for_what_is_under_way() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[0; 8192]));
        for frame in 0..4 {
            engine.frames_mut().bytes_mut(frame).fill(3);
            let write = Job::Write { frame, part: 36..36 + 2048, offset: 2048 * frame as u64, durable: true };
            engine.start(file.as_fd(), &write, u32::try_from(frame).unwrap()).unwrap();
        }
        drop(engine);
        let mut bytes = [0; 8192];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 3));
    }
}

#[test]
fn an_engine_goes_on_with_longer_frames() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[6; 32768]));
        engine.launch().unwrap();
        for length in [9000, 20000, 4096] {
            engine.renew(Frames::new(4, 36, 36 + length).unwrap());
            engine.start(file.as_fd(), &Job::Read { frame: 3, part: 36..36 + length, offset: 0 }, 2).unwrap();
            assert_eq!(*run(&mut engine)[0].result.as_ref().unwrap(), length, "{kind}");
            assert!(engine.frames().bytes(3)[36..].iter().all(|byte| *byte == 6));
        }
    }
}

#[test]
#[should_panic(expected = "token 1 is under way")]
fn a_token_is_under_way_once() {
    let (mut engine, file) = (engine(Kind::Threads), file(&[0; 512]));
    engine.start(file.as_fd(), &Job::Sync { data: true }, 1).unwrap();
    engine.start(file.as_fd(), &Job::Sync { data: true }, 1).unwrap();
}

#[test]
fn a_cached_file_is_read_without_waiting() {
    let file = file(&[5; 4096]);
    let mut bytes = [0; 1024];
    assert_eq!(read_cached(file.as_fd(), &mut bytes, 1024).unwrap(), 1024);
    assert_eq!(bytes, [5; 1024]);
    assert_eq!(read_cached(file.as_fd(), &mut bytes, 4000).unwrap(), 96);
    assert!(read_cached(file.as_fd(), &mut bytes, u64::MAX).is_err());
}
