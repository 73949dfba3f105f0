#!/bin/sh
# A host with a watchdog: how long it freezes before it is reset is the administrator's choice, and a
# daemon that starts over while it is armed feeds it again under a lease of its own and not before.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3 setsid

dogs=
# begin TIMEOUT GRACE: a cluster of three whose hosts have such a watchdog, node 3 with a lock.
begin() {
    for dog in $dogs; do end "$dog"; done
    dogs=
    rm -rf "$tmp"/state* "$tmp"/*.sock* "$tmp"/fed* "$tmp"/dog?
    port=$((port + 1))
    conf 3
    sed -i "s|<clusternodes>|<watchdog device=\"/proc/self/fd/9\" timeout=\"$1\" quorum_grace=\"$2\"/><clusternodes>|" \
        "$tmp/cluster.conf"
    for number in 1 2 3; do
        enter "$number"
        start "dog$number.log" python3 "$top/tests/cluster/dog.py" "$tmp/dog$number" "$tmp/$number.pid" "$tmp/fed$number" "$1"
        dogs="$dogs $pid"
    done
    quorate 1 2 3
    ctl 3 '{"id":1,"op":"lock","resource":"disk","mode":"EX","sticky":true}' | grep -q '"granted"' || fail 'not granted'
    wait_for 10 grep -q '^armed' "$tmp/fed3"
}
# enter NODE: its daemon, always in the same boot.
enter() {
    [ -p "$tmp/dog$1" ] || mkfifo "$tmp/dog$1"
    start "join$1.log" setsid cluster-join --conf "$tmp/cluster.conf" --node "$net.$1" --state "$tmp/state$1" \
        --socket "$tmp/$1.sock" --key "$tmp/key" --boot "boot$1" --leftovers "$tmp/none" 9<>"$tmp/dog$1"
    printf '%s\n' "$pid" >"$tmp/$1.pid"
    wait_for 15 answers "$1"
}
# alone and together: node 3 hears nobody, and everybody again.
alone() { kill -STOP "$(daemon 1)" "$(daemon 2)"; }
together() { kill -CONT "$(daemon 1)" "$(daemon 2)"; }
# holds: node 3 still has its lock, as the others see it.
holds() { cluster-stat --socket "$tmp/1.sock" locks | grep -q "^disk	granted	$net\.3	"; }
fed() { grep -c '^fed' "$tmp/fed3" || :; }
more_than() { [ "$(fed)" -gt "$1" ]; }

# Without a majority for much longer than the watchdog's time, but not than the grace: nobody is reset.
begin 2 600
alone
wait_for 20 test -s "$tmp/state3/reset"
grep -q 'this host resets itself by ' "$tmp/join3.log" || fail "$(cat "$tmp/join3.log")"
# Twice the watchdog's time.
before=$(fed)
wait_for 20 more_than $((before + 8))
fails 1 lock 3 -n other -- true
! grep -q '^reset' "$tmp/fed3" || fail 'reset within the grace'
together
wait_for 20 grep -q 'this host has a lease again and is not reset' "$tmp/join3.log"
wait_for 10 sh -c "[ ! -s '$tmp/state3/reset' ]"
quorate 1 2 3
wait_for 20 holds
# They have not fenced it either: the bound has the grace in it.
equal 'fencings' "$(ctl 1 '{"id":1,"op":"fences"}' | grep -o '"operation":' | wc -l)" 0
for number in 1 2 3; do down "$number" TERM; done

# The grace ends: the host is reset, and not before.
begin 2 5
from=$(date +%s%N)
alone
wait_for 20 grep -q '^reset' "$tmp/fed3"
took=$((($(date +%s%N) - from) / 1000000))
echo "reset $took ms after the last majority"
# The lease may be a heartbeat old; grace and watchdog are whole.
[ "$took" -ge 6500 ] || fail "reset after $took ms, with a grace of 5 s and a watchdog of 2 s"
together
for number in 1 2; do down "$number" TERM; done

# The daemon of an armed host dies, its watchdog has time left. The next one of that boot, without a
# majority, leaves the watchdog to itself; with one it feeds it, and the host still has its lock.
begin 600 0
down 3
alone
before=$(fed)
enter 3
# Two token times, and whoever asks is told why.
fails 1 lock 3 -w 2 other -- true
equal 'fed without a lease' "$(fed)" "$before"
together
quorate 3
wait_for 20 more_than "$before"
wait_for 20 holds
lock 3 -w 60 other -- true || fail "nothing for a host whose daemon started over: $(stat 3)"
ctl 3 '{"id":1,"op":"unlock","resource":"disk","sticky":true}' >"$tmp/out"
wait_for 30 grep -q '^disarmed' "$tmp/fed3"
! grep -q '^reset' "$tmp/fed3" || fail 'reset'
