#!/bin/sh
# One node is quorate alone; of two both are needed, two_node or not.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"

conf 1
join 1
quorate 1
lock 1 -n one -- true || fail 'a cluster of one grants no lock'
down 1
join 1
quorate 1
lock 1 -w 60 one -- true || fail 'a cluster of one that restarted grants no lock'
down 1 TERM
fails 2 stat 1

for attributes in '' 'two_node="1" expected_votes="1"'; do
    rm -rf "$tmp"/state* "$tmp"/*.sock*
    port=$((port + 1))
    conf 2 "$attributes"
    join 1
    join 2
    quorate 1 2
    lock 1 -n both -- true || fail 'two of two grant no lock'
    down 2
    wait_for 10 sh -c "! cluster-stat --socket '$tmp/1.sock'"
    stat 1 >"$tmp/out" || :
    grep -q "1 of 2 votes, 2 needed: $net.2 lost since [0-9: -]* UTC; \(it must return\|.*cluster-fence --ack $net.2\)$" "$tmp/out" || fail "$(cat "$tmp/out")"
    fails 1 lock 1 -n alone -- true
    join 2
    quorate 1 2
    lock 1 -w 60 both -- true || fail 'two of two grant no lock after one returned'
    down 1 TERM
    down 2 TERM
done

# Reading of the file as it was written in 2005, and what is wrong with it where.
conf 2 'two_node="1"'
fails 2 cluster-join --conf "$tmp/cluster.conf" --node "$net.1" --state "$tmp/s" --socket "$tmp/s.sock" --key "$tmp/key"
grep -q "cluster.conf:2:1: two_node=\"1\" needs expected_votes=\"1\" beside it" "$tmp/err" || fail "$(cat "$tmp/err")"
