#!/bin/sh
# Nine nodes through what a bad day of the network brings, while clients on four of them record what
# they see: a blink, a switch that is gone for thirty token times, one that comes and goes around the
# token time, four against five, and a leader that dies. Nobody is lost for good, nobody resets.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/spaces.sh
. "$(dirname -- "$0")/cluster/spaces.sh"
requires cluster-history

token=1000
all='1 2 3 4 5 6 7 8 9'
conf 9
states_in_memory
spaces 9
for number in $all; do settle "$number"; done
# shellcheck disable=SC2086 # a list of numbers
everybody() {
    quorate $all
    for number in $all; do wait_for 20 members "$number" 9; done
    alive $all
}
everybody
mkdir "$tmp/history"
start run.log cluster-history run --out "$tmp/history" --clients 1 --keys --seed "$$" \
    "$tmp/1.sock" "$tmp/3.sock" "$tmp/6.sock" "$tmp/9.sock"
clients=$pid
answers_so_far() { find "$tmp/history" -name '*.history' -exec cat {} + | grep -c '"end"' || :; }
more() { [ "$(answers_so_far)" -gt "$1" ]; }
goes_on() { wait_for 30 more $(($(answers_so_far) + 300)); }
goes_on

# A blink that is shorter than the time between two signs of life changes nothing.
lost() { cat "$tmp"/join*.log | grep -c 'is lost\|not quorate: ' || :; }
before=$(lost)
first=$(leader 2)
for victim in "$first" $((first % 9 + 1)); do
    cut "$victim"
    mend "$victim"
done
goes_on
[ "$(lost)" = "$before" ] || fail "lost by a blink: $(tail -n 3 "$tmp"/join*.log)"
equal 'leader after a blink' "$(leader 2)" "$first"

# The whole network is gone for thirty token times. Whoever asks is told why; then all is as before.
# shellcheck disable=SC2086
cut $all
for number in $all; do wait_for 10 inquorate "$number"; done
fails 1 lock 4 -n alone -- true
grep -q 'not quorate: 1 of [79] votes, [45] needed' "$tmp/err" || fail "$(cat "$tmp/err")"
sleep "$((30 * token / 1000))"
# shellcheck disable=SC2086
mend $all
everybody
goes_on
if find "$tmp" -path '*/state*/reset' | grep -q .; then fail 'a node was about to reset itself'; fi

# Four against five: the five go on, the four do not, and come back.
cut 6 7 8 9
for number in 6 7 8 9; do wait_for 10 inquorate "$number"; done
lock 2 -w 60 majority -- true || fail "five of nine do not go on: $(stat 2)"
fails 1 lock 8 -n minority -- true
mend 6 7 8 9
everybody

# A cable that is down and up around the token time.
flapping=$(($(leader 1) % 9 + 1))
for pause in 0.1 0.3 0.4 0.5; do
    cut "$flapping"
    sleep "$pause"
    mend "$flapping"
    sleep "$pause"
done
everybody

# The leader dies in the middle of it all and comes back.
first=$(leader 1)
other=$((first % 9 + 1))
down "$first"
lock "$other" -w 60 after-the-leader -- true || fail "no lock after the leader was killed: $(stat "$other")"
settle "$first"
everybody
goes_on
kill "$clients"
wait "$clients" || fail "$(cat "$tmp/run.log")"
cluster-history check "$tmp/history" || fail 'the history cannot have been'
