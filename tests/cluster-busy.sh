#!/bin/sh
# Both cores are busy: three daemons with a token of 1000 ms lose nobody. SOAK is how long, in
# seconds; scripts/soak-busy runs this for ten minutes.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"

seconds=${SOAK:-20}
token=1000
conf 3
states_in_memory
for number in 1 2 3; do join "$number"; done
quorate 1 2 3
for number in 1 2 3; do wait_for 20 sh -c "cluster-stat --socket '$tmp/$number.sock' | grep -c ' member ' | grep -qx 3"; done
if grep -q 'no real-time scheduling' "$tmp/join1.log"; then skip 'needs the permission for real-time scheduling'; fi
# What each daemon says from here on.
for number in 1 2 3; do wc -l <"$tmp/join$number.log" >"$tmp/$number.lines"; done
term() { cluster-stat --socket "$tmp/$1.sock" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["term"])'; }
before=$(term 1)
processors=$(nproc)
for _ in $(seq "$processors"); do start loop.log sh -c 'while :; do :; done'; done
# Locks are taken all the while: a daemon has work to do as well as to wait.
end=$(($(date +%s) + seconds))
turns=0
while [ "$(date +%s)" -lt "$end" ]; do
    lock $((turns % 3 + 1)) -w 60 busy -- true || fail "no lock in a minute: $(stat 1)"
    turns=$((turns + 1))
    sleep 0.1
done
for number in 1 2 3; do
    said=$(tail -n "+$(($(cat "$tmp/$number.lines") + 1))" "$tmp/join$number.log")
    if printf '%s\n' "$said" | grep 'is lost\|no leader\|leads\|not quorate\|joined\|is back'; then
        fail "node $number saw a change that was none in $seconds s with $processors busy processors"
    fi
done
equal 'term' "$(term 1)" "$before"
echo "$seconds s with $processors busy processors, $turns locks, no change"
