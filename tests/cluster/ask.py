"""ask.py SOCKET EXPRESSION [SECONDS]: a Python expression over the status `s` of a node.

With SECONDS, wait so long for it to be true.
"""
import json
import socket
import sys
import time

client = socket.socket(socket.AF_UNIX)
client.settimeout(80)
client.connect(sys.argv[1])
reader = client.makefile()
until = time.monotonic() + float(sys.argv[3]) if len(sys.argv) > 3 else None
while True:
    client.sendall(b'{"id":1,"op":"status"}\n')
    s = json.loads(reader.readline())["ok"]["status"]
    value = eval("(" + sys.argv[2] + ")")
    if until is None:
        print(value)
        break
    if value:
        break
    if time.monotonic() > until:
        sys.exit(print(json.dumps(s, indent=1)) or 1)
    time.sleep(0.02)
