#!/bin/sh
# cluster-conf, cluster-leave and the views of cluster-stat against a running cluster of three.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3 cluster-conf cluster-leave diff

# Each node has a file of its own, which its daemon replaces.
begin() {
    start "join$1.log" cluster-join --conf "$tmp/$1.conf" --node "$net.$1" --state "$tmp/state$1" \
        --socket "$tmp/$1.sock" --key "$tmp/key"
    printf '%s\n' "$pid" >"$tmp/$1.pid"
    wait_for 15 answers "$1"
}
at() {
    on=$1 program=$2
    shift 2
    "$program" --socket "$tmp/$on.sock" "$@"
}

conf 3
cluster-conf check "$tmp/cluster.conf" >"$tmp/out" || fail "$(cat "$tmp/out")"
grep -q ': 0 errors, 2 warnings$' "$tmp/out" || fail "$(cat "$tmp/out")"
fails 1 cluster-conf check --strict "$tmp/cluster.conf"
fails 2 cluster-conf check "$tmp/none"
for number in 1 2 3; do
    cp "$tmp/cluster.conf" "$tmp/$number.conf"
    begin "$number"
done
quorate 1 2 3

# The cluster's configuration is the file's, and a change of the file differs from it.
wait_for 10 at 1 cluster-conf show
at 1 cluster-conf show | cmp - "$tmp/cluster.conf" || fail 'the configuration is another one'
at 1 cluster-conf diff "$tmp/cluster.conf" || fail 'equal texts differ'
sed 's/config_version="1"/config_version="2"/; s/<totem token="[0-9]*"/<totem token="1500"/' "$tmp/cluster.conf" >"$tmp/2.new"
fails 1 at 1 cluster-conf diff "$tmp/2.new"
diff -u "$tmp/cluster.conf" "$tmp/2.new" | tail -n +3 >"$tmp/wanted" || :
tail -n +3 "$tmp/out" | cmp - "$tmp/wanted" || fail "$(cat "$tmp/out")"

# What is wrong never gets as far as the cluster, and an old number is no successor.
sed 's/config_version="2"/config_version="3"/; s/nodeid="2"/nodeid="1"/' "$tmp/2.new" >"$tmp/bad"
fails 1 at 1 cluster-conf update "$tmp/bad"
grep -q "bad:[0-9]*:[0-9]*: error: .$net.2' has the nodeid 1" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at 1 cluster-conf update "$tmp/cluster.conf"
grep -q 'config_version 1, and the cluster has 1: make it 2' "$tmp/err" || fail "$(cat "$tmp/err")"

# An update is on every disk when it is answered, and each node has its line.
at 2 cluster-conf update "$tmp/2.new" >"$tmp/out" 2>"$tmp/err" || fail "$(cat "$tmp/out" "$tmp/err")"
equal 'stored' "$(grep -c '	stored	-$' "$tmp/out")" 3
for number in 1 2 3; do cmp "$tmp/2.new" "$tmp/$number.conf" || fail "node $number has another file"; done
equal 'versions' "$(at 3 cluster-conf history | cut -f 1 | tr '\n' ' ')" '1 2 '
at 3 cluster-stat conf | grep -q '^2	current	' || fail "$(at 3 cluster-stat conf)"
at 1 cluster-stat status | grep -qx 'Config Version: 2' || fail "$(at 1 cluster-stat status)"

# Back to the first text: only the number is another one.
at 1 cluster-conf rollback 1 >"$tmp/out" 2>"$tmp/err" || fail "$(cat "$tmp/out" "$tmp/err")"
at 3 cluster-conf show >"$tmp/now"
sed 's/config_version="1"/config_version="3"/' "$tmp/cluster.conf" | cmp - "$tmp/now" || fail "$(cat "$tmp/now")"
fails 1 at 1 cluster-conf diff 2
fails 1 at 1 cluster-conf diff 1 3
fails 1 at 1 cluster-conf rollback 3
fails 1 at 1 cluster-conf show 7
grep -q 'version 7 is not kept; there are 1, 2, 3' "$tmp/err" || fail "$(cat "$tmp/err")"
at 1 cluster-stat log --kind configured >"$tmp/out"
equal 'records' "$(wc -l <"$tmp/out")" 3
at 1 cluster-stat log --since 1h --json | python3 -c 'import json, sys
numbers = [json.loads(line)["number"] for line in sys.stdin]
assert numbers == sorted(set(numbers)) and numbers, numbers'
[ -z "$(at 1 cluster-stat log --kind nothing)" ] || fail 'a filter that filters nothing'

# Every view answers, as text and as JSON.
for view in status nodes services locks fences log conf keys links; do
    at 1 cluster-stat "$view" >"$tmp/out" || fail "$view"
    at 1 cluster-stat "$view" --json | python3 -c 'import json, sys
for line in sys.stdin: json.loads(line)' || fail "$view --json"
done

# A host that has something does not leave, and is told what ends it.
ctl 3 '{"id":1,"op":"lock","resource":"D_web","mode":"EX","sticky":true,"note":"for the test"}' >"$tmp/out"
fails 1 at 3 cluster-leave
grep -q '^lock	D_web	for the test	xen-domctl migrate' "$tmp/out" || fail "$(cat "$tmp/out" "$tmp/err")"
grep -q "$net.3 holds" "$tmp/err" || fail "$(cat "$tmp/err")"
ctl 3 '{"id":1,"op":"unlock","resource":"D_web","sticky":true}' >"$tmp/out"
at 3 cluster-leave --wait >"$tmp/out" || fail "$(cat "$tmp/out")"
grep -qx "$net.3 has left" "$tmp/out" || fail "$(cat "$tmp/out")"
if kill -0 "$(daemon 3)" 2>/dev/null; then wait_for 5 sh -c "! kill -0 $(daemon 3) || grep -q Z /proc/$(daemon 3)/stat"; fi
wait_for 10 sh -c "cluster-stat --socket '$tmp/1.sock' | grep -q '$net.3  *left'"
at 1 cluster-stat | grep -qx 'quorate  yes' || fail "$(at 1 cluster-stat)"
at 1 cluster-stat log --kind left --node "$net.3" | grep -q "	left	$net.3	" || fail "$(at 1 cluster-stat log)"
fails 2 at 3 cluster-leave

# It comes back, and goes for good.
begin 3
quorate 3
at 3 cluster-leave --remove >"$tmp/out" || fail "$(cat "$tmp/out")"
wait_for 10 sh -c "! cluster-conf --socket '$tmp/1.sock' show | grep -q '$net.3'"
at 1 cluster-conf history | tail -n 1 | grep -q '^4	' || fail "$(at 1 cluster-conf history)"
quorate 1 2
