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
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_greeting_cut_at_any_length_is_an_error() {
    let key = Key::from_secret(b"k");
    let mut noise = handshake(&key, "t", true).unwrap();
    let mut wire = Vec::new();
    write_hello(&mut wire, &mut noise, b"hello").unwrap();
    for length in 0..wire.len() {
        let mut noise = handshake(&key, "t", false).unwrap();
        assert!(read_hello(&mut &wire[..length], &mut noise).is_err(), "{length} bytes");
    }
    let mut noise = handshake(&key, "t", false).unwrap();
    assert_eq!(read_hello(&mut wire.as_slice(), &mut noise).unwrap(), b"hello");
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
