#!/bin/sh
# Keys, watches and the audit log over the socket: compare-and-set, watches that miss nothing while
# leaders die, keys that go with their client, and with their host not before it is certainly off.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/spaces.sh
. "$(dirname -- "$0")/cluster/spaces.sh"
# shellcheck source=tests/cluster/fences.sh
. "$(dirname -- "$0")/cluster/fences.sh"
requires python3
# A daemon that is started again within it is not lost, on a busy machine either.
token=2000
fence_conf 3
spaces 3
for number in 1 2 3; do power "$number"; done
quorate 1 2 3
everybody() { for number in 1 2 3; do wait_for 20 members "$number" 3; done; }
everybody

# field NAME: of an answer on stdin: its value there, or of its error, by a path such as ok.revision.revision.
field() {
    python3 -c '
import functools, json, sys
print(functools.reduce(lambda value, name: value[name] if value else value, sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}
# put NODE KEY VALUE [MORE]: the revision.
put() { ctl "$1" "{\"id\":1,\"op\":\"put\",\"key\":\"$2\",\"value\":\"$3\"${4-}}" | field ok.revision.revision; }
# refused NODE REQUEST: of what kind the refusal is.
refused() { ctl "$1" "{\"id\":1,$2}" | field error.kind; }
# value NODE KEY: as everybody agrees that it is now.
value() { ctl "$1" "{\"id\":1,\"op\":\"get\",\"key\":\"$2\"}" | field ok.key.entry.value; }

first=$(put 1 a/x one)
equal 'the value elsewhere' "$(value 3 a/x)" one
equal 'a key there is not' "$(value 2 a/none)" None
second=$(put 2 a/x two ",\"if_revision\":$first")
[ "$second" -gt "$first" ] || fail "revision $second after $first"
equal 'an old revision' "$(refused 3 "\"op\":\"put\",\"key\":\"a/x\",\"value\":\"three\",\"if_revision\":$first")" changed
equal 'a key that is there' "$(refused 3 '"op":"put","key":"a/x","value":"three","if_revision":0')" changed
equal 'to delete an old one' "$(refused 3 "\"op\":\"delete\",\"key\":\"a/x\",\"if_revision\":$first")" changed
equal 'what it still is' "$(value 1 a/x)" two
put 3 a/y else ',"if_revision":0' >"$tmp/out"
put 3 b/x other >"$tmp/out"
equal 'the list' "$(ctl 2 '{"id":1,"op":"keys","prefix":"a/"}' | python3 -c '
import json, sys
for entry in json.load(sys.stdin)["ok"]["keys"]["entries"]: print(entry["key"], entry["value"], end=" ")')" 'a/x two a/y else '
cluster-stat --socket "$tmp/2.sock" keys | grep -q '^a/y	' || fail "$(cluster-stat --socket "$tmp/2.sock" keys)"
third=$(ctl 2 "{\"id\":1,\"op\":\"delete\",\"key\":\"a/x\",\"if_revision\":$second}" | field ok.revision.revision)
[ "$third" -gt "$second" ] || fail "revision $third of a deletion after $second"
equal 'what is deleted' "$(value 3 a/x)" None
long=$(printf '%016385d' 0)
equal 'a value that is too long' "$(refused 1 "\"op\":\"put\",\"key\":\"a/z\",\"value\":\"$long\"")" invalid

# Writers and watchers, those of all keys and one of some, while two leaders die and come back. Who
# watches all sees every revision once; what was acknowledged is among them.
sockets() { for node in "$@"; do printf '%s\n' "$tmp/$node.sock"; done; }
keys() {
    kind=$1 one=$2 two=$3 node=$4
    # shellcheck disable=SC2046 # paths without blanks
    start "$kind-$node.log" python3 "$top/tests/cluster/keys.py" "$kind" "$one" "$two" "$tmp/$kind-$node" \
        $(sockets "$node" $((node % 3 + 1)) $(((node + 1) % 3 + 1)))
}
watchers='' writers=''
for number in 1 2 3; do
    keys watch '' end "$number"
    watchers="$watchers $pid"
    keys write "w/$number" 400 "$number"
    writers="$writers $pid"
done
lines() { [ "$(wc -l <"$tmp/write-$1")" -ge "$2" ]; }
for round in 1 2; do
    for number in 1 2 3; do wait_for 60 lines "$number" $((100 * round)); done
    lead=$(leader 1)
    [ -n "$lead" ] || lead=1
    down "$lead"
    for number in 1 2 3; do wait_for 60 lines "$number" $((100 * round + 50)); done
    power "$lead"
    everybody
done
for writer in $writers; do wait "$writer" || fail "$(cat "$tmp"/write-*.log)"; done
put 1 end now >"$tmp/out"
for watcher in $watchers; do wait "$watcher" || fail "$(cat "$tmp"/watch-*.log)"; done
for number in 2 3; do cmp "$tmp/watch-1" "$tmp/watch-$number" || fail 'two watchers saw different things'; done
python3 - "$tmp" <<'PYTHON' || fail 'changes are missing'
import sys
def read(name):
    with open(sys.argv[1] + "/" + name) as file:
        return [(int(revision), key, value) for revision, key, value in map(str.split, file)]
seen = read("watch-1")
revisions = [revision for revision, _, _ in seen]
assert revisions == list(range(1, len(seen) + 1)), [r for r, n in zip(revisions, range(1, 9**9)) if r != n][:3]
for number in "123":
    wrote = read("write-" + number)
    assert [int(value) for _, _, value in wrote] == list(range(1, 401))
    assert [change for change in seen if change[1] == "w/" + number] == wrote, number
print(len(seen), "changes, each seen once by each of three watchers")
PYTHON
equal 'what is no longer kept, or not yet there, is no gap' \
    "$(ctl 1 "{\"id\":1,\"op\":\"watch\",\"prefix\":\"w/2\",\"after\":$(sed -n '399s/ .*//p' "$tmp/write-2")}" | field ok.events.events |
        grep -o "'value': '[0-9]*'")" "'value': '400'"

# A connection's key goes with its client.
start hold.log python3 "$top/tests/cluster/keys.py" hold mine "$tmp/held" "$tmp/2.sock"
holder=$pid
wait_for 20 test -s "$tmp/held"
equal 'the key of a connection' "$(value 1 mine)" here
start mine.log ctl 3 "{\"id\":1,\"op\":\"watch\",\"prefix\":\"mine\",\"after\":$(sed 's/ .*//' "$tmp/held")}"
watching=$pid
kill -KILL "$holder"
wait "$watching" || fail "$(cat "$tmp/mine.log")"
if grep -q '"value"' "$tmp/mine.log"; then fail "not deleted: $(cat "$tmp/mine.log")"; fi
equal 'the key of a client that died' "$(value 1 mine)" None

# A host's key outlives the daemon, and the host as long as that may be alive.
start follow.log cluster-stat --socket "$tmp/1.sock" log --follow
start fenced.log cluster-stat --socket "$tmp/1.sock" log --follow --kind fenced --json
wait_for 10 grep -q '	joined	' "$tmp/follow.log"
put 3 host/3 alive ',"owner":"host"' >"$tmp/out"
down 3
again 3
everybody
equal 'the key after a restart of the daemon' "$(value 1 host/3)" alive
revision=$(ctl 1 '{"id":1,"op":"get","key":"host/3"}' | field ok.key.entry.revision)
start gone.log ctl 1 "{\"id\":1,\"op\":\"watch\",\"prefix\":\"host/\",\"after\":$revision}"
watching=$pid
broken
down 3
wait_for 20 grep -q '	fence-failed	' "$tmp/follow.log"
equal 'the key of a host that may be alive' "$(value 2 host/3)" alive
[ ! -s "$tmp/gone.log" ] || fail "told before it is certain: $(cat "$tmp/gone.log")"
[ ! -s "$tmp/fenced.log" ] || fail "$(cat "$tmp/fenced.log")"
well
wait "$watching" || fail "$(cat "$tmp/gone.log")"
grep -q '"key":"host/3"' "$tmp/gone.log" || fail "$(cat "$tmp/gone.log")"
if grep -q '"value"' "$tmp/gone.log"; then fail "not deleted: $(cat "$tmp/gone.log")"; fi
equal 'the key of a host that is off' "$(value 2 host/3)" None

# Who follows the log was told all of it, in order and once.
wait_for 20 grep -q '	recovered	' "$tmp/follow.log"
equal 'decisions' "$(grep "	$net\.3	" "$tmp/follow.log" | awk -F '\t' '{ print $3 }' | tail -n 5 | tr '\n' ' ')" 'lost fence-asked fence-failed fenced recovered '
equal 'numbers' "$(awk -F '\t' '{ print $2 }' "$tmp/follow.log")" "$(seq "$(wc -l <"$tmp/follow.log")")"
wait_for 10 test -s "$tmp/fenced.log"
equal 'those of one kind' "$(field subject <"$tmp/fenced.log")" "$net.3"
