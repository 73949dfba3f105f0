use super::*;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

fn pair(
    ours: &str,
    theirs: &str,
    purposes: (&'static str, &'static str),
) -> (io::Result<Session>, io::Result<Session>) {
    let (ours, theirs) = (Key::from_secret(ours.as_bytes()), Key::from_secret(theirs.as_bytes()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        Session::accept(stream, &theirs, purposes.1, b"server")
    });
    let stream = TcpStream::connect(address).unwrap();
    let client = Session::connect(stream, &ours, purposes.0, b"client");
    (client, server.join().unwrap())
}

/// What happens to the initiator's message of that number on its way.
type Tamper = fn(Vec<u8>, usize) -> Vec<Vec<u8>>;

fn counting(length: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(length).collect()
}

fn established() -> (Session, Session) {
    let (client, server) = pair("k", "k", ("test", "test"));
    (client.unwrap(), server.unwrap())
}

#[test]
fn messages_of_every_length_arrive_whole_and_in_order() {
    let (mut client, mut server) = established();
    assert_eq!((client.hello.as_slice(), server.hello.as_slice()), (&b"server"[..], &b"client"[..]));
    let lengths = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5];
    let reader = thread::spawn(move || {
        for length in lengths {
            let message = server.receiver.receive(1 << 20).unwrap().unwrap();
            assert_eq!(message, counting(length));
        }
        server.sender.send(b"seen").unwrap();
        assert_eq!(server.receiver.receive(1 << 20).unwrap(), None);
    });
    for length in lengths {
        client.sender.send(&counting(length)).unwrap();
    }
    assert_eq!(client.receiver.receive(16).unwrap().unwrap(), b"seen");
    client.sender.close();
    reader.join().unwrap();
}

#[test]
fn a_peer_with_another_key_or_purpose_gets_nothing() {
    for (client, server) in [pair("k", "other", ("a", "a")), pair("k", "k", ("a", "b"))] {
        assert_eq!(server.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(client.is_err());
    }
}

#[test]
fn a_longer_message_than_the_receiver_takes_is_refused() {
    let (mut client, mut server) = established();
    client.sender.send(&[7; 100]).unwrap();
    assert_eq!(server.receiver.receive(99).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// Puts a relay between two ends that hands each Noise message of the initiator to `tamper`.
fn relayed(tamper: Tamper) -> io::Result<Vec<Vec<u8>>> {
    let key = Key::from_secret(b"k");
    let (front, back) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (front_at, back_at) = (front.local_addr().unwrap(), back.local_addr().unwrap());
    thread::spawn(move || {
        let (mut client, _) = front.accept().unwrap();
        let mut server = TcpStream::connect(back_at).unwrap();
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from, &mut to));
        for number in 0.. {
            let Ok(Some(length)) = read_length(&mut client, true) else { break };
            let mut message = vec![0; length];
            client.read_exact(&mut message).unwrap();
            for out in tamper(message, number) {
                if server.write_all(&length_prefix(out.len()).unwrap()).and_then(|()| server.write_all(&out)).is_err() {
                    return;
                }
            }
        }
        let _ = server.shutdown(Shutdown::Write);
    });
    let accepting = key.clone();
    let server = thread::spawn(move || {
        let (stream, _) = back.accept().unwrap();
        let mut session = Session::accept(stream, &accepting, "t", b"")?;
        let mut got = Vec::new();
        while let Some(message) = session.receiver.receive(100)? {
            got.push(message);
        }
        Ok(got)
    });
    let mut session = Session::connect(TcpStream::connect(front_at).unwrap(), &key, "t", b"").unwrap();
    for message in [b"one", b"two"] {
        // The other end may have given up already.
        let _ = session.sender.send(message);
    }
    let _ = session.sender.stream().shutdown(Shutdown::Write);
    server.join().unwrap()
}

#[test]
fn replayed_reordered_dropped_and_altered_messages_end_the_session() {
    let untouched = relayed(|message, _| vec![message]).unwrap();
    assert_eq!(untouched, [b"one".to_vec(), b"two".to_vec()]);
    let tampers: [Tamper; 3] = [
        |message, number| if number == 1 { vec![message.clone(), message] } else { vec![message] },
        |message, number| if number == 1 { vec![] } else { vec![message] },
        |mut message, number| {
            if number == 2 {
                message[3] ^= 1;
            }
            vec![message]
        },
    ];
    for tamper in tampers {
        assert_eq!(relayed(tamper).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_recorded_greeting_played_again_opens_nothing() {
    let key = Key::from_secret(b"k");
    let mut greeting = Vec::new();
    write_hello(&mut greeting, &mut handshake(&key, "t", true).unwrap(), b"node2").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut replayer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    replayer.write_all(&greeting).unwrap();
    replayer.write_all(&[0, 17]).unwrap();
    replayer.write_all(&[0; 17]).unwrap();
    let error = Session::accept(listener.accept().unwrap().0, &key, "t", b"").unwrap_err();
    assert_eq!(Refusal::of(&error), Some(Refusal::Replayed));
}

#[test]
fn garbage_in_place_of_a_greeting_is_told_from_a_wrong_key() {
    let refused = |bytes: &[u8]| {
        let wire = read_wire(&mut &bytes[..])?;
        try_keys(&wire, &[Key::from_secret(b"k")], "t").map(|_| ())
    };
    let cause = |bytes: &[u8]| Refusal::of(&refused(bytes).unwrap_err());
    assert_eq!(cause(b"GET / HTTP/1.0\r\n\r\n"), Some(Refusal::Malformed));
    assert_eq!(cause(&[0, 47]), Some(Refusal::Malformed));
    assert_eq!(cause(&[&[0, 48][..], &[9; 48]].concat()), Some(Refusal::Key));
    assert_eq!(cause(&[0, 48, 1]), None);
}

/// Whether a session opens with `dial` where `keys` are accepted, and with which of them.
fn opens(dial: &str, keys: &[&str]) -> Option<Key> {
    let keys: Vec<Key> = keys.iter().map(|key| Key::from_secret(key.as_bytes())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || Session::accept_any(listener.accept().unwrap().0, &keys, "t", b"server"));
    let client = Session::connect(TcpStream::connect(address).unwrap(), &Key::from_secret(dial.as_bytes()), "t", b"");
    let server = server.join().unwrap();
    assert_eq!(client.is_ok(), server.is_ok());
    server.ok().map(|session| session.key)
}

#[test]
fn a_session_opens_with_any_key_that_is_accepted() {
    for dial in ["main", "next", "old"] {
        assert_eq!(opens(dial, &["main", "next", "old"]), Some(Key::from_secret(dial.as_bytes())));
    }
    assert_eq!(opens("gone", &["main", "next", "old"]), None);
}

#[test]
fn every_pair_of_nodes_has_a_key_in_common_at_every_step_of_a_rotation() {
    // The main key is dialled with, all are accepted; three nodes go from step to step in turn.
    let steps: [&[&str]; 4] = [&["a"], &["a", "b"], &["b", "a"], &["b"]];
    for step in steps.windows(2) {
        for changed in 0..=3 {
            let ring = |node: usize| if node < changed { step[1] } else { step[0] };
            for (from, to) in [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)] {
                assert!(opens(ring(from)[0], ring(to)).is_some(), "{from} to {to} after {changed} of {step:?}");
            }
        }
    }
}

#[test]
fn the_next_and_the_old_key_are_read_where_they_exist_and_must_be_as_safe() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let put = |name: &str, byte: u8, mode: u32| {
        let file = directory.path().join(name);
        std::fs::write(&file, [byte; 32]).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = |byte: u8| Key::from_secret(&[byte; 32]);
    put("key", 1, 0o600);
    assert_eq!(Keyring::load(&path).unwrap().keys(), [key(1)]);
    put("key.old", 2, 0o600);
    put("key.next", 3, 0o600);
    let ring = Keyring::load(&path).unwrap();
    assert_eq!(ring.keys(), [key(1), key(3), key(2)]);
    assert!(ring.is_main(&key(1)) && !ring.is_main(&key(3)));
    put("key.old", 1, 0o600);
    assert_eq!(Keyring::load(&path).unwrap().keys(), [key(1), key(3)]);
    put("key.next", 3, 0o644);
    assert!(matches!(Keyring::load(&path), Err(KeyError::Mode { mode: 0o644, .. })));
}

#[test]
fn a_greeting_cut_at_any_length_is_an_error() {
    let key = Key::from_secret(b"k");
    let mut noise = handshake(&key, "t", true).unwrap();
    let mut wire = Vec::new();
    write_hello(&mut wire, &mut noise, b"hello").unwrap();
    for length in 0..wire.len() {
        let mut noise = handshake(&key, "t", false).unwrap();
        let opened = read_wire(&mut &wire[..length]).and_then(|wire| open_hello(&wire, &mut noise));
        assert!(opened.is_err(), "{length} bytes");
    }
    let mut noise = handshake(&key, "t", false).unwrap();
    assert_eq!(open_hello(&read_wire(&mut wire.as_slice()).unwrap(), &mut noise).unwrap(), b"hello");
}

#[test]
fn a_key_file_others_can_read_or_that_is_too_short_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [1; 31]).unwrap();
    assert!(matches!(Key::load(file.path()), Err(KeyError::Length { length: 31, .. })));
    std::fs::write(file.path(), [1; 64]).unwrap();
    assert!(Key::load(file.path()).is_ok());
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Key::load(file.path()), Err(KeyError::Mode { mode: 0o640, .. })));
}
