"""Clients of the key space, for tests.

keys.py write KEY COUNT FILE SOCKET...   set KEY to 1, 2, ... COUNT, each by compare-and-set
keys.py watch PREFIX END FILE SOCKET...  note each change until the key END is set
keys.py hold KEY FILE SOCKET             set KEY for this connection, say so, and wait

A daemon that is gone is left for the next socket. FILE gets a line for each write that was
acknowledged, or each change that was seen: revision, key, value (- where it was deleted).
"""
import json
import socket
import sys
import time


class Gone(Exception):
    """The daemon, and with it the answer."""


class Client:
    def __init__(self, paths):
        self.paths = paths
        self.turn = 0
        self.connection = None

    def call(self, **request):
        """The answer, or Gone when it is not known whether the call was heard."""
        while self.connection is None:
            try:
                self.connection = socket.socket(socket.AF_UNIX)
                self.connection.settimeout(120)
                self.connection.connect(self.paths[self.turn % len(self.paths)])
                self.reader = self.connection.makefile()
            except OSError:
                self.leave()
        try:
            self.connection.sendall(json.dumps({"id": 1, **request}).encode() + b"\n")
            line = self.reader.readline()
        except OSError:
            line = ""
        answer = json.loads(line) if line.endswith("\n") else {}
        if answer.get("error", {}).get("kind") == "stopping" or not answer:
            self.leave()
            raise Gone
        return answer

    def leave(self):
        self.connection = None
        self.turn += 1
        time.sleep(0.02)

    def sure(self, **request):
        """The result of a call that may be heard twice."""
        while True:
            try:
                answer = self.call(**request)
            except Gone:
                continue
            if "ok" in answer:
                return answer["ok"]
            if answer["error"]["kind"] not in ("inquorate", "busy"):
                sys.exit(f"{request}: {answer}")
            time.sleep(0.02)


def note(out, *words):
    print(*words, file=out, flush=True)


def write(key, count, out, client):
    revision = 0
    for number in range(1, int(count) + 1):
        while True:
            try:
                answer = client.call(op="put", key=key, value=str(number), if_revision=revision)
            except Gone:
                answer = {"error": {"kind": "gone"}}
            if "ok" in answer:
                revision = answer["ok"]["revision"]["revision"]
                break
            if answer["error"]["kind"] not in ("gone", "inquorate", "busy"):
                sys.exit(f"{key} = {number}: {answer}")
            # It may have been heard, and then nobody else has set it.
            entry = client.sure(op="get", key=key)["key"]["entry"]
            if entry and entry["value"] == str(number):
                revision = entry["revision"]
                break
        note(out, revision, key, number)


def watch(prefix, end, out, client):
    after = 0
    while True:
        events = client.sure(op="watch", prefix=prefix, after=after)["events"]
        for event in events["events"]:
            note(out, event["revision"], event["key"], event.get("value", "-"))
            if event["key"] == end:
                return
        after = events["revision"]


def hold(key, out, client):
    note(out, client.call(op="put", key=key, value="here", owner="connection")["ok"]["revision"]["revision"], key, "here")
    client.reader.readline()


what, *rest = sys.argv[1:]
if what == "hold":
    rest.insert(1, "")
first, second, path, *sockets = rest
with open(path, "w", encoding="ascii") as out:
    client = Client(sockets)
    if what == "write":
        write(first, second, out, client)
    elif what == "watch":
        watch(first, second, out, client)
    else:
        hold(first, out, client)
