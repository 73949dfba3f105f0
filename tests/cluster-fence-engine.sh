#!/bin/sh
# What a dead node held is free once it is certainly off and not before: by its agent, by a
# person's word, by its own watchdog. And nobody of a fenced boot comes back.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3 setsid

mkdir "$tmp/agents"
FENCE_PATH=$tmp/agents
export FENCE_PATH
cat >"$FENCE_PATH/fence_fake" <<'AGENT'
#!/bin/sh
here=$(dirname -- "$0")/..
cat >"$here/asked.new"
mv "$here/asked.new" "$here/asked"
until [ -s "$here/verdict" ]; do sleep 0.05; done
exit "$(cat "$here/verdict")"
AGENT
chmod +x "$FENCE_PATH/fence_fake"

# fencing METHODS [ELEMENTS]: a cluster.conf of three nodes, each with these methods, new states.
fencing() {
    rm -rf "$tmp"/state* "$tmp"/*.sock* "$tmp/asked" "$tmp/verdict" "$tmp/granted"
    port=$((port + 1))
    conf 3
    python3 - "$tmp/cluster.conf" "$1" "${2-}" <<'PYTHON'
import sys
path, methods, elements = sys.argv[1:]
text = open(path).read().replace("<fence/>", "<fence>" + methods + "</fence>")
open(path, "w").write(text.replace("<clusternodes>", elements + "<clusternodes>"))
PYTHON
}

# enter NODE BOOT: its daemon, in this boot of its host and a process group of its own.
enter() {
    [ -p "$tmp/dog$1" ] || mkfifo "$tmp/dog$1"
    start "join$1.log" setsid cluster-join --conf "$tmp/cluster.conf" --node "$net.$1" --state "$tmp/state$1" \
        --socket "$tmp/$1.sock" --key "$tmp/key" --boot "$2" --leftovers "$tmp/none" 9<>"$tmp/dog$1"
    printf '%s\n' "$pid" >"$tmp/$1.pid"
    wait_for 15 answers "$1"
}

# sticky NODE: that host takes the lock `disk' for good.
sticky() {
    ctl "$1" '{"id":1,"op":"lock","resource":"disk","mode":"EX","sticky":true}' >"$tmp/out"
    grep -q granted "$tmp/out" || fail "$(cat "$tmp/out")"
}

# takes NODE: the same, and node 1 begins to wait for it.
takes() {
    sticky "$1"
    start "wait.log" clvm-lock --socket "$tmp/1.sock" -w 100 disk -- sh -c "date +%s.%N >'$tmp/granted'"
    waiter=$pid
    wait_for 5 waits
}

# waits: node 1 is in the queue.
waits() { ctl 1 '{"id":1,"op":"locks"}' | grep -q '"waiting":\[{'; }

# fences FILTER: what node 1 knows about fencing, through a line of Python about `fences'.
fences() {
    ctl 1 '{"id":1,"op":"fences"}' | python3 -c "
import json, sys
fences = json.load(sys.stdin)['ok']['fences']
print($1)"
}

notes() {
    ctl 1 '{"id":1,"op":"status"}' | python3 -c "
import json, sys
for note in json.load(sys.stdin)['ok']['status'].get('notes', []): print(note['what'], '|', note.get('command'))"
}

devices='<fencedevices><fencedevice name="fake" agent="fence_fake" ip="10.0.0.9"/></fencedevices>'
method='<method name="power"><device name="fake" port="7"/></method>'

# An agent's success frees the lock, and nothing before it does.
fencing "$method" "$devices"
for node in 1 2 3; do enter "$node" "first$node"; done
quorate 1 2 3
takes 3
down 3
wait_for 15 test -s "$tmp/asked"
grep -qx "nodename=$net.3" "$tmp/asked" || fail "the agent was told: $(cat "$tmp/asked")"
grep -qx 'port=7' "$tmp/asked" || fail "the agent was told: $(cat "$tmp/asked")"
grep -qx 'ip=10.0.0.9' "$tmp/asked" || fail "the agent was told: $(cat "$tmp/asked")"
[ ! -e "$tmp/granted" ] || fail 'the lock was granted while the agent was at work'
equal 'pending' "$(fences "[operation['node'] for operation in fences['pending']]")" "['$net.3']"
notes | grep -q "$net.3 waits to be fenced .*| cluster-fence --ack $net.3" || fail "notes: $(notes)"
echo 0 >"$tmp/verdict"
wait_for 10 test -s "$tmp/granted"
equal 'how it ended' "$(fences "fences['history'][-1]['end']['agent']['method'], fences['pending']")" 'power []'
ctl 1 '{"id":1,"op":"log"}' | grep -q '"kind":"fenced","subject":"'"$net.3" || fail 'no audit record of the fencing'

# The same boot does not come back, another one does.
start old.log cluster-join --conf "$tmp/cluster.conf" --node "$net.3" --state "$tmp/state3" \
    --socket "$tmp/3.sock" --key "$tmp/key" --boot first3 --leftovers "$tmp/none"
code=0
wait "$pid" || code=$?
equal 'exit of a fenced boot' "$code" 2
grep -q 'this boot of this host has been fenced' "$tmp/old.log" || fail "$(cat "$tmp/old.log")"
enter 3 second3
quorate 3
lock 3 -w 60 disk -- true || fail 'a node that rebooted after its fencing is granted nothing'

# A failing agent frees nothing; a person's word about the right operation does.
rm -f "$tmp/asked" "$tmp/granted"
echo 1 >"$tmp/verdict"
takes 3
down 3
wait_for 15 sh -c "grep -q 'is not fenced (operation 2, attempt 2)' '$tmp/join1.log' '$tmp/join2.log'"
[ ! -e "$tmp/granted" ] || fail 'the lock was granted although no agent succeeded'
run=$(fences "fences['pending'][0]['incarnation']")
ack() { ctl 1 '{"id":1,"op":"fence-ack","node":"'"$net.3"'","operation":'"$1"',"incarnation":'"$2"'}'; }
ack 1 "$run" | grep -q 'operation 1 for incarnation .* does not wait' || fail 'another operation was acknowledged'
ack 2 $((run - 1)) | grep -q 'does not wait' || fail 'another incarnation was acknowledged'
[ ! -e "$tmp/granted" ] || fail 'a wrong acknowledgement frees the lock'
ack 2 "$run" | grep -q '"fenced":{"operation":2}' || fail 'the acknowledgement was refused'
wait_for 10 test -s "$tmp/granted"
equal 'who said so' "$(fences "fences['history'][-1]['end']['acknowledged']['who']")" "uid $(id -u) on $net.1"
for node in 1 2; do down "$node" TERM; done

fencing '' '<watchdog device="/proc/self/fd/9" timeout="2"/>'
for node in 1 2 3; do
    enter "$node" "first$node"
    start "dog.log" python3 "$top/tests/cluster/dog.py" "$tmp/dog$node" "$tmp/$node.pid" "$tmp/fed$node" 2
done
quorate 1 2 3
[ ! -e "$tmp/fed3" ] || fail 'a host that holds nothing is armed'
lock 2 -w 60 short -- true || fail 'no lock for a host with a watchdog'
wait_for 5 grep -q '^armed' "$tmp/fed2"
takes 3
wait_for 5 grep -q '^armed' "$tmp/fed3"
stopped=$(date +%s.%N)
kill -STOP "$(daemon 3)"
wait_for 20 test -s "$tmp/granted"
wait_for 5 grep -q '^reset' "$tmp/fed3"
python3 - "$stopped" "$(sed -n 's/^reset //p' "$tmp/fed3")" "$(cat "$tmp/granted")" <<'PYTHON' || fail "$(cat "$tmp/join1.log")"
import sys
stopped, reset, granted = map(float, sys.argv[1:])
print("reset %.2f s after the stop, granted %.2f s after it" % (reset - stopped, granted - stopped))
# Lease 1 s, to notice 1 s, watchdog 2 s, reset 0.5 s; the last lease was up to 0.2 s older.
assert reset < granted and 4.2 < granted - stopped < 30
PYTHON
equal 'how it ended' "$(fences "fences['history'][-1]['end']")" 'watchdog'

# It holds nothing any more: the watchdog is closed, and its death harms nobody.
wait_for 20 grep -q '^disarmed' "$tmp/fed2"
wait_for 20 grep -q '^disarmed' "$tmp/fed1"
kill "$waiter" 2>/dev/null || :

# Without a majority an armed host announces its reset on disk, and is reset.
enter 3 second3
quorate 3
rm -f "$tmp/fed3"
sticky 3
kill -STOP "$(daemon 1)" "$(daemon 2)"
wait_for 20 grep -q '^reset' "$tmp/fed3"
kill -CONT "$(daemon 1)" "$(daemon 2)"
grep -q 'no lease: ' "$tmp/state3/reset" || fail 'nothing on disk tells of the reset'
enter 3 third3
grep -q 'a former run announced that this host would be reset by .*no lease: ' "$tmp/join3.log" ||
    fail 'the new run does not tell of the reset'
wait_for 20 lock 3 -n other -- true
