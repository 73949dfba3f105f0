#!/bin/sh
# clvm-lock does what flock(1) does.
# shellcheck disable=SC2016 # variables for the commands under the lock
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"

conf 1
join 1
quorate 1
export CLUSTER_SOCKET="$tmp/1.sock"

equal 'output' "$(clvm-lock r -- echo hello)" hello
equal 'shell' "$(clvm-lock -c 'echo $((1 + 1))' r)" 2
fails 7 clvm-lock r -- sh -c 'exit 7'
fails 143 clvm-lock r -- sh -c 'kill -TERM $$'
fails 127 clvm-lock r -- "$tmp/not-there"
fails 126 clvm-lock r -- "$tmp"
fails 2 clvm-lock r
first=$(clvm-lock r -c 'echo $CLUSTER_LOCK_GENERATION')
second=$(clvm-lock r -c 'echo $CLUSTER_LOCK_GENERATION')
[ "$second" -gt "$first" ] || fail "generation $second after $first"
equal 'resource' "$(clvm-lock r -c 'echo $CLUSTER_LOCK_RESOURCE')" r

# hold MODE: someone has the lock until $tmp/end is written to.
mkfifo "$tmp/end"
hold() {
    : >"$tmp/holding.log"
    start holding.log clvm-lock -m "$1" r -- sh -c "echo holding; trap 'echo got TERM; exit 3' TERM; while ! read -r x <'$tmp/end'; do :; done"
    holder=$pid
    wait_for 10 grep -q holding "$tmp/holding.log"
}
hold EX
fails 1 clvm-lock -n r -- true
grep -q 'r: in use: held by .* in EX since .* (pid [0-9]*: sh -c' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 9 clvm-lock -n -E 9 -s r -- true
before=$(date +%s%N)
fails 1 clvm-lock -w 0.5 r -- true
waited=$((($(date +%s%N) - before) / 1000000))
{ [ "$waited" -ge 500 ] && [ "$waited" -lt 20000 ]; } || fail "-w 0.5 took $waited ms"
start next.log clvm-lock -v r -- echo mine
next=$pid
wait_for 10 sh -c "cluster-stat locks | grep -q waiting"
# A signal reaches the command, whose status is passed on; the next in line is served.
kill "$holder"
status=0
wait "$holder" || status=$?
equal 'status after TERM' "$status" 3
grep -q 'got TERM' "$tmp/holding.log" || fail 'the command never saw the signal'
wait "$next" || fail "$(cat "$tmp/next.log")"
grep -q 'r: EX after .* seconds, generation' "$tmp/next.log" || fail "$(cat "$tmp/next.log")"

# Readers share, a killed holder frees, and its command goes with it.
hold PR
clvm-lock -n -s r -- true || fail 'two readers exclude each other'
fails 1 clvm-lock -n -m CW r -- true
kill -KILL "$holder"
wait "$holder" || :
clvm-lock -w 60 r -- true || fail 'a killed holder still holds'

# A lock named like a command, and the command that does the same.
equal 'a lock called list' "$(clvm-lock list -c 'echo $CLUSTER_LOCK_RESOURCE')" list
equal 'run' "$(clvm-lock run list -- echo hello)" hello

# A session keeps its lock without a process, converts it and hands on a value block.
first=$(clvm-lock take --session one r)
equal 'taken again' "$(clvm-lock take --session one r)" "$first"
fails 1 clvm-lock take --session two -n r
fails 1 clvm-lock drop --session two r
fails 2 clvm-lock take --session one -m PR r
fails 1 clvm-lock take --session two --timeout 0.2 -s r
value=$(printf '%064d' 42)
second=$(clvm-lock convert --session one -s --value "$value" r)
equal 'written on the way down' "${second#* }" "$value valid"
equal 'read beside it' "$(clvm-lock -n -s r -c 'echo $CLUSTER_LOCK_VALUE $CLUSTER_LOCK_VALUE_STATE')" "$value valid"
equal 'who holds' "$(clvm-lock list r | awk 'NR == 2 { print $2, $3, $6, $7 }')" 'granted PR session one'
clvm-lock list --json r | grep -q '"session":"one"' || fail "$(clvm-lock list --json r)"
fails 1 clvm-lock list not-there
# It is still there when the daemon has started over in the same boot, and was not granted anew.
down 1
join 1
quorate 1
equal 'taken again after a restart' "$(clvm-lock take --session one -s r)" "$second"
clvm-lock drop --session one r
fails 1 clvm-lock list r
fails 2 clvm-lock drop r
clvm-lock r --value "$value" -- true

# The daemon dies: the command is stopped, with a message and a status of its own.
hold EX
down 1
status=0
wait "$holder" || status=$?
equal 'status of a lost lock' "$status" 125
grep -q 'the lock is lost' "$tmp/holding.log" || fail "$(cat "$tmp/holding.log")"
fails 2 clvm-lock r -- true
grep -q 'is cluster-join running' "$tmp/err" || fail "$(cat "$tmp/err")"
