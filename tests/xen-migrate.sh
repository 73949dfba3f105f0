#!/bin/sh
# A domain moves between two hosts of a real cluster while everything that can break does, at each
# phase: it runs exactly once, with its lock and its volumes, and the exit status says where.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/xen/hosts.sh"
start_receive a
start_receive b
at a xen-domctl create "$tmp/$domain.cfg"
here=a
runs_on a

# begin: start moving it away from $here; `ended` waits for its exit status.
begin() {
    there=$(other "$here")
    start migrate.out at "$here" sh -c "echo \$\$ >'$tmp/migrate.pid'; exec xen-domctl migrate --live $domain $(address "$there")"
    moving=$pid
}
ended() {
    status=0
    wait "$moving" || status=$?
}
# hold HOST PHASE, then release HOST PHASE.
hold() { : >"$tmp/$1/xl/hold-$2"; }
release() { rm -f "$tmp/$1/xl/hold-$2"; }
# The hosts of a migration away from $here at which each phase stops.
side() { case $1 in banner | stream | rename) echo "$here" ;; *) other "$here" ;; esac; }

# stopped_at PHASE: a migration that stands there.
stopped_at() {
    at_side=$(side "$1")
    hold "$at_side" "$1"
    begin
    wait_for 30 test -e "$tmp/$at_side/xl/at-$1"
}
# awake: how many copies are, on both hosts; awake_once: no more than one.
awake() { printf '%s\n%s\n' "$(copies a)" "$(copies b)" | grep -c -- ' -b----$' || true; }
awake_once() { [ "$(awake)" -le 1 ] || fail "it runs twice: $(copies a) $(copies b)"; }
# said: how often the receiver there had to wait for the cluster.
said() { cat "$tmp"/receive-"$there"-*.log | grep -c 'the domain stays paused until the cluster can say whose it is' || true; }
said_more() { [ "$(said)" -gt "$before" ]; }
theirs() { [ "$(owner "$there")" = "$(address "$there")" ]; }
inquorate() { ! quorate "$here"; }
resumed() { [ "$(copies "$here")" = "$domain -b----" ]; }
# ends_somewhere: status 0 means there, 2 here; nothing else is an answer.
ends_somewhere() {
    ended
    case $status in
        0) here=$there ;;
        2) ;;
        *) cat "$tmp/migrate.out" >&2 && fail "exit status $status" ;;
    esac
    runs_on "$here"
}

echo 'moves there and back, its memory unharmed'
for round in 1 2; do
    sum=$(cksum <"$tmp/$here/xl/memory-$domain")
    begin
    ended
    [ "$status" = 0 ] || { cat "$tmp/migrate.out" >&2 && fail "round $round: exit status $status"; }
    here=$there
    runs_on "$here"
    equal "memory" "$(cksum <"$tmp/$here/xl/memory-$domain")" "$sum"
    grep -q "runs on $(address "$here") now: 300[0-9]* bytes in .* s of it to change hands" "$tmp/migrate.out" || fail "$(cat "$tmp/migrate.out")"
    [ -e "$tmp/$here/run/$domain.cfg" ] || fail "no resolved file here"
    [ ! -e "$tmp/$(other "$here")/run/$domain.cfg" ] || fail "a resolved file is left there"
done

echo 'refusals change nothing'
there=$(other "$here")
fails 1 at "$here" xen-domctl migrate $domain "$(address "$here")"
grep -q 'is this host' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at "$here" xen-domctl migrate $domain nohost
grep -q "nohost: not one of the cluster's nodes 10.77.0.1, 10.77.0.2" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at "$there" xen-domctl migrate $domain "$(address "$here")"
grep -q "runs on $(address "$here")" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at "$here" xen-domctl migrate --port 1 $domain "$(address "$there")"
grep -q 'xen-domctl receive does not answer' "$tmp/err" || fail "$(cat "$tmp/err")"
head -c 64 /dev/urandom >"$tmp/other-key" && chmod 600 "$tmp/other-key"
fails 1 at "$here" xen-domctl migrate --key "$tmp/other-key" $domain "$(address "$there")"
echo "9 -b----" >"$tmp/$there/xl/domains/$domain"
fails 1 at "$here" xen-domctl migrate $domain "$(address "$there")"
grep -q "with id 9 is on $(address "$there") already" "$tmp/err" || fail "$(cat "$tmp/err")"
rm "$tmp/$there/xl/domains/$domain"
runs_on "$here"

echo 'a second worker on a moving domain is refused'
stopped_at stream
fails 1 at "$here" xen-domctl destroy $domain
grep -q 'another xen-domctl on this host is at work on it' "$tmp/err" || fail "$(cat "$tmp/err")"
equal "the table says where to" "$(owner "$there")" "$(address "$here") offered"
release "$here" stream
ends_somewhere

echo 'volumes that cannot be had there'
there=$(other "$here")
: >"$tmp/vg/refuse-$there"
begin
ended
rm "$tmp/vg/refuse-$there"
equal "exit status" "$status" 2
grep -q 'no such device' "$tmp"/receive-"$there"-*.log || fail "the receiver does not say why"
runs_on "$here"

for phase in banner stream rename; do
    echo "xl here fails at: $phase"
    : >"$tmp/$here/xl/fail-$phase"
    begin
    ended
    rm "$tmp/$here/xl/fail-$phase"
    equal "exit status" "$status" 2
    runs_on "$here"
done
for phase in built unpause; do
    echo "xl there fails at: $phase"
    there=$(other "$here")
    : >"$tmp/$there/xl/fail-$phase"
    begin
    ended
    rm "$tmp/$there/xl/fail-$phase"
    equal "exit status" "$status" 2
    runs_on "$here"
done
echo 'xl there is killed before it starts the domain, and just after'
: >"$tmp/$(other "$here")/xl/fail-go"
begin
ended
rm "$tmp/$there/xl/fail-go"
equal "exit status" "$status" 2
runs_on "$here"
: >"$tmp/$(other "$here")/xl/fail-report"
begin
ended
rm "$tmp/$there/xl/fail-report"
equal "exit status" "$status" 0
here=$there
runs_on "$here"

for phase in banner stream built rename go unpause report; do
    echo "the stream breaks at: $phase"
    stopped_at $phase
    in_ns "$here" ss -K -tn dst "$(address "$there")" dport = 8002 >/dev/null
    release "$at_side" $phase
    ends_somewhere
    # Until xl here has given permission the domain stays, from then on it goes.
    case $phase in banner | stream | built | rename) wanted=2 ;; *) wanted=0 ;; esac
    equal "exit status" "$status" "$wanted"
done

for phase in stream built go report; do
    echo "interrupted at: $phase"
    stopped_at $phase
    kill -INT "$(cat "$tmp/migrate.pid")"
    case $phase in
        # The source has heard neither "ready" nor given permission: it is called off.
        stream | built) release "$at_side" $phase && ends_somewhere && equal "exit status" "$status" 2 ;;
        *) release "$at_side" $phase && ends_somewhere && equal "exit status" "$status" 0 ;;
    esac
done

for phase in stream built go report; do
    echo "the receiving daemon is killed and respawned at: $phase"
    stopped_at $phase
    kill -9 "$(cat "$tmp/$there/receive.pid")"
    release "$at_side" $phase
    start_receive "$there"
    ends_somewhere
done

echo 'the receiving daemon is killed and respawned before xl has used its permission'
stopped_at go
kill -9 "$(cat "$tmp/$there/receive.pid")"
waits() { cat "$tmp"/receive-"$there"-*.log | grep -q 'waiting for xl to start the copy that arrived'; }
{ wait_for 30 waits && release "$there" go; } &
start_receive "$there"
ends_somewhere
equal "exit status" "$status" 0

for phase in stream go; do
    echo "the sending command is killed at: $phase"
    stopped_at $phase
    kill -9 "$(cat "$tmp/migrate.pid")"
    ended
    release "$at_side" $phase
    case $phase in
        # xl resumes it; the volumes stay shared until the next migration.
        stream) wait_for 30 resumed ;;
        # The target had its permission and took over; what was left here is cleared away.
        go)
            wait_for 30 theirs
            kill "$(cat "$tmp/$here/receive.pid")"
            start_receive "$here"
            here=$there
            ;;
    esac
    [ $phase = stream ] || runs_on "$here"
done

for phase in stream rename go report; do
    echo "the cable is out, and the cluster has no majority, at: $phase"
    stopped_at $phase
    ip -n "$(ns "$here")" link set eth1 down
    wait_for 30 inquorate
    release "$at_side" $phase
    wait_for 40 grep -q 'the connection broke' "$tmp/migrate.out"
    awake_once
    [ $phase != rename ] || equal "the suspended copy waits" "$(copies "$here")" "$domain--migratedaway ---ss-"
    ip -n "$(ns "$here")" link set eth1 up
    ends_somewhere
done

for cut in '' cut; do
    echo "cluster-join there stands still when permission comes${cut:+, and then the stream breaks}"
    stopped_at rename
    before=$(said)
    kill -STOP "$(cat "$tmp/$there/join.pid")"
    cleanup "kill -CONT $(cat "$tmp/$there/join.pid") 2>/dev/null"
    release "$at_side" rename
    wait_for 40 said_more
    equal "neither copy is awake" "$(awake)" 0
    if [ -n "$cut" ]; then
        in_ns "$here" ss -K -tn dst "$(address "$there")" dport = 8002 >/dev/null
        wait_for 40 grep -q 'the domain stays suspended until the cluster can say whose it is' "$tmp/migrate.out"
    fi
    kill -CONT "$(cat "$tmp/$there/join.pid")"
    ends_somewhere
done

at "$here" xen-domctl destroy $domain
nowhere || fail "something is left"
