#!/bin/sh
# Two nodes: either goes on alone once the other is certainly off, and not before. When both were off
# and only the one with the older log returns, it waits. When the cable between them breaks, one of
# them lives.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/spaces.sh
. "$(dirname -- "$0")/cluster/spaces.sh"
# shellcheck source=tests/cluster/fences.sh
. "$(dirname -- "$0")/cluster/fences.sh"
requires cluster-fence python3

token=500
fence_conf 2 'two_node="1" expected_votes="1"'
spaces 2
power 1
power 2
quorate 1 2
both() { for number in 1 2; do wait_for 30 members "$number" 2; done; }
both
put() { ctl "$1" "{\"id\":1,\"op\":\"put\",\"key\":\"$2\",\"value\":\"$3\"}" | grep -q '"revision"' || fail "node $1 did not write $2"; }
value() { ctl "$1" "{\"id\":1,\"op\":\"get\",\"key\":\"$2\"}"; }

for survivor in 1 2; do
    dead=$((3 - survivor))
    put "$dead" "before$survivor" old
    # Not while the switch does not answer.
    broken
    down "$dead"
    wait_for 20 switched "$dead" "$survivor"
    fails 1 lock "$survivor" -n alone -- true
    well
    quorate "$survivor"
    wait_for 10 lock "$survivor" -n alone -- true
    put "$survivor" "after$survivor" new

    # Both are off, and only the stale one returns: it must not make up a past of its own.
    down "$survivor"
    power "$dead"
    sleep "$((6 * token / 1000))"
    fails 1 stat "$dead"
    fails 1 lock "$dead" -w 1 stale -- true

    # The other one returns; what it decided alone is what both know.
    power "$survivor"
    quorate "$survivor"
    for number in 1 2; do
        wait_for 30 sh -c "cluster-stat --socket '$tmp/$number.sock' | grep -q '$net.$dead .*\\(held\\|member\\) '"
    done
    if stat "$survivor" | grep -q " $net\\.$dead .* held "; then
        cluster-fence --socket "$tmp/$survivor.sock" unfence "$net.$dead" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
    fi
    both
    quorate "$dead"
    for number in 1 2; do
        value "$number" "after$survivor" | grep -q '"new"' || fail "node $number does not know what was decided alone"
        value "$number" "before$survivor" | grep -q '"old"' || fail "node $number forgot what both had decided"
    done
done

# The cable breaks: the one with the lower number switches the other off, and goes on.
before=$(grep -c '^off 2$' "$tmp/room/log")
cut 1
wait_for 20 switched 2 $((before + 1))
quorate 1
# The switch has answered; a killed process takes its time to be gone.
gone() { ! kill -0 "$(daemon "$1")" 2>/dev/null; }
wait_for 10 gone 2
alive 1
wait_for 10 lock 1 -n after-the-cable -- true
