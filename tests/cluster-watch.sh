#!/bin/sh
# cluster-stat --watch: the screen on a terminal, which is given back however it ends, and a line
# for each change elsewhere.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3
watch=$top/tests/cluster/watch.py

fails 2 cluster-stat --watch --socket "$tmp/none.sock"
grep -q 'is cluster-join running' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 2 cluster-stat --watch=0
fails 2 cluster-stat --watch=x

conf 3
join 1
join 2
join 3
quorate 1 2 3
last=$(leader 1)
last=$((last % 3 + 1))
seer=$((last % 3 + 1))
socket=$tmp/$seer.sock

# A node is lost and comes back, the terminal becomes small and large again, and is stopped.
cat >"$tmp/script" <<STEPS
see well     yes
see $net.$last
run kill -KILL $(daemon "$last")
see well     no
see lost
size 6 40
see more lines
size 30 100
see lost
signal SIGTSTP
stopped
signal SIGCONT
goes
see lost
type x
type q
ends 0
STEPS
"$watch" "$tmp/script" cluster-stat --watch=0.5 --socket "$socket"
wait "$(daemon "$last")" 2>/dev/null || :

# Each signal ends it by that signal; Ctrl-C is one of them.
for signal in SIGTERM SIGHUP SIGINT; do
    printf 'see quorate  yes\nsignal %s\nends %s\n' "$signal" "$signal" >"$tmp/script"
    "$watch" "$tmp/script" cluster-stat --watch --socket "$socket"
done
printf 'see Membership state: Cluster-Member\ntype \003\nends SIGINT\n' >"$tmp/script"
"$watch" "$tmp/script" cluster-stat --watch --socket "$socket" status

# A decision shows at once, however seldom one looks without it.
join "$last"
quorate "$last"
cat >"$tmp/script" <<STEPS
see $net.$last
gone   X 
run kill -KILL $(daemon "$last")
see   X 
type q
ends 0
STEPS
"$watch" "$tmp/script" cluster-stat --watch=3600 --socket "$socket" nodes
wait "$(daemon "$last")" 2>/dev/null || :

# In a pipe: what there is, then a line a change; the daemon's own end is one, and it is waited for.
start changes cluster-stat --watch=0.2 --socket "$socket"
seen() { wait_for 15 grep -q "$1" "$tmp/changes"; }
seen "	quorate	-	yes$"
seen "	node $net.$last	-	lost "
join "$last"
seen "	node $net.$last	lost .*	member "
down "$seer"
seen "	cluster-join	-	.*cluster-join"
join "$seer"
seen "	cluster-join	.*cluster-join.*	-$"
if grep -q "$(printf '\033')" "$tmp/changes"; then fail 'escapes in a pipe'; fi
start changes.json cluster-stat --watch=0.2 --json --socket "$socket"
wait_for 15 grep -q '"quorate":true' "$tmp/changes.json"
