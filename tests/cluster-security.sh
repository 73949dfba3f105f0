#!/bin/sh
# Strangers, eavesdroppers and whoever sits on the cable change nothing and are counted; what they
# cost has an end. Who may not steer does not.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/links.sh
. "$(dirname -- "$0")/cluster/links.sh"
requires_root
requires unshare setpriv

conf 3
fails 2 cluster-join --conf "$tmp/cluster.conf" --node "$net.1" --state "$tmp/x" --socket "$tmp/x.sock" \
    --key "$tmp/key" --group no-such-group
grep -q 'group: no-such-group: there is no such group' "$tmp/err" || fail "$(cat "$tmp/err")"
chmod 644 "$tmp/key"
fails 2 cluster-join --conf "$tmp/cluster.conf" --node "$net.1" --state "$tmp/x" --socket "$tmp/x.sock" --key "$tmp/key"
grep -q 'mode 0644 lets others read' "$tmp/err" || fail "$(cat "$tmp/err")"
chmod 600 "$tmp/key"

# The nodes have names, and for node 1 that of node 2 leads to the one in the middle.
sed -i "s/name=\"$net\.\([0-9]*\)\"/name=\"host\1\"/" "$tmp/cluster.conf"
for number in 1 2 3; do
    printf '127.0.0.1 localhost\n' >"$tmp/hosts$number"
    for other in 1 2 3; do printf '%s host%s\n' "$net.$other" "$other" >>"$tmp/hosts$number"; done
done
sed -i "s/$net.2 host2/$net.102 host2/" "$tmp/hosts1"
echo pass >"$tmp/mode"
start middle.log python3 "$top/tests/cluster/middlebox.py" "$net.102" "$net.2" "$port" "$tmp/mode" "$tmp/tape"
wait_for 10 grep -q ready "$tmp/middle.log"
# as NODE COMMAND...: with that node's idea of who is where.
as() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    hosts=$tmp/hosts$1 && shift && exec unshare -m sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$hosts" "$@"
}
group_name=$(getent group 60 65534 1 | sed -n '1s/:.*//p')
group=$(getent group "$group_name" | cut -d: -f3)
for number in 1 2 3; do
    start "join$number.log" as "$number" cluster-join --conf "$tmp/cluster.conf" --node "host$number" \
        --state "$tmp/state$number" --socket "$tmp/$number.sock" --key "$tmp/key" --group "$group_name"
    printf '%s\n' "$pid" >"$tmp/$number.pid"
    wait_for 15 answers "$number"
done
quorate 1 2 3
for number in 1 2 3; do together "$number"; done
for number in 1 2; do work "$number"; done
before=$(standing 3)
# counted NODE NAME: how often.
counted() { ask "$1" "s['counters']['$2']"; }
unchanged() { for at in 1 2 3; do equal "node $at after $1" "$(standing "$at")" "$before"; done; }

# What is altered, left out, doubled or moved on its way ends its session, and nothing else.
for mode in flip swap drop double forge; do
    refused=$(counted 2 records-refused)
    echo "$mode" >"$tmp/mode"
    sees 2 "s['counters']['records-refused'] > $refused"
    echo pass >"$tmp/mode"
done
echo cut >"$tmp/mode"
wait_for 10 grep -q 'node host1 from .*: failed to fill whole buffer' "$tmp/join2.log"
echo pass >"$tmp/mode"
unchanged 'tampering'

# A session that was recorded, played to its node again: the greeting is genuine, what follows
# belongs to a session that is over.
cp "$tmp/tape" "$tmp/recorded"
[ "$(wc -c <"$tmp/recorded")" -gt 200 ] || fail 'nothing was recorded'
# play FILE [WHAT-PYTHON-DOES-TO-IT]
play() {
    python3 - "$net.2" "$port" "$1" "${2:-data}" <<'PYTHON'
import os, socket, sys
with open(sys.argv[3], "rb") as file:
    data = file.read()
data = eval(sys.argv[4])
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.settimeout(80)
try:
    client.sendall(data)
    while client.recv(65536):
        pass
except ConnectionError:
    pass
PYTHON
}
for number in 1 2 3; do play "$tmp/recorded"; done
equal 'replayed sessions' "$(counted 2 refused-replayed)" 3
play "$tmp/recorded" 'data[:30] + bytes([data[30] ^ 1]) + data[31:]'
play "$tmp/recorded" 'b"\0\x64" + os.urandom(100)'
equal 'greetings without the key' "$(counted 2 refused-key)" 2
play "$tmp/recorded" 'b"GET / HTTP/1.0\r\n\r\n"'
equal 'greetings that are none' "$(counted 2 refused-malformed)" 1
unchanged 'replaying'

# Real daemons that do not belong: another key, another cluster, a node that is not in the list.
head -c 64 /dev/urandom >"$tmp/other"
chmod 600 "$tmp/other"
sed 's/cluster name="test"/cluster name="other"/' "$tmp/cluster.conf" >"$tmp/other.conf"
sed 's/name="host3" nodeid="3"/name="host3" nodeid="7"/' "$tmp/cluster.conf" >"$tmp/more.conf"
# stranger CONF KEY COUNTER: it runs until node 1 has counted it.
stranger() {
    refused=$(counted 1 "$3")
    sed "s/host3/$net.9/" "$1" >"$tmp/stranger.conf"
    start stranger.log as 2 cluster-join --conf "$tmp/stranger.conf" --node "$net.9" --state "$tmp/stranger-$3" \
        --socket "$tmp/stranger.sock" --key "$2"
    sees 1 "s['counters']['$3'] > $refused"
    kill "$pid"
    wait "$pid" || :
}
stranger "$tmp/cluster.conf" "$tmp/other" refused-key
stranger "$tmp/other.conf" "$tmp/key" refused-cluster
stranger "$tmp/more.conf" "$tmp/key" refused-node
unchanged 'strangers'

# Connections by the hundred that never prove themselves, from elsewhere and from a node's own
# address: threads, descriptors and memory have an end, and a node that starts gets in.
threads() { awk '/^Threads/ { print $2 }' "/proc/$(daemon 1)/status"; }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$(daemon 1)/status"; }
descriptors() { find "/proc/$(daemon 1)/fd" | wc -l; }
had="$(threads) $(descriptors) $(memory)"
for from in 77 2; do
    start "crowd$from.log" python3 "$top/tests/cluster/crowd.py" "$net.$from" "$net.1" "$port" 200
    crowds="${crowds-} $pid"
done
for from in 77 2; do wait_for 20 grep -q 'come again' "$tmp/crowd$from.log"; done
now="$(threads) $(descriptors) $(memory)"
echo "threads, descriptors, memory in kB: $had; with 400 connections: $now"
echo "$had $now" | awk '{ exit !($4 <= $1 + 96 && $5 <= $2 + 200 && $6 <= $3 + 8192) }' || fail "they cost too much: $had, $now"
unchanged 'a crowd'
down 2
start join2.log as 2 cluster-join --conf "$tmp/cluster.conf" --node host2 --state "$tmp/state2" \
    --socket "$tmp/2.sock" --key "$tmp/key" --group "$group_name"
printf '%s\n' "$pid" >"$tmp/2.pid"
sees 1 'all(m["state"] == "member" and (m["id"] != 2 or m["incarnation"] == 2) for m in s["members"])'
for crowd in $crowds; do kill "$crowd"; done
[ "$(counted 1 refused-crowd)" -ge 100 ] || fail "only $(counted 1 refused-crowd) of a crowd were counted"
worked 1 5000

# The socket: its group may look and not steer, others not even look.
chmod 711 "$tmp"
equal 'mode and group' "$(find "$tmp/1.sock" -printf '%m %g')" "660 $group_name"
member() { setpriv --reuid=65534 --regid="$group" --clear-groups "$@"; }
member cluster-stat --socket "$tmp/1.sock" >"$tmp/out" || fail "the group may not look: $(cat "$tmp/out")"
fails 2 setpriv --reuid=65534 --regid=65533 --clear-groups cluster-stat --socket "$tmp/1.sock"
# told LINE: what a member of the group is answered.
told() {
    python3 -c '
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.settimeout(80)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode() + b"\n")
print(client.makefile().readline())' "$tmp/1.sock" "$1" "$group"
}
for op in '"lock","resource":"r","mode":"EX"' '"unlock","resource":"r"' '"put","key":"k","value":"v"' '"delete","key":"k"' \
    '"fence","node":"host3","why":"w"' '"fence-ack","node":"host3","operation":1,"incarnation":1' \
    '"fence-test","node":"host3"' '"unfence","node":"host3"' '"conf-update","text":""' '"leave"'; do
    told "{\"id\":1,\"op\":$op}" | grep -q '"kind":"denied"' || fail "$op: $(told "{\"id\":1,\"op\":$op}")"
done
for op in '"status"' '"locks"' '"log"' '"fences"' '"conf"' '"conf-history"' '"get","key":"k","stale":true'; do
    ! told "{\"id\":1,\"op\":$op}" | grep -q '"kind":"denied"' || fail "$op is denied"
done
hung=$(counted 1 clients-hung-up)
python3 - "$tmp/1.sock" "$group" <<'PYTHON'
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(65534)
clients = []
for _ in range(150):
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    clients.append(client)
clients[0].settimeout(80)
clients[-1].settimeout(80)
assert clients[-1].recv(1) == b"", "more may look at once than should"
PYTHON
[ "$(counted 1 clients-hung-up)" -gt "$hung" ] || fail 'who was hung up on is not counted'
