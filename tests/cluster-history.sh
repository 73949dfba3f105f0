#!/bin/sh
# Clients on three nodes lock, convert, give back, put and get while leaders are killed and started
# again, nodes are stopped and go on, and connections are dropped: what they saw is what one table
# of locks and one key space would have answered, in some order.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires cluster-history

token=500
conf 3
for number in 1 2 3; do join "$number"; done
quorate 1 2 3
mkdir "$tmp/history"
start run.log cluster-history run --out "$tmp/history" --clients 3 --keys --seed "$$" \
    "$tmp/1.sock" "$tmp/2.sock" "$tmp/3.sock"
clients=$pid
answers_so_far() { find "$tmp/history" -name "*.history" -exec cat {} + | grep -c '"end"' || :; }
# more THAN: as many answers as that have come.
more() {
    kill -0 "$clients" || fail "$(cat "$tmp/run.log")"
    [ "$(answers_so_far)" -gt "$1" ]
}
for round in 1 2 3 4; do
    wait_for 60 more $(($(answers_so_far) + 1000))
    at=$((round % 3 + 1))
    victim=$(leader "$at")
    [ -n "$victim" ] || victim=$at
    case $round in
        1 | 4)
            # At once: whoever acted on its locks has to be gone before they are free.
            down "$victim"
            join "$victim"
            ;;
        2)
            down "$victim" TERM
            wait_for 60 more $(($(answers_so_far) + 1000))
            join "$victim"
            ;;
        3)
            # Long enough for the others to count it out, and to have another leader.
            kill -STOP "$(daemon "$victim")"
            wait_for 60 more $(($(answers_so_far) + 1000))
            kill -CONT "$(daemon "$victim")"
            ;;
    esac
done
wait_for 60 more $(($(answers_so_far) + 1000))
kill "$clients"
wait "$clients" || fail "$(cat "$tmp/run.log")"
cluster-history check "$tmp/history" || fail 'the history cannot have been'

# The check itself sees when somebody lies: the last grant of one lock, given a second time.
granted=$(cat "$tmp/history"/*.history | grep -o '"generation":[0-9]*' | sort -t : -n -k 2 | tail -n 1)
now=$(tail -qn 1 "$tmp/history"/*.history | grep -o '"at":[0-9]*' | sort -t : -n -k 2 | tail -n 1 | cut -d : -f 2)
{
    printf '{"ask":{"at":%s,"session":1,"what":{"op":"lock","resource":"r0","mode":"EX","wait":true}}}\n' "$((now + 1))"
    printf '{"end":{"at":%s,"what":{"granted":{%s}}}}\n' "$((now + 2))" "$granted"
} >"$tmp/history/liar.history"
fails 1 cluster-history check "$tmp/history"
grep -q 'not linearizable' "$tmp/out" || fail "$(cat "$tmp/out")"
