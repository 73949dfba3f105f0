#!/bin/sh
# What must not get in, or not start: other keys, other clusters, damaged logs, garbage.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3

conf 2
join 1
# joins [VARIABLE=VALUE...]: node 2 with other arguments, which must end by itself.
joins() (
    config=$tmp/cluster.conf as=2 state=$tmp/state2 socket=$tmp/2.sock key=$tmp/key
    for change in "$@"; do eval "$change"; done
    timeout 80 cluster-join --conf "$config" --node "$net.$as" --state "$state" --socket "$socket" --key "$key"
)

# A key that others can read, and one that is too short.
cp "$tmp/key" "$tmp/open"
chmod 644 "$tmp/open"
fails 2 joins "key=$tmp/open"
grep -q 'mode 0644 lets others read' "$tmp/err" || fail "$(cat "$tmp/err")"

# Another key: both sides say so, neither trusts the other.
head -c 64 /dev/urandom >"$tmp/other"
chmod 600 "$tmp/other"
start wrong.log cluster-join --conf "$tmp/cluster.conf" --node "$net.2" --state "$tmp/state2" --socket "$tmp/2.sock" \
    --key "$tmp/other"
wrong=$pid
wait_for 10 grep -q 'the peer does not hold this cluster.s key' "$tmp/join1.log"
wait_for 10 grep -q "node $net.1: .*no session" "$tmp/wrong.log"
fails 1 stat 1
kill "$wrong"
wait "$wrong" || fail 'a daemon told to stop exited with an error'

# The right key, another cluster.
sed 's/name="test"/name="other"/' "$tmp/cluster.conf" >"$tmp/other.conf"
start other.log cluster-join --conf "$tmp/other.conf" --node "$net.2" --state "$tmp/state-other" \
    --socket "$tmp/2.sock" --key "$tmp/key"
other=$pid
wait_for 10 grep -q "refused: it is of cluster .other., this node of .test." "$tmp/join1.log"
kill "$other"
wait "$other"

# Now the real one.
join 2
quorate 1 2
for number in 1 2 3 4 5; do lock 1 -n "r$number" -- true; done

# A second daemon on the same state, and on the same socket.
fails 2 joins "socket=$tmp/second.sock"
grep -q 'another cluster-join uses it' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 2 joins "state=$tmp/second"
grep -q 'another daemon answers there' "$tmp/err" || fail "$(cat "$tmp/err")"

# The control socket: garbage is answered, a line without end is hung up on, others are served.
ctl 1 'garbage' '{"id":3,"op":"dance"}' '{"id":4,"op":"lock","resource":"","mode":"EX"}' \
    '{"id":5,"op":"lock","resource":"r","mode":"XX"}' '{"id":6,"op":"unlock","resource":"r"}' >"$tmp/out"
equal 'answers' "$(grep -c '"error":{"kind":"invalid"' "$tmp/out")" 4
grep -q '"id":6,"error":{"kind":"not-held"' "$tmp/out" || fail "$(cat "$tmp/out")"
python3 - "$tmp/1.sock" <<'PYTHON'
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(80)
client.connect(sys.argv[1])
try:
    for _ in range(1000):
        client.sendall(b"x" * 65536)
except (BrokenPipeError, ConnectionResetError):
    pass
else:
    sys.exit("65 MB of one line were swallowed")
PYTHON
# Connections that say nothing, to the socket and to the port, do not keep the others out.
python3 - "$tmp/1.sock" "$net.1" "$port" <<'PYTHON' &
import socket, sys, time
held = []
for _ in range(100):
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    held.append(client)
for _ in range(40):
    held.append(socket.create_connection((sys.argv[2], int(sys.argv[3]))))
held[-1].sendall(b"\xff\xffGET / HTTP/1.0\r\n\r\n" * 4000)
print("held", flush=True)
time.sleep(60)
PYTHON
idle=$!
cleanup "kill $idle 2>/dev/null"
wait_for 10 grep -q 'too many that say nothing' "$tmp/join1.log"
lock 1 -w 60 among-idlers -- true || fail 'idle connections keep everybody out'
down 2
join 2
quorate 1 2
kill "$idle"

# The state directory belongs to one node of one cluster.
down 2
fails 2 joins as=1 "socket=$tmp/x.sock" 
grep -q 'belongs to node 2, not 1' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 2 joins "config=$tmp/other.conf"
grep -q 'belongs to cluster .test., not .other.' "$tmp/err" || fail "$(cat "$tmp/err")"

# A torn tail is cut off and told; damage is refused with its place, that of what was written last
# as well.
logfile=$(echo "$tmp"/state2/log-*)
cp "$logfile" "$tmp/good"
printf 'half a batch' >>"$logfile"
join 2
grep -q "log-.*: cut off 12 bytes of a write that a crash interrupted" "$tmp/join2.log" || fail "$(cat "$tmp/join2.log")"
quorate 1 2
down 2
logfile=$(echo "$tmp"/state2/log-*)
cp "$logfile" "$tmp/good"
last=$(($(wc -c <"$logfile") - 512))
for sector in 512 "$last"; do
    cp "$tmp/good" "$logfile"
    printf '\377' | dd of="$logfile" bs=1 seek=$((sector + 22)) conv=notrunc 2>/dev/null
    fails 2 joins
    grep -q "log-[0-9a-f]*: byte $sector: a sector that was written and has changed since" "$tmp/err" ||
        fail "$(cat "$tmp/err")"
done

# A node that lost its state comes back empty, says so, is told everything, and only then stands
# for election again.
down 1
rm -rf "$tmp/state2"
join 1
join 2
wait_for 20 grep -q 'no vote before it has caught up' "$tmp/join2.log"
wait_for 20 grep -q 'caught up: this node votes again' "$tmp/join2.log"
quorate 1 2
lock 2 -w 60 r1 -- true || fail 'no lock on a node that lost its state and caught up'
