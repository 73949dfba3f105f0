#!/bin/sh
# The log does not grow without end, and a disk that is full ends the daemon, not its promises.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3
private_mounts

# locks NODE COUNT: so many grants and releases over one connection.
locks() {
    python3 - "$tmp/$1.sock" "$2" <<'PYTHON'
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
reader = client.makefile()
note = "n" * 200
for number in range(int(sys.argv[2])):
    for call in ({"op": "lock", "resource": "r", "mode": "EX", "note": note}, {"op": "unlock", "resource": "r"}):
        client.sendall((json.dumps({"id": number + 1, **call}) + "\n").encode())
        line = reader.readline()
        if not line:
            sys.exit(3)
        assert "ok" in json.loads(line), line
PYTHON
}

conf 1
join 1
quorate 1
ctl 1 '{"id":1,"op":"lock","resource":"keep","mode":"EX","sticky":true}' >/dev/null
locks 1 4500
equal 'files' "$(find "$tmp/state1" -name 'snapshot-*' | wc -l) $(find "$tmp/state1" -name 'log-*' | wc -l)" '1 1'
size=$(du -sk "$tmp/state1" | cut -f 1)
[ "$size" -lt 6000 ] || fail "9000 changes take $size KiB"
down 1
join 1
quorate 1
fails 1 lock 1 -n keep -- true
# shellcheck disable=SC2016 # a variable for the command
generation=$(lock 1 r -c 'echo $CLUSTER_LOCK_GENERATION')
[ "$generation" -gt 4500 ] || fail "generation $generation after 4500"
down 1

mkdir "$tmp/small"
cleanup "umount '$tmp/small'"
mount -t tmpfs -o size=256k tmpfs "$tmp/small" || skip 'cannot mount a small file system'
rm -rf "$tmp/state1"
ln -s "$tmp/small" "$tmp/state1"
join 1
quorate 1
fails 3 locks 1 4000
grep -q 'small.*log-.*No space left\|state1/log-.*No space left' "$tmp/join1.log" || fail "$(cat "$tmp/join1.log")"
mount -o remount,size=8m "$tmp/small"
join 1
quorate 1
lock 1 -w 60 r -- true || fail 'no lock after the disk had room again'
