#!/bin/sh
# The cable with faults that other tests put between a target and its initiator: it loses, doubles
# and swaps as many frames as it says, the same ones for the same seed, bears a pulled cable, and
# through it no read and no write goes wrong.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires jq
middlebox=$BIN/examples/aoe-middlebox
load=$BIN/examples/aoe-load
for program in "$middlebox" "$load"; do
    [ -x "$program" ] || skip "needs cargo build -p nines-testkit --examples"
done
netns target
netns client
netns box
for end in target client; do
    ip link add name "$end" netns "$(ns box)" mtu 9000 type veth peer name eth1 mtu 9000 netns "$(ns $end)"
    ip -n "$(ns box)" link set "$end" up
    ip -n "$(ns $end)" link set eth1 up
done
truncate -s 4M "$tmp/disk"
start target ip netns exec "$(ns target)" aoe-vblade 7 3 eth1 "$tmp/disk"
wait_for 10 grep -q e7.3 "$tmp/target"

# between OPTION...: put the middlebox there; $box is its process.
between() {
    rm -f "$tmp/counts"
    start counts ip netns exec "$(ns box)" "$middlebox" "$@" client target
    box=$pid
    wait_for 10 grep -q "between client and target" "$tmp/counts"
}
# counted FILTER: what is true of the last counts.
counted() { tail -n 1 "$tmp/counts" | jq -e "$@" >"$tmp/out"; }
ended() {
    kill "$box"
    wait "$box" || fail "status $? after SIGTERM: $(cat "$tmp/counts")"
}
verified() {
    in_ns client "$load" --verify --depth 16 --writes 50 "$@" eth1 7 3 >"$tmp/load" 2>&1 || fail "$*: $(cat "$tmp/load")"
}

between
verified --seconds 0.5
ended
counted 'all(.frames > 100 and .dropped + .duplicated + .reordered + .late + .unsent == 0)' || fail "no faults: $(cat "$tmp/counts")"

# Lost and doubled, anywhere on the disk.
between --drop 3 --duplicate 3
verified --seconds 1 --unaligned
jq -e '.retransmissions > 0' "$tmp/load" >/dev/null || fail "nothing was sent again: $(cat "$tmp/load")"
kill -USR1 "$box"
wait_for 10 grep -q frames "$tmp/counts"
counted 'all(.dropped > 0 and .duplicated > 0 and .reordered == 0 and .dropped < .frames / 10)' || fail "faults: $(cat "$tmp/counts")"
ip -n "$(ns box)" link set target down
ip -n "$(ns box)" link set target up
verified --seconds 0.5 --unaligned
ended

# Swapped, with no two requests for one place under way.
between --reorder 10 --duplicate 3
verified --seconds 0.5 --sequential
ended
counted 'all(.reordered > 10)' || fail "nothing was swapped: $(cat "$tmp/counts")"

# One seed, one sequence of faults: twice the same requests, one at a time.
for seed in 5 5 6; do
    between --duplicate 20 --seed $seed
    for command in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
        printf '10 00 0007 03 00 000000%02x 40 00 01 24 0000 0000 0000 0000\n' $command
    done | in_ns client "$BIN/examples/aoe-send" -w 10000 eth1 | cut -c 13-20 | tr '\n' ' ' >"$tmp/answers"
    equal "answers" "$(wc -w <"$tmp/answers")" 16
    ended
    tail -n 1 "$tmp/counts" | jq -c .client >>"$tmp/seeds"
done
equal "counts of one seed twice" "$(sed -n 1p "$tmp/seeds")" "$(sed -n 2p "$tmp/seeds")"
fails 2 in_ns box "$middlebox" --drop 60 --reorder 41 client target
fails 2 in_ns box "$middlebox" client nothing
grep -q "nothing: No such device" "$tmp/err" || fail "$(cat "$tmp/err")"
