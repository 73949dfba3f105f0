#!/bin/sh
# Verified traffic: overlapping requests at any sector, every fifth write sent twice, every read
# checked against a model, everything read back at the end. Against a target without a disk the
# same checks must fail.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires jq
load=$BIN/examples/aoe-load
[ -x "$load" ] || skip "needs cargo build -p nines-testkit --examples"
netns target
netns client
veth target client
serve() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" "$@" >"$tmp/line" 2>"$tmp/log" </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null; wait $pid 2>/dev/null"
    wait_for 10 test -s "$tmp/line"
}
# verified ARGUMENT...: no error, no mismatch, and work done.
verified() {
    in_ns client "$load" --verify --unaligned --duplicates 20 --seconds 1 --pid $pid "$@" eth1 7 3 >"$tmp/out" 2>"$tmp/err" ||
        fail "$*: $(cat "$tmp/out" "$tmp/err" "$tmp/log")"
    cat "$tmp/out"
    jq -e '.reads > 0 and .writes > 0 and .duplicates > 0 and .verified_sectors > .reads and .cpu_us > 0' "$tmp/out" >/dev/null ||
        fail "$*: nothing was verified: $(cat "$tmp/out")"
}
truncate -s 4M "$tmp/disk"
for mtu in 9000 1500; do
    for end in target client; do ip -n "$(ns $end)" link set eth1 mtu $mtu; done
    for mode in '' --write-back; do
        # shellcheck disable=SC2086 # no option or one
        serve aoe-vblade $mode 7 3 eth1 "$tmp/disk"
        verified --depth 16 --writes 50 --span 512
        verified --depth 64 --writes 80 --span 64 --size 16384
        kill $pid
        wait $pid || fail "status $? after SIGTERM"
    done
done
serve "$BIN/examples/aoe-null" eth1 7 3 8192
fails 1 in_ns client "$load" --verify --writes 50 --seconds 0.2 --span 64 eth1 7 3
jq -e '.mismatches > 0 and .errors == 0' "$tmp/out" >/dev/null || fail "an absent disk: $(cat "$tmp/out")"
grep -q "found what cannot be there" "$tmp/err" || fail "an absent disk: $(cat "$tmp/err")"
