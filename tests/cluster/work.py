"""work.py SOCKET FILE: take and free a lock, again and again, until killed.

After each round FILE holds the number of rounds and the longest one in ms.
"""
import json
import socket
import sys
import time

client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
client.connect(sys.argv[1])
reader = client.makefile()
rounds = worst = 0
with open(sys.argv[2], "w", encoding="ascii") as out:
    while True:
        before = time.monotonic()
        for call in ({"op": "lock", "mode": "EX"}, {"op": "unlock"}):
            rounds += 1
            call = {"id": rounds, "resource": "work-" + sys.argv[1].rsplit("/", 1)[-1], **call}
            client.sendall(json.dumps(call).encode() + b"\n")
            answer = json.loads(reader.readline())
            if answer["id"] != rounds or "ok" not in answer:
                sys.exit(f"{call}: {answer}")
        took = time.monotonic() - before
        if took > 0.3:
            print(f"{time.time():.3f}: round {rounds // 2} took {took * 1000:.0f} ms", flush=True)
        worst = max(worst, took)
        out.seek(0)
        out.write(f"{rounds // 2} {worst * 1000:.0f}\n")
        out.flush()
        time.sleep(0.01)
