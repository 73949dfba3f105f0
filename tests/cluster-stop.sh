#!/bin/sh
# A daemon that is stopped for less than the token is not missed; for longer, it is lost and comes
# back as it was.
. "$(dirname -- "$0")/lib.sh"
token=${token:-1000}
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/links.sh
. "$(dirname -- "$0")/cluster/links.sh"

conf 3
states_in_memory
for number in 1 2 3; do join "$number"; done
quorate 1 2 3
for number in 1 2 3; do together "$number"; done

# What the daemons may not be kept from by a busy host, as far as this one lets them.
for number in 1 2 3; do
    status=/proc/$(daemon "$number")/status
    if grep -q 'memory is not locked' "$tmp/join$number.log"; then
        echo "node $number: not permitted to lock memory"
    else
        grep -qE '^VmLck:[[:space:]]+[1-9]' "$status" || fail "node $number locked no memory: $(grep Vm "$status")"
    fi
    grep -E '^Vm(Lck|RSS)' "$status"
    if grep -q 'no real-time scheduling' "$tmp/join$number.log"; then
        echo "node $number: not permitted real-time scheduling"
        continue
    fi
    # The main thread, those that listen, and both ends of the sessions; 2 is SCHED_RR. The one that
    # writes cluster.conf is in no hurry.
    for task in /proc/"$(daemon "$number")"/task/*; do
        [ "$(cat "$task/comm")" != conf ] || continue
        equal "$(cat "$task/comm") of node $number" "$(sed 's/.*) //' "$task/stat" | cut -d' ' -f39)" 2
    done
done
# And not where it is not wanted.
start usual.log cluster-join --no-realtime --conf "$tmp/cluster.conf" --node "$net.1" --state "$tmp/usual" \
    --socket "$tmp/usual.sock" --key "$tmp/key"
usual=$pid
wait_for 10 grep -q 'listen on' "$tmp/usual.log"
wait "$usual" && fail 'two daemons listen on one address'
! grep -qE 'real-time|not locked' "$tmp/usual.log" || fail "$(cat "$tmp/usual.log")"

# pause NODE PERCENT: stop its daemon for so much of the token.
pause() {
    kill -STOP "$(daemon "$1")"
    # The length of the pause is what this is about.
    sleep "$(awk "BEGIN { print $token * $2 / 100000 }")"
    kill -CONT "$(daemon "$1")"
}
# lost_by NODE VICTIM: how often it logged that as lost.
lost_by() { grep -c "node $net.$2 is lost" "$tmp/join$1.log" || :; }

before=$(standing 1)
leads=$(ask 1 's["leader"].rsplit(".", 1)[1]')
follows=$((leads % 3 + 1))
for number in 1 2 3; do work "$number"; done
# rounds NODE: how many its client has had. In between all of them go on, so that one round falls into
# one pause.
rounds() { cut -d' ' -f1 "$tmp/$1.work"; }
served() { [ "$(rounds "$1")" -gt "$2" ]; }
for percent in 30 50 60; do
    for paused in "$follows" "$leads"; do
        pause "$paused" "$percent"
        for number in 1 2 3; do wait_for 20 served "$number" $(($(rounds "$number") + 2)); done
    done
done
for number in 1 2 3; do
    equal "node $number after short pauses" "$(standing "$number")" "$before"
    for other in 1 2 3; do equal "losses of $other" "$(lost_by "$number" "$other")" 0; done
    worked "$number" $((4 * token))
done

# Longer: one that follows, then the one that leads.
for victim in "$follows" "$leads"; do
    one=$((victim % 3 + 1))
    incarnation=$(ask "$one" "[m['incarnation'] for m in s['members'] if m['id'] == $victim][0]")
    earlier=$(cat "$tmp"/join*.log | grep 'is lost' | grep -vc "node $net.$victim is" || :)
    kill -STOP "$(daemon "$victim")"
    wait_for 20 grep -q "node $net.$victim is lost" "$tmp/join$one.log"
    sees "$one" 's["quorate"]'
    kill -CONT "$(daemon "$victim")"
    wait_for 20 grep -q "node $net.$victim is back (incarnation $incarnation)" "$tmp/join$one.log"
    quorate 1 2 3
    for number in 1 2 3; do together "$number"; done
    equal 'its run' "$(ask "$one" "[m['incarnation'] for m in s['members'] if m['id'] == $victim][0]")" "$incarnation"
    # Who slept does not take the others for lost.
    equal 'losses of others' "$(cat "$tmp"/join*.log | grep 'is lost' | grep -vc "node $net.$victim is" || :)" "$earlier"
    lock "$victim" -w 60 "after-$victim" -- true || fail "no lock on node $victim after its pause"
done
for number in 1 2 3; do worked "$number" 60000; done
