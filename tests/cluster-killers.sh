#!/bin/sh
# Moments of fencing at which clusters have been wrong: the owner of a lock sleeps through its own
# fencing and wakes up; the network breaks right after a fencing was asked for; the leader dies when
# its agent has succeeded and nobody knows; the operator speaks of the wrong node.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/spaces.sh
. "$(dirname -- "$0")/cluster/spaces.sh"
# shellcheck source=tests/cluster/fences.sh
. "$(dirname -- "$0")/cluster/fences.sh"
requires cluster-fence python3

token=600
fence_conf 5
spaces 5
for number in 1 2 3 4 5; do power "$number"; done
quorate 1 2 3 4 5
# a_leader_among NODE...: sets `lead' to the leader once it is one of them, all seen from the first.
a_leader_among() {
    lead=
    deadline=$(($(date +%s) + 20))
    while :; do
        lead=$(leader "$1")
        case " $* " in *" ${lead:-none} "*) return ;; esac
        [ "$(date +%s)" -lt "$deadline" ] || fail "no leader among $*: $(stat "$1")"
        sleep 0.05
    done
}
everybody() { for number in 1 2 3 4 5; do wait_for 20 members "$number" 5; done; }
# off NODE: how often it has been switched off.
off() { grep -c "^off $1\$" "$tmp/room/log" || :; }
# again NODE SEEN-FROM: it is switched on; a person lets it in where it was fenced twice in a short time.
again() {
    power "$1"
    wait_for 20 in_or_held "$1" "$2"
    if stat "$2" | grep -q " $net\.$1 .* held "; then
        cluster-fence --socket "$tmp/$2.sock" unfence "$net.$1" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
    fi
    everybody
}
in_or_held() { stat "$2" | grep -q " $net\.$1 .* \(held\|member\) "; }
# fences NODE: pending and past, as that node knows them.
fences() { ctl "$1" '{"id":1,"op":"fences"}'; }

everybody

# 1. The owner's daemon, its client and the command are stopped for longer than any lease. The switch
# says that the host is off, which it is not. When they wake up the command is stopped and the daemon
# ends, for this boot of the host is over.
a_leader_among 1 2 3 4 5
owner=$((lead % 5 + 1))
other=$((owner % 5 + 1))
cat >"$tmp/writer" <<'SH'
#!/bin/sh
echo $$ >"$1/writer.pid"
while :; do echo "$CLUSTER_LOCK_GENERATION" >>"$1/writes"; done
SH
chmod +x "$tmp/writer"
start zombie.log clvm-lock --socket "$tmp/$owner.sock" disk -- "$tmp/writer" "$tmp"
zombie=$pid
wait_for 10 test -s "$tmp/writes"
lies
gate
sleepers="$(daemon "$owner") $zombie $(cat "$tmp/writer.pid")"
# shellcheck disable=SC2086 # process numbers
kill -STOP $sleepers
fails 1 free "$other" disk
wait_for 20 switched "$owner" 1
order :
lock "$other" -w 60 disk -- true || fail "a fenced node's lock is not freed: $(stat "$other")"
switched "$owner" 1 || fail "taken over before the switch was asked: $(cat "$tmp/room/log")"
# shellcheck disable=SC2086
kill -CONT $sleepers
status=0
wait "$zombie" || status=$?
equal 'status of a client that woke up' "$status" 125
grep -q 'the lock is lost' "$tmp/zombie.log" || fail "$(cat "$tmp/zombie.log")"
! kill -0 "$(cat "$tmp/writer.pid")" 2>/dev/null || fail 'the command still writes'
status=0
wait "$(daemon "$owner")" || status=$?
equal 'status of a daemon whose boot is over' "$status" 2
grep -q 'this boot of this host has been fenced' "$tmp/join$owner.log" || fail "$(cat "$tmp/join$owner.log")"
well
again "$owner" "$other"

# 2. The switch works on a dead node when the leader that asked for it is cut off. Its success is a
# matter of the others until it is back: they fence again, once more than needed, and only then is
# the lock free. The former leader hears of it and says nothing else.
a_leader_among 1 2 3 4 5
first=$lead
dead=$((first % 5 + 1))
other=$((dead % 5 + 1))
sticky "$dead" partition
before=$(off "$dead")
gate
down "$dead"
wait_for 20 switched "$dead" $((before + 1))
cut "$first"
fails 1 free "$other" partition
order :
lock "$other" -w 60 partition -- true || fail "the majority does not fence: $(stat "$other"): $(fences "$other")"
switched "$dead" $((before + 2)) || fail "taken over without a fencing of the majority's own: $(cat "$tmp/room/log")"
fails 1 free "$first" partition
mend "$first"
quorate "$first"
again "$dead" "$other"
free "$first" partition || fail 'the former leader does not know that the lock is free'

# 3. The leader dies with the agent's success in its hand. The next one has it done again.
a_leader_among 1 2 3 4 5
first=$lead
dead=$((first % 5 + 1))
other=$((dead % 5 + 1))
[ "$other" != "$first" ] || other=$((other % 5 + 1))
sticky "$dead" leader
before=$(off "$dead")
gate
down "$dead"
wait_for 20 switched "$dead" $((before + 1))
fails 1 free "$other" leader
order "kill -KILL $(daemon "$first")"
wait "$(daemon "$first")" 2>/dev/null || :
lock "$other" -w 60 leader -- true || fail "the next leader does not fence: $(stat "$other"): $(fences "$other")"
switched "$dead" $((before + 2)) || fail "taken over without a fencing that is on record: $(cat "$tmp/room/log")"
power "$first"
again "$dead" "$other"

# 4. No switch works, and the operator speaks of a node that is well, of another fencing, and of
# another run of the node. None of that frees anything; the right word does.
broken
a_leader_among 1 2 3 4 5
dead=$((lead % 5 + 1))
other=$((dead % 5 + 1))
well_one=$((other % 5 + 1))
sticky "$dead" operator
down "$dead"
wait_for 20 sh -c "grep -q 'is not fenced .*the switch does not answer' '$tmp/join$lead.log'"
pending=$(fences "$other" | python3 -c '
import json, sys
pending = json.load(sys.stdin)["ok"]["fences"]["pending"]
assert len(pending) == 1, pending
print(pending[0]["operation"], pending[0]["incarnation"])')
operation=${pending% *} incarnation=${pending#* }
ack() { cluster-fence --socket "$tmp/$other.sock" --ack "$net.$1" --operation "$2" --incarnation "$3" --yes; }
got=0
ack "$well_one" "$operation" "$incarnation" >"$tmp/out" 2>"$tmp/err" || got=$?
[ "$got" != 0 ] || fail 'a node that is well was acknowledged as off'
for wrong in "$((operation + 1)) $incarnation" "$operation $((incarnation + 1))"; do
    got=0
    # shellcheck disable=SC2086 # two numbers
    ack "$dead" $wrong >"$tmp/out" 2>"$tmp/err" || got=$?
    [ "$got" != 0 ] || fail "an acknowledgement of operation and incarnation $wrong was taken for $pending"
done
fails 1 free "$other" operator
ack "$dead" "$operation" "$incarnation" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
lock "$other" -w 60 operator -- true || fail "an acknowledged node's lock is not free: $(stat "$other")"
alive "$lead" "$other" "$well_one"
