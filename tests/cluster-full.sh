#!/bin/sh
# The disk under one node's state fills up: its daemon ends and says which file and why, the others
# go on, and it is back, with all that was decided, when there is space again.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires cluster-history
private_mounts

token=500
conf 3
mkdir "$tmp/state3" "$tmp/history"
cleanup "umount '$tmp/state3'"
mount -t tmpfs -o size=512k tmpfs "$tmp/state3" || skip 'cannot mount a small file system'
for number in 1 2 3; do join "$number"; done
quorate 1 2 3
start run.log cluster-history run --out "$tmp/history" --clients 2 --keys --seed "$$" "$tmp/1.sock" "$tmp/2.sock" "$tmp/3.sock"
clients=$pid
ended() { ! kill -0 "$(daemon 3)" 2>/dev/null; }
wait_for 45 ended
grep -q "state3/.*: .*No space left on device" "$tmp/join3.log" || fail "$(cat "$tmp/join3.log")"
lock 1 -w 60 without-three -- true || fail "the others do not go on: $(stat 1)"
# Not before there is space; it says so again.
code=0
timeout 80 cluster-join --conf "$tmp/cluster.conf" --node "$net.3" --state "$tmp/state3" --socket "$tmp/3.sock" \
    --key "$tmp/key" >"$tmp/out" 2>"$tmp/err" || code=$?
{ [ "$code" = 2 ] && grep -q 'state3/.*No space left on device' "$tmp/err"; } ||
    fail "started on a full disk, with status $code: $(cat "$tmp/err")"
mount -o remount,size=64m "$tmp/state3"
join 3
quorate 1 2 3
lock 3 -w 60 with-three -- true || fail "no lock on the node that had no space: $(stat 3)"
wait_for 20 sh -c "cluster-stat --socket '$tmp/1.sock' | grep -c ' member ' | grep -qx 3"
kill "$clients"
wait "$clients" || fail "$(cat "$tmp/run.log")"
cluster-history check "$tmp/history" || fail 'the history cannot have been'
