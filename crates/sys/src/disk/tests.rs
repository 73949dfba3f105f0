use super::*;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
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

fn part(frame: usize, range: Range<usize>) -> Part {
    Part { frame, range }
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
        let write = Job::Write { parts: &[part(2, 36..36 + 512)], offset: 512, durable: true };
        engine.start(file.as_fd(), &write, 5).unwrap();
        assert_eq!(engine.flying(), 1);
        let done = run(&mut engine);
        assert_eq!((done[0].token, *done[0].result.as_ref().unwrap()), (5, 512));
        engine.start(file.as_fd(), &Job::Sync { data: true }, 0).unwrap();
        engine.start(file.as_fd(), &Job::Read { parts: &[part(0, 36..36 + 1024)], offset: 0 }, 1).unwrap();
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
        engine.start(file.as_fd(), &Job::Read { parts: &[part(0, 0..1024)], offset: 0 }, 0).unwrap();
        engine.start(file.as_fd(), &Job::Read { parts: &[part(1, 0..1024)], offset: 4096 }, 1).unwrap();
        let null = File::open("/dev/null").unwrap();
        engine.start(null.as_fd(), &Job::Write { parts: &[part(2, 0..512)], offset: 0, durable: false }, 2).unwrap();
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
            let write = Job::Write { parts: &[part(frame, 36..36 + 2048)], offset: 2048 * frame as u64, durable: true };
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
            engine.start(file.as_fd(), &Job::Read { parts: &[part(3, 36..36 + length)], offset: 0 }, 2).unwrap();
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
    let (file, mut frames) = (file(&[5; 4096]), Frames::new(2, 36, 2048).unwrap());
    let parts = [part(1, 36..1060), part(0, 0..10)];
    for waits in [false, true] {
        assert_eq!(read_now(file.as_fd(), &mut frames, &parts, 1024, waits).unwrap(), 1034);
        assert_eq!(frames.bytes(1)[35..1061], [&[0][..], &[5; 1024], &[0]].concat());
        assert_eq!(frames.bytes(0)[..11], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0]);
        assert_eq!(read_now(file.as_fd(), &mut frames, &parts, 4000, waits).unwrap(), 96);
        assert!(read_now(file.as_fd(), &mut frames, &parts, u64::MAX, waits).is_err());
    }
}

#[test]
fn several_parts_are_written_and_read_one_after_the_other() {
    for kind in KINDS {
        let (mut engine, file) = (engine(kind), file(&[0; 8192]));
        for frame in 0..4 {
            engine.frames_mut().bytes_mut(frame).fill(u8::try_from(frame).unwrap() + 1);
        }
        let parts = [part(3, 36..36 + 512), part(0, 36..36 + 1024), part(2, 100..101)];
        engine.start(file.as_fd(), &Job::Write { parts: &parts, offset: 512, durable: true }, 3).unwrap();
        assert_eq!(*run(&mut engine)[0].result.as_ref().unwrap(), 1537);
        write_now(file.as_fd(), engine.frames(), &[part(1, 0..1), part(3, 0..2)], 5000).unwrap();
        let mut bytes = [9; 8192];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let expected = [&[0; 512][..], &[4; 512], &[1; 1024], &[3], &[0; 2951], &[2, 4, 4], &[0; 3189]].concat();
        assert_eq!(bytes[..], expected);
        let parts = [part(1, 0..512), part(2, 0..512), part(3, 0..1024), part(0, 0..1)];
        engine.start(file.as_fd(), &Job::Read { parts: &parts, offset: 0 }, 5).unwrap();
        assert_eq!(*run(&mut engine)[0].result.as_ref().unwrap(), 2049);
        let read = |frame, length| engine.frames().bytes(frame)[..length].to_vec();
        assert_eq!([read(1, 512), read(2, 512), read(3, 1024), read(0, 1)].concat(), expected[..2049]);
    }
}

#[test]
#[should_panic(expected = "frame 1 is the kernel's")]
fn all_parts_of_a_job_under_way_are_out_of_reach() {
    let (mut engine, file) = (engine(Kind::Threads), file(&[0; 1024]));
    let parts = [part(0, 0..512), part(1, 0..512)];
    engine.start(file.as_fd(), &Job::Read { parts: &parts, offset: 0 }, 0).unwrap();
    let _ = engine.frames().bytes(1);
}
