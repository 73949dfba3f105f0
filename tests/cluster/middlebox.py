"""middlebox.py LISTEN TARGET PORT CONTROL RECORD: between a node and the address of another one.

Relays sessions and does to the initiator's records what the file CONTROL says, to every 20th of
them: pass, flip (one bit), swap (it goes behind the next one), drop, double, cut (only its first
half, and then the end), forge (another one of the same length). RECORD gets what the initiator
sends in the last session that began.
"""
import contextlib
import os
import socket
import sys
import threading

listen, target, port, control, record = sys.argv[1:]


def read(stream, length):
    data = b""
    while len(data) < length:
        more = stream.recv(length - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def frame(stream):
    prefix = read(stream, 2)
    return prefix + read(stream, int.from_bytes(prefix, "big"))


def back(server, client):
    try:
        while data := server.recv(65536):
            client.sendall(data)
    except OSError:
        pass
    finally:
        client.close()
        server.close()


def relay(client):
    server = None
    try:
        server = socket.create_connection((target, int(port)))
        threading.Thread(target=back, args=(server, client), daemon=True).start()
        number, held = 0, b""
        with open(record, "wb", buffering=0) as tape:
            while True:
                data = frame(client)
                tape.write(data)
                number += 1
                with open(control, encoding="ascii") as file:
                    mode = file.read().strip()
                if held:
                    data, held = data + held, b""
                elif number % 20 == 0:
                    if mode == "flip":
                        data = data[:-1] + bytes([data[-1] ^ 4])
                    elif mode == "swap":
                        held, data = data, b""
                    elif mode == "drop":
                        data = b""
                    elif mode == "double":
                        data += data
                    elif mode == "forge":
                        data = data[:2] + os.urandom(len(data) - 2)
                    elif mode == "cut":
                        server.sendall(data[: len(data) // 2])
                        raise ConnectionError
                server.sendall(data)
    except OSError:
        pass
    finally:
        for stream in (client, server):
            # The other direction's thread may be waiting on it.
            if stream:
                with contextlib.suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)
                stream.close()


listener = socket.create_server((listen, int(port)), backlog=64)
print("ready", flush=True)
while True:
    threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()
