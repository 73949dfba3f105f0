#!/bin/sh
# Clients on three nodes take turns through clvm-lock while leaders are killed and started again:
# no two are ever inside at once, and every turn has a higher generation than the one before.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3

token=500
conf 3
for number in 1 2 3; do join "$number"; done
quorate 1 2 3

history=$tmp/history
: >"$history"
cat >"$tmp/turn" <<'SH'
#!/bin/sh
# One turn: enter, a little work, leave; each line is one write.
echo "enter $CLUSTER_LOCK_GENERATION $$" >>"$1"
read -r uptime rest </proc/uptime
echo "leave $CLUSTER_LOCK_GENERATION $$" >>"$1"
SH
cat >"$tmp/client" <<'SH'
#!/bin/sh
# Takes turns until the file $3 is there; a refusal or a lost lock is part of the game.
until [ -e "$3" ]; do
    clvm-lock --socket "$1" -w 10 turn -- "$2/turn" "$2/history" || :
done
SH
chmod +x "$tmp/turn" "$tmp/client"
clients=
for number in 1 1 2 2 3 3; do
    start "client$number.log" "$tmp/client" "$tmp/$number.sock" "$tmp" "$tmp/enough"
    clients="$clients $pid"
done
turns() { grep -c leave "$history" || :; }
# more THAN: as many turns as that have been taken.
more() { [ "$(turns)" -gt "$1" ]; }
for round in 1 2 3 4; do
    wait_for 60 more $(($(turns) + 20))
    at=$((round % 3 + 1))
    victim=$(leader "$at")
    [ -n "$victim" ] || victim=$at
    down "$victim"
    join "$victim"
done
wait_for 60 more $(($(turns) + 20))
: >"$tmp/enough"
for client in $clients; do wait "$client"; done

python3 - "$history" <<'PYTHON'
import sys
inside, last, turns = None, 0, 0
for number, line in enumerate(open(sys.argv[1]), 1):
    what, generation, who = line.split()
    generation = int(generation)
    if what == "enter":
        # Whoever was killed inside never leaves; the next one's generation is higher all the same.
        assert generation > last, f"line {number}: generation {generation} enters after {last}"
        inside, last = (generation, who), generation
    else:
        assert inside == (generation, who), f"line {number}: {who} leaves, {inside} is inside"
        inside, turns = None, turns + 1
print(f"{turns} turns, generation {last}")
PYTHON
