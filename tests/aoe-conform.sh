#!/bin/sh
# The conformance checks of crates/testkit against Debian's vblade and ours, on a sparse disk of
# 3 TiB. Ours passes all of them; which ones vblade fails is in tests/golden/aoe/conform-vblade.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires vblade
conform=$BIN/examples/aoe-conform
[ -x "$conform" ] || skip "needs cargo build -p nines-testkit --examples"
netns target
netns client
veth target client
truncate -s 3T "$tmp/disk" || skip "no files of 3 TiB here"
link="ip -n $(ns target) link set eth1"
for end in target client; do ip -n "$(ns $end)" link set eth1 mtu 9000; done

# vblade ends by some of the checks, so it is started again for as long as the test runs.
cat >"$tmp/keep" <<'END'
child=
trap 'kill $child; wait $child; exit' TERM
while :; do
    "$@" >/dev/null 2>&1 </dev/null &
    child=$!
    echo $child >"$0.pid"
    wait $child
    sleep 0.05
done
END
start vblade sh "$tmp/keep" ip netns exec "$(ns target)" vblade 7 3 eth1 "$tmp/disk"
status=0
in_ns client "$conform" --link "$link" --restart "kill \$(cat $tmp/keep.pid)" eth1 7 3 >"$tmp/vblade.table" || status=$?
kill "$pid"
wait "$pid" || :
echo "vblade:"
cat "$tmp/vblade.table"
equal "status for vblade" $status 1
sed -n 's/^fail	\([^	]*\)	.*/\1/p' "$tmp/vblade.table" >"$tmp/vblade.failed"
diff -u "$top/tests/golden/aoe/conform-vblade" "$tmp/vblade.failed" || fail "vblade fails other checks than it did"

start ours ip netns exec "$(ns target)" aoe-vblade 7 3 eth1 "$tmp/disk"
status=0
in_ns client "$conform" --link "$link" eth1 7 3 >"$tmp/ours.table" || status=$?
echo "aoe-vblade:"
cat "$tmp/ours.table"
equal "status for aoe-vblade" $status 0
equal "skipped checks" "$(grep -c '^skip' "$tmp/ours.table")" 0
equal "checks made" "$(wc -l <"$tmp/ours.table")" "$(in_ns client "$conform" --list | wc -l)"
kill "$pid"
wait "$pid" || fail "status $? after SIGTERM"
