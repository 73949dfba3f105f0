#!/bin/sh
# A host that has what only a member may have is not let in until that is gone, or a person says so.
# And a person sees that fence devices do what they say.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/fences.sh
. "$(dirname -- "$0")/cluster/fences.sh"
requires cluster-fence python3

fence_conf 3
mkdir "$tmp/leftovers"
printf '#!/bin/sh\n[ ! -e "%s/domains" ] || { cat "%s/domains"; exit 1; }\n' "$tmp" "$tmp" >"$tmp/leftovers/domains"
chmod +x "$tmp/leftovers/domains"
# enter NODE BOOT
enter() {
    start "join$1.log" cluster-join --conf "$tmp/cluster.conf" --node "$net.$1" --state "$tmp/state$1" \
        --socket "$tmp/$1.sock" --key "$tmp/key" --boot "$2" --leftovers "$tmp/leftovers"
    printf '%s\n' "$pid" >"$tmp/$1.pid"
    wait_for 15 answers "$1"
}
is() { cluster-stat --socket "$tmp/1.sock" --json | python3 -c '
import json, sys
sys.exit([m for m in json.load(sys.stdin)["members"] if m["id"] == 3][0]["state"] != sys.argv[1])' "$1"; }

for number in 1 2 3; do enter "$number" "first$number"; done
quorate 1 2 3

# Another boot, and a domain runs already: held, with the reason, and what to type.
down 3
echo 'the domain web' >"$tmp/domains"
enter 3 second3
wait_for 20 is held
fails 1 stat 3
stat 1 >"$tmp/out"
grep -q "$net.3 is not let in since .*: it has the domain web" "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q "cluster-fence unfence $net.3" "$tmp/out" || fail "$(cat "$tmp/out")"
fails 1 lock 3 -n other -- true
grep -q 'other: this host is not let in: it has the domain web' "$tmp/err" || fail "$(cat "$tmp/err")"
cluster-stat --socket "$tmp/1.sock" log --kind held | grep -q "	held	$net.3	" || fail "$(cluster-stat --socket "$tmp/1.sock" log)"
# It is gone, and the host is let in by itself.
rm "$tmp/domains"
wait_for 30 is member
quorate 3
# What a member starts is no leftover, of the next daemon of that boot neither.
echo 'the domain web' >"$tmp/domains"
down 3
enter 3 second3
wait_for 20 is member
quorate 3

# A person has looked, and lets it in.
down 3
enter 3 third3
wait_for 20 is held
cluster-fence --socket "$tmp/1.sock" unfence "$net.3" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
wait_for 20 is member
quorate 3

# A program that cannot tell is no proof.
printf '#!/bin/sh\nexit 3\n' >"$tmp/leftovers/domains"
down 3
enter 3 fourth3
wait_for 20 is held
stat 1 | grep -q 'it has domains: exit status: 3, which says nothing' || fail "$(stat 1)"
printf '#!/bin/sh\nexit 0\n' >"$tmp/leftovers/domains"
wait_for 30 is member

# Devices are asked for their state, which changes nothing, and then really switch.
quorate 1 2 3
fence() { cluster-fence --socket "$tmp/1.sock" "$@"; }
: >"$tmp/room/log"
fence test "$net.3" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
equal 'asked' "$(cat "$tmp/room/log")" 'status 3'
sleep 600 &
plugged=$!
cleanup "kill $plugged 2>/dev/null"
echo "$plugged" >"$tmp/room/3.power"
# Not what is in use, and not oneself.
ctl 3 '{"id":1,"op":"lock","resource":"disk","mode":"EX","sticky":true}' >"$tmp/out"
fails 2 fence test "$net.3" --really --yes
grep -q 'it holds locks: stop what runs there' "$tmp/err" || fail "$(cat "$tmp/err")"
ctl 3 '{"id":1,"op":"unlock","resource":"disk","sticky":true}' >"$tmp/out"
fails 2 fence test "$net.1" --really --yes
grep -q 'a host does not switch itself off' "$tmp/err" || fail "$(cat "$tmp/err")"
equal 'switched' "$(cat "$tmp/room/log")" 'status 3'
kill -0 "$plugged" || fail 'it was switched off all the same'
fence test "$net.3" --really --yes >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
equal 'switched' "$(cat "$tmp/room/log")" 'status 3
off 3
on 3'
gone() { ! kill -0 "$plugged" 2>/dev/null; }
wait_for 10 gone
fence list | grep "$net.3" | grep -q '[0-9][0-9]:[0-9][0-9]' || fail "$(fence list)"
# A device that does not answer is a failed test, of which there is a record as well.
broken
fails 1 fence test "$net.3" --really --yes
equal 'what is known' "$(ctl 2 '{"id":1,"op":"fences"}' | python3 -c '
import json, sys
node = [n for n in json.load(sys.stdin)["ok"]["fences"]["nodes"] if n["node"].endswith(".3")][0]
print(node["tested"]["good"], node["tested"]["really"])')" 'False True'
